"""Builds the C core. Everything else stands in pyproject.toml."""

import os
from concurrent.futures import ThreadPoolExecutor

from setuptools import setup
from setuptools.command.build_ext import build_ext


class ParallelBuild(build_ext):
    """One compiler for each CPU: some units take many seconds, and setuptools would compile one after the other."""

    def build_extensions(self):
        compile_in_turn = self.compiler.compile

        def compile_all(sources, *args, **kwargs):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_in_turn([source], *args, **kwargs), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()


setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    cmdclass={"build_ext": ParallelBuild},
    # One wheel for CPython >= 3.11: the extension uses the stable ABI only.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

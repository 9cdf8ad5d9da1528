"""Builds the C core. Everything else stands in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    # One wheel for CPython >= 3.11: the extension uses the stable ABI only.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

"""The house rules that a machine can check: what is exported, what is shipped, what no file may contain."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "privcomp"
EXTENSION = "privcomp/_core/_privcomp.abi3.so"
INIT_SYMBOL = "PyInit__privcomp"


def project_files() -> list[Path]:
    """Every file that is in git or would be added to it; outside of a git checkout the test is skipped."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so nothing says which files belong to the project")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def exported_symbols(library: Path) -> set[str]:
    """The names that a shared library defines for others."""
    shown = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", str(library)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split()[0] for line in shown.stdout.splitlines()}


# ---- the tree


def test_no_file_names_a_package_index() -> None:
    """Which index is asked is the installing machine's business."""
    forbidden = re.compile(
        r"--(extra-)?index-url|--find-links|https?://[^\s\"']*/simple|py(pi|thonhosted)\.org|registry\s*=\s*\"http"
    )
    found = []
    for path in project_files():
        if path == Path(__file__).resolve() or path.suffix in {".png", ".npy", ".npz"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["run", "demo", "test", "bench", "embed", "spu"])
def test_pins_are_exact_and_hashed(name: str) -> None:
    """`pip install --require-hashes` refuses the file otherwise, but only on the machine of the user."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", "").splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin), pin


def test_smaller_sets_of_pins_are_parts_of_larger_ones() -> None:
    """The environment grows from demo to test to bench; a version must not change on the way."""

    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^([a-z0-9._-]+==[^\s;]+)", text, flags=re.MULTILINE))

    assert pins("run") <= pins("demo") <= pins("test") <= pins("bench")


def test_every_folder_of_modules_is_a_package_with_a_docstring() -> None:
    """A folder without `__init__.py` would be left out of the wheel without a word."""
    assert (PACKAGE / "py.typed").is_file()
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder.relative_to(ROOT)} lacks __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text())), (
            f"{init.relative_to(ROOT)} does not say what the room is for"
        )


def test_importing_the_package_is_light() -> None:
    """`import privcomp` gives the version; NumPy and the extension come with the room that needs them."""
    heavy = "numpy", "cffi", "cryptography", "gmpy2", "privcomp._core"
    code = f"import sys, privcomp; print(privcomp.__version__, [m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S* \[\]\n", shown.stdout), shown.stdout


def test_only_the_binding_imports_the_extension() -> None:
    """Every argument check stands in the binding; whoever goes round it passes raw pointers."""
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "_core"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [f"{node.module}.{alias.name}" for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                assert "_core._privcomp" not in name, (
                    f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} imports {name}"
                )


# ---- what the compiler made


def test_the_extension_in_use_is_the_one_that_was_asked_for() -> None:
    """Running in the repository root imports the source folder, so the extension must lie in it."""
    from privcomp._core import _privcomp

    home = ROOT / os.environ.get("PRIVCOMP_EXPECT_BUILD", ".")
    assert Path(_privcomp.__file__).resolve().is_relative_to(home.resolve()), _privcomp.__file__


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed (apt-get install binutils)")
def test_the_extension_exports_its_init_symbol_only() -> None:
    """Anything else could be taken for, or replaced by, another library's symbol of the same name."""
    assert exported_symbols(ROOT / EXTENSION) == {INIT_SYMBOL}


# ---- the distributions

SELF_CHECK = textwrap.dedent(
    """
    import sys
    from importlib.resources import files
    import numpy as np
    import privcomp
    from privcomp import _core

    root = sys.argv[1]
    assert privcomp.__file__.startswith(root), privcomp.__file__
    assert files("privcomp").joinpath("py.typed").is_file()
    # FIPS 197, appendix C.1: one AES-128 block, here as a counter block's keystream.
    seed = bytes(range(16)) + bytes.fromhex("00112233445566778899aabbccddeeff")
    assert _core.keystream(seed, 16).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    shares = _core.shamir_share(
        _core.M61, np.array([7, 11], np.uint64), np.arange(1, 6, dtype=np.uint64), 3, bytes(32)
    )
    back = _core.shamir_combine(_core.M61, np.array([2, 3, 5], np.uint64), shares[[1, 2, 4]])
    assert back.tolist() == [7, 11], back
    print("self check passed", privcomp.__version__, _core.level())
    """
)


@dataclass(frozen=True)
class Distributions:
    """An sdist and the wheel that was built from it."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Those in the folder PRIVCOMP_DIST; else built here, the sdist from the project's files and the wheel from it."""
    if named := os.environ.get("PRIVCOMP_DIST"):
        folder = ROOT / named
    else:
        # A copy: an egg-info folder in the tree lists files that MANIFEST.in forgot, and hides that it did.
        copy, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
        for path in project_files():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
        # What the core computes is tested in the tree; this is about what is packed. `-O0` comes after the project's
        # flags and wins. `make wheel` checks distributions that were built as they are published.
        compiler = tmp_path_factory.mktemp("bin") / "cc"
        compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", "gcc")} "$@" -O0\n', encoding="utf-8")
        compiler.chmod(0o700)
        environment = os.environ | {"CC": str(compiler)}
        built = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    (sdist,), (wheel,) = list(folder.glob("*.tar.gz")), list(folder.glob("*.whl"))
    return Distributions(sdist, wheel)


def sdist_carries_what_builds_it(sdist: Path) -> None:
    """setup.py, csrc/ and every module: a wheel must build from it, elsewhere and later."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"}
    for folder in (PACKAGE, ROOT / "csrc"):
        wanted |= {str(path.relative_to(ROOT)) for path in project_files() if path.is_relative_to(folder)}
    assert wanted <= names, sorted(wanted - names)
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]


def wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """One wheel for CPython >= 3.11, with every file of the package and the extension."""
    assert re.search(r"-cp311-abi3-\w+\.whl$", wheel.name), wheel.name
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {str(path.relative_to(ROOT)) for path in project_files() if path.is_relative_to(PACKAGE)} | {EXTENSION}
    assert inside == wanted, sorted(inside ^ wanted)


def wheel_runs_outside_the_tree(wheel: Path, folder: Path) -> None:
    """Unpacked as an installer would; `-S` leaves out this environment's own, editable installation."""
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    if shutil.which("nm"):
        assert exported_symbols(site / EXTENSION) == {INIT_SYMBOL}
    paths = f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({sysconfig.get_path('platlib')!r})\n"
    command = [sys.executable, "-I", "-S", "-c", paths + SELF_CHECK, str(site)]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "self check passed" in shown.stdout


def test_distributions_are_complete_and_the_wheel_runs_outside_the_tree(
    distributions: Distributions, tmp_path: Path
) -> None:
    # One test, not three: run by two processes, three would compile the core twice.
    sdist_carries_what_builds_it(distributions.sdist)
    wheel_holds_the_package_and_nothing_else(distributions.wheel)
    wheel_runs_outside_the_tree(distributions.wheel, tmp_path)


@pytest.mark.wheel
def test_distributions_wheel_installs_into_a_fresh_environment(distributions: Distributions, tmp_path: Path) -> None:
    """With the pinned dependencies and no other package; the console script answers."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")

    def run(*command: str) -> str:
        shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert shown.returncode == 0, shown.stdout[-2000:] + shown.stderr[-4000:]
        return shown.stdout

    run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(ROOT / "requirements" / "run.txt"))
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(distributions.wheel))
    run(python, "-m", "pip", "check")
    assert "self check passed" in run(python, "-I", "-c", SELF_CHECK, str(environment))
    assert "privcomp" in run(str(environment / "bin" / "privcomp"), "--help")

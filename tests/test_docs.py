"""What the documents say is true: commands, files, names and tests exist, the example runs."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from privcomp.cli import _parser

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "bench").glob("*.md")),
    *NOTEBOOKS,
]
#: Where a document means a file without saying the whole way to it.
ROOMS = ("", "privcomp", "csrc", "csrc/src", "tests")
#: What runs create.
CREATED = ("out", "build", "dist", ".venv", "server", "public", "policy.toml", "model.npz")


def text_of(path: Path) -> str:
    """A document; of a notebook everything that somebody wrote."""
    if path.suffix == ".ipynb":
        return "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"])
    return path.read_text("utf-8")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def quoted(path: Path) -> Iterator[str]:
    """What stands between backticks, outside of code blocks; a placeholder in capitals stands for the reader's name."""
    prose = re.sub(r"^```.*?^```", "", text_of(path), flags=re.S | re.M)
    for found in re.findall(r"`([^`\n]+)`", prose):
        if not re.search(r"\bNAME\b|_NAME|NAME_|<", found):
            yield found


def blocks(path: Path) -> str:
    """Code blocks, fenced or indented."""
    text = text_of(path)
    return "\n".join(re.findall(r"^```.*?^```|^ {4}\S.*$", text, flags=re.S | re.M))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(document)):
        if not re.match(r"https?:|mailto:", target):
            assert (document.parent / target).exists(), f"{name(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(document: Path) -> None:
    """A pattern must match at least one file. Rooms that have a floor but nobody in them yet may be named."""
    empty = set(re.findall(r"\((\w+)\)", (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]))
    for token in quoted(document):
        is_path = re.fullmatch(r"[\w.*/-]+", token) and (
            "/" in token or re.search(r"\.(py|c|h|md|toml|ipynb|txt|json)$", token)
        )
        if not is_path or token.split("/")[0] in CREATED or token.removeprefix("privcomp/") in empty:
            continue
        found = any(next(ROOT.glob(f"{room}/{token}".strip("/")), None) for room in (*ROOMS, name(document.parent)))
        if "/" not in token and not found:
            found = next((ROOT / "privcomp").rglob(token), None) is not None
        assert found, f"{name(document)} names {token}, which does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_that_are_named_exist(document: Path) -> None:
    text = "\n".join([*quoted(document), blocks(document)])
    targets = set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), flags=re.M))
    for target in re.findall(r"\bmake ([a-z-]+)", text):
        assert target in targets, f"{name(document)} names `make {target}`"
    commands = next(action.choices for action in _parser()._actions if action.choices)
    for command in re.findall(r"(?:^|bin/|-m |^ *)privcomp ([a-z]+)", text, flags=re.M):
        assert command in commands, f"{name(document)} names `privcomp {command}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_options_that_are_named_exist(document: Path) -> None:
    """Of the demo, as the documents pass them on through ARGS."""
    demo = next(action.choices for action in _parser()._actions if action.choices)["demo"]
    for arguments in re.findall(r"make demo ARGS=\"([^\"]*)\"", text_of(document)):
        if "--help" not in arguments and "..." not in arguments:
            demo.parse_args(arguments.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_names_of_the_library_exist(document: Path) -> None:
    """`privcomp.x.Y` and, for a class that the library has, `Y.method`."""
    for token in quoted(document):
        if re.fullmatch(r"privcomp(\.\w+)+(\(\))?", token):
            assert resolves(token.removesuffix("()")), f"{name(document)} names {token}"
        elif match := re.fullmatch(r"([A-Z]\w+)\.(?!md$)(\w+)(\(\))?", token):
            ours = list(classes(match[1]))
            assert not ours or any(hasattr(cls, match[2]) for cls in ours), f"{name(document)} names {token}"


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found: object = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = getattr(found, part, None)
            return found is not None
    return False


def classes(wanted: str) -> Iterator[object]:
    for path in (ROOT / "privcomp").rglob("*.py"):
        if re.search(rf"^class {wanted}\b", path.read_text("utf-8"), flags=re.M):
            module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            cls = getattr(importlib.import_module(module), wanted)
            yield cls if not hasattr(cls, "__dataclass_fields__") else _WithFields(cls)


class _WithFields:
    """A dataclass whose fields count as attributes, those without a default included."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __getattr__(self, attribute: str) -> object:
        if attribute in self._cls.__dataclass_fields__:  # type: ignore[attr-defined]
            return attribute
        return getattr(self._cls, attribute)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_tests_that_are_named_exist(document: Path) -> None:
    every = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for test in re.findall(r"\btest_\w+\b(?!\.py|\*|\.c)", "\n".join(quoted(document))):
        if not any((ROOT / "tests").rglob(f"{test}*.py")) and not (ROOT / "csrc" / "tests" / f"{test}.c").exists():
            assert f"def {test}(" in every, f"{name(document)} names {test}"


def test_folders_of_tests_that_security_names_hold_tests() -> None:
    for token in quoted(ROOT / "SECURITY.md"):
        if token.startswith("tests/") and (ROOT / token).is_dir():
            assert list((ROOT / token).glob("test_*.py")), f"{token} holds no test"


def test_security_begins_with_what_matters_most() -> None:
    assert text_of(ROOT / "SECURITY.md").splitlines()[0] == "Not independently audited."


def test_the_example_of_the_readme_runs_and_prints_what_it_says() -> None:
    """The comment behind a print is its output; NumPy's spacing does not count."""
    (code,) = re.findall(r"^```python\n(.*?)^```", text_of(ROOT / "README.md"), flags=re.S | re.M)
    said = [line.rpartition("#")[2] for line in code.splitlines() if line.startswith("print(")]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    printed = out.getvalue().splitlines()
    assert said
    assert [line.split() for line in printed] == [line.split() for line in said]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebooks_are_committed_without_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text("utf-8"))
    assert content["nbformat"] == 4
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_documents_stand_on_their_own(document: Path) -> None:
    """A reader has this tree and nothing else: no trackers, no other folders, no diary of how it was made."""
    diary = re.compile(
        r"\bissues? #?\d|\bthis (session|task|issue)\b|\bagents?\b|\bhelpers?\b|(?<!\w)/(work|tmp|home)/|\.\./"
    )
    for number, line in enumerate(text_of(document).splitlines(), 1):
        assert not (found := diary.search(line)), f"{name(document)}:{number} says {found[0]!r}"

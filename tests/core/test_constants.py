"""Magic constants of the C core: each `check:` comment states where the number comes from, and is true."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
NUMBER = r"-?(?:0[xX][0-9a-fA-F]+|\d+)"
LITERAL = re.compile(r"(?<![\w.])" + NUMBER + r"(?:[uU]?[lL]{0,2})(?![\w.])")
ENVIRONMENT = {"__builtins__": {}, "struct": struct, "pow": pow, "len": len, "tuple": tuple, "int": int}


def checks() -> list[tuple[str, str, str]]:
    """(place, code before the comment, expression) of each check."""
    found = []
    for path in sorted(CSRC.glob("include/*.h")) + sorted(CSRC.glob("src/*")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"check:\s*(.+?)\s*(?:\*/|$)", text, flags=re.M):
            line = text.count("\n", 0, match.start()) + 1
            code = text.splitlines()[line - 1].split("/*")[0]
            found.append((f"{path.name}:{line}", code, match[1]))
    return found


def numbers(code: str) -> list[int]:
    return [int(re.sub(r"[uUlL]+$", "", text), 0) for text in LITERAL.findall(code)]


def test_there_are_checks():
    assert len(checks()) >= 10


@pytest.mark.parametrize(("place", "code", "expression"), [pytest.param(*c, id=c[0]) for c in checks()])
def test_constant(place, code, expression):
    """An equation must hold; any other expression must give a number (or the numbers) that stand on its line."""
    value = eval(expression, ENVIRONMENT)
    if isinstance(value, bool):
        assert value, f"{place}: {expression}"
        return
    wanted = list(value) if isinstance(value, tuple) else [value]
    there = numbers(code)
    assert all(number in there for number in wanted), f"{place}: {expression} = {value}, code: {code}"

"""docs/mpc.md: the example runs, and the table of costs is what is measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from privcomp.mpc import Mpc, Shared, SharedBits, tensors
from tests.mpc.parties import run

N = 1 << 12
DOCS = Path(__file__).resolve().parents[2] / "docs" / "mpc.md"

#: What is measured, by its name in the table. x: 15 bits and a sign; w: any 63 bits; f: 16 bits of fraction, |f| <= 16;
#: p: 16 bits of fraction, |p| <= 1; b: bits.
WORK: dict[str, Callable[[SimpleNamespace], Any]] = {
    "product": lambda v: v.x * v.x,
    "product, fixed point": lambda v: v.f * v.f,
    "public real factor": lambda v: v.f * 0.3,
    "dot product of any length": lambda v: v.x.reshape(64, -1) @ v.x.reshape(64, -1).T,
    "x < y, 16 bits": lambda v: v.x < 0,
    "x < y, 64 bits": lambda v: v.w < 0,
    "x == y, 16 bits": lambda v: v.x == 0,
    "bit & bit": lambda v: v.b & v.b,
    "bit to number": lambda v: v.b.number(),
    "where": lambda v: v.mpc.where(v.b, v.x, -v.x),
    "median of 10, 16 bits": lambda v: v.x[:4000].reshape(10, -1).median(0),
    "sort of 20, 16 bits": lambda v: v.x[:3840].reshape(20, -1).sort(0),
    "largest of 20, 16 bits": lambda v: v.x[:3840].reshape(20, -1).max(0),
    "reciprocal": lambda v: v.p.reciprocal(),
    "quotient": lambda v: v.p / v.p,
    "square root": lambda v: v.p.sqrt(),
    "inverse square root": lambda v: v.p.inverse_sqrt(),
    "sigmoid": lambda v: v.f.sigmoid(),
    "input": lambda v: v.mpc.input(np.zeros(N, np.int64) if v.mpc.me == 0 else None, owner=0, shape=N, bound=1),
    "opening": lambda v: v.mpc.open(v.x),
}


def measured() -> dict[str, tuple[int, list[float]]]:
    """Rounds, and bytes of payload that each party sends per entry of the result."""

    async def program(mpc: Mpc) -> dict[str, tuple[int, float]]:
        def zeros(bound: int, fraction: int) -> Any:
            values = np.zeros(N, np.float64 if fraction else np.int64)
            return mpc.input(values if mpc.me == 0 else None, owner=0, shape=N, bound=bound, fraction=fraction)

        v = SimpleNamespace(
            mpc=mpc, x=zeros((1 << 15) - 1, 0), w=zeros((1 << 63) - 1, 0), f=zeros(16, 16), p=zeros(1, 16)
        )
        v.b = v.x < 100
        await mpc.gather(v.x, v.w, v.f, v.p, v.b)
        found = {}
        for name, work in WORK.items():
            rounds, sent = mpc.cost.rounds, payload(mpc)
            result = work(v)
            await result
            size = int(np.prod(result.shape)) if isinstance(result, (Shared, SharedBits)) else N
            found[name] = mpc.cost.rounds - rounds, (payload(mpc) - sent) / size
        return found

    results = run("rep3", tensors(program)).results
    return {name: (results[0][name][0], [result[name][1] for result in results]) for name in WORK}


def payload(mpc: Mpc) -> int:
    return sum(spent.sent for spent in mpc.cost.operations.values())


def rows() -> dict[str, list[str]]:
    """The table in the documentation, by its first column."""
    text = DOCS.read_text().split("## Costs")[1]
    lines = [
        re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in text.splitlines() if line.startswith("|")
    ]
    return {line[0]: line[1:] for line in lines[2:]}


def test_the_table_of_costs() -> None:
    """Rounds exactly; bytes as printed, with one decimal."""
    table, found = rows(), measured()
    assert table.keys() == found.keys()
    for name, (rounds, sent) in found.items():
        assert table[name] == [str(rounds), *(f"{value:.1f}" for value in sent)], name


def test_the_example() -> None:
    found: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.S)[0], found)
    held = np.array(found["held"])
    assert (found["median"] == np.median(held, axis=0)).all()
    assert (found["largest"] == held.max(axis=0)).all()
    assert found["negative"] == (held[0] @ held[1] < 0)


if __name__ == "__main__":
    for name, (rounds, sent) in measured().items():
        print(f"| {name} | {rounds} | " + " | ".join(f"{value:.1f}" for value in sent) + " |")

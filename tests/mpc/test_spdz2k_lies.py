"""A party of spdz2k that lies consistently: it tells everybody, itself included, the same wrong share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from privcomp.errors import RemoteError
from privcomp.mpc.spdz2k import Spdz2k
from privcomp.simulation.mpc import simulate

U64 = np.uint64
FACTS = [[7, 11], [21, 55], [[626]]]


async def facts(mpc: Any) -> tuple[Any, ...]:
    x = await mpc.input(0, np.array([3, 5], U64) if mpc.me == 0 else None, (2,))
    y = await mpc.input(1, np.array([7, 11], U64) if mpc.me == 1 else None, (2,))
    product, plain = mpc.scheduler.spawn(mpc.mul(x, y)), mpc.scheduler.spawn(mpc.open(y))
    z = await product
    dot = await mpc.matmul(z.map(lambda part: part.reshape(1, 2)), y.map(lambda part: part.reshape(2, 1)))
    shift = mpc.add_public(dot, np.full((1, 1), U64((1 << 64) - 126), U64))
    return await plain, await mpc.open(z), await mpc.open(shift)


def lying(monkeypatch: pytest.MonkeyPatch, liar: int, which: int, place: int, error: int) -> Any:
    """Run with `error` added to one number that a party reveals; counts from 0."""
    reveal, count = Spdz2k._reveal, [-1]

    async def wrong(self: Spdz2k, label: str, mine: Any) -> Any:
        if self.me == liar:
            count[0] += 1
            if count[0] == which:
                mine = mine.copy()
                row = mine[place % len(mine)]
                told = (int(row[0]) + (int(row[1]) << 64) + error) % (1 << 128)
                row[:] = told % (1 << 64), told >> 64
        return await reveal(self, label, mine)

    monkeypatch.setattr(Spdz2k, "_reveal", wrong)
    return simulate("spdz2k-insecure-dealer", facts, parties=4, insecure_dealer=True).results


@pytest.mark.parametrize("error", [1, 1 << 63, (1 << 64) - 1, (1 << 127) + (1 << 63)])
@pytest.mark.parametrize("which", range(5))
def test_a_wrong_low_word_is_found(monkeypatch: pytest.MonkeyPatch, which: int, error: int) -> None:
    with pytest.raises(RemoteError, match="not authentic"):
        lying(monkeypatch, which % 3, which, which, error)


@pytest.mark.parametrize("error", [1 << 127, 3 << 126, 1 << 64])
@pytest.mark.parametrize("which", range(5))
def test_a_wrong_high_word_is_found_or_changes_nothing(monkeypatch: pytest.MonkeyPatch, which: int, error: int) -> None:
    try:
        results = lying(monkeypatch, 2 - which % 3, which, which, error)
    except RemoteError:
        return
    for result in results[:3]:
        assert [part.tolist() for part in result] == FACTS

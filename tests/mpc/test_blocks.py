"""Blocks of planes: monomials, and what generates and propagates carries as sums of their products."""

from __future__ import annotations

import numpy as np
import pytest

from privcomp import _core
from privcomp.mpc.blocks import monomials, plan
from tests.mpc.parties import U64, planes_of


@pytest.mark.parametrize("planes", range(1, 64))
def test_sizes(planes: int) -> None:
    """All planes are in a block, no tree is deeper than with blocks of three, and every product is in its rows."""
    found = plan(planes)
    count = len(found.sizes)
    assert sum(found.sizes) == planes
    assert set(found.sizes) <= {1, 2, 3}
    assert (count - 1).bit_length() == (-(-planes // 3) - 1).bit_length()
    assert found.sums.ends.size == 2 * count - 1
    assert found.sums.ends[-1] == found.sums.left.size == found.sums.right.size
    assert found.whole.size == count - 1


def test_monomials() -> None:
    planes = np.random.default_rng(1).integers(0, 1 << 64, (8, 5), dtype=U64)
    sizes, rows, at = (2, 3, 1, 1, 1), [], 0
    for k in sizes:
        for s in range(1, 1 << k):
            rows.append(np.bitwise_and.reduce([planes[at + i] for i in range(k) if s >> i & 1]))
        at += k
    assert (monomials(planes, sizes) == np.array(rows)).all()


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 5, 7])
def test_every_pair_of_addends(planes: int) -> None:
    """g and p of every block against sums of integers."""
    every = np.arange(1 << planes, dtype=U64)
    u, t = np.repeat(every, 1 << planes), np.tile(every, 1 << planes)
    found = plan(planes)
    x, y = (monomials(planes_of(side, planes), found.sizes) for side in (u, t))
    rows = _core.planes_dot(x, y, found.sums.ends, found.sums.left, found.sums.right)
    count = len(found.sizes)
    rows[count:] ^= x[found.whole] ^ y[found.whole]
    at = 0
    for block, k in enumerate(found.sizes):
        low, high = (side >> U64(at) & U64((1 << k) - 1) for side in (u, t))
        assert (_core.from_planes(rows[block : block + 1], u.size) == (low + high) >> U64(k)).all()
        if block:
            p = rows[count + block - 1 : count + block]
            assert (_core.from_planes(p, u.size) == (low ^ high == (1 << k) - 1)).all()
        at += k

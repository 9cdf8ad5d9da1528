"""What fewer parties than the threshold see is uniform, whatever the secret is: chi squared at 1e-6, pinned seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import chdtri

from privcomp.algebra import GOLDILOCKS, M61
from privcomp.sharing import PackedParams, share, share_additive, share_packed, share_replicated
from tests.sharing.coins import coins

ALPHA = 1e-6
N = 1 << 17
WHERE = {"owner": b"a", "context": b"s"}


def top(values: np.ndarray, bits: int, cells: int) -> np.ndarray:
    return (values >> values.dtype.type(bits - cells)).astype(np.int64)


def low(values: np.ndarray, cells: int) -> np.ndarray:
    return (values & values.dtype.type((1 << cells) - 1)).astype(np.int64)


def check_uniform(cells: np.ndarray, size: int) -> None:
    counts = np.bincount(cells, minlength=size)
    assert len(counts) == size
    expected = cells.size / size
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < chdtri(size - 1, ALPHA), statistic


def additive(secret: int) -> list[tuple[list[np.ndarray], int]]:
    found = []
    for bits in (32, 64):
        secrets = np.full(N, secret % 2**bits, f"uint{bits}")
        shares = [s.expand() for s in share_additive(secrets, 3, rng=coins(secret % 97), **WHERE)]
        found += [([shares[2]], bits), (shares[:2], bits), (shares[1:], bits)]
    return found


def replicated(secret: int) -> list[tuple[list[np.ndarray], int]]:
    found = []
    for parties, bits, boolean in ((3, 64, False), (4, 17, True), (4, 33, False), (3, 8, True)):
        dtype = np.uint32 if bits <= 32 else np.uint64
        secrets = np.full(N, secret % 2**bits, dtype)
        shares = share_replicated(secrets, parties, bits=bits, boolean=boolean, rng=coins(secret % 89), **WHERE)
        found += [(list(s.expand())[-2:], bits) for s in shares]
    return found


def shamir(secret: int) -> list[tuple[list[np.ndarray], int]]:
    found = []
    for field, bits in ((M61, 61), (GOLDILOCKS, 64)):
        secrets = np.full(N, secret % field.modulus, np.uint64)
        shares = share(secrets, 3, [1, 2, 3, 4], field=field, rng=coins(secret % 83), **WHERE)
        found += [([shares[i].values, shares[j].values], bits) for i, j in ((0, 1), (1, 3), (2, 3))]
    return found


def packed(secret: int) -> list[tuple[list[np.ndarray], int]]:
    secrets = np.full(4 * N, secret % GOLDILOCKS.modulus, np.uint64)
    shares = share_packed(secrets, PackedParams(7, 2, 4), rng=coins(secret % 79), **WHERE)
    return [([shares[i].values, shares[j].values], 64) for i, j in ((0, 1), (2, 6), (3, 4))]


@pytest.mark.parametrize("secret", [0, 2**64 - 1])
@pytest.mark.parametrize("scheme", [additive, replicated, shamir, packed], ids=lambda f: f.__name__)
def test_the_view_of_parties_below_the_threshold_is_uniform(
    scheme: Callable[[int], list[tuple[list[np.ndarray], int]]], secret: int
) -> None:
    for view, bits in scheme(secret):
        for values in view:
            check_uniform(top(values, bits, 8), 256)
            check_uniform(low(values, 8), 256)
        if len(view) == 2:  # together
            check_uniform(top(view[0], bits, 4) << 4 | top(view[1], bits, 4), 256)
            check_uniform(low(view[0], 4) << 4 | low(view[1], 4), 256)
            check_uniform(low(view[0] + view[1], 8), 256)


def test_the_test_notices_what_is_not_uniform() -> None:
    biased = np.random.default_rng(1).integers(0, 256, N)
    biased[: N // 50] = 7
    with pytest.raises(AssertionError):
        check_uniform(biased, 256)

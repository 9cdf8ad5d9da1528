"""Transforms over Goldilocks and packed sharing in the core: against plain integers, at every level; what is "
"refused."""

from __future__ import annotations

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.reference import sharing as reference

P = reference.GOLDILOCKS


def matrix(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    out = np.random.default_rng(seed).integers(0, P, (rows, columns), dtype=np.uint64)
    out.reshape(-1)[: min(out.size, 4)] = [0, P - 1, 1, 1 << 63][: min(out.size, 4)]
    return out


@pytest.mark.parametrize("shift", [1, 7, P - 2])
@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (2, 1), (8, 5), (32, 3)])
def test_values_at_roots_of_unity(at_level: str, rows: int, columns: int, shift: int) -> None:
    coefficients = matrix(rows, columns)
    data = coefficients.copy()
    _core.ntt_goldilocks_inplace(data, shift=shift)
    points = reference.root_points(rows, shift)
    assert _core.ntt_goldilocks_points(rows, rows, shift=shift).tolist() == points
    for j in range(columns):
        column = coefficients[:, j].tolist()
        assert data[:, j].tolist() == [sum(c * pow(x, k, P) for k, c in enumerate(column)) % P for x in points]
    _core.ntt_goldilocks_inplace(data, shift=shift, inverse=True)
    assert np.array_equal(data, coefficients)


def test_levels_agree_and_large_transforms_come_back(at_level: str) -> None:
    """At the edges of tiles, and for the longest transform."""
    for rows, columns in ((16, 1031), (256, 100), (1 << 14, 3)):
        start = matrix(rows, columns, 1)
        data, portable = start.copy(), start.copy()
        _core.ntt_goldilocks_inplace(data, shift=7)
        _core.force_level("portable")
        _core.ntt_goldilocks_inplace(portable, shift=7)
        _core.force_level(at_level)
        assert np.array_equal(data, portable)
        _core.ntt_goldilocks_inplace(data, shift=7, inverse=True)
        assert np.array_equal(data, start)


@pytest.mark.parametrize(
    ("n", "t", "size", "d"), [(2, 1, 1, 3), (5, 2, 2, 4), (8, 4, 4, 5), (9, 1, 8, 2), (21, 5, 4, 3)]
)
def test_shares_are_those_of_the_contract(at_level: str, n: int, t: int, size: int, d: int) -> None:
    secrets, seed = matrix(size, d), bytes(range(32))
    shares = _core.packed_share(secrets, n, t, seed)
    assert shares.tolist() == reference.packed_share(secrets.tolist(), n, t, seed)
    out = np.full((n, d), 5, np.uint64)
    assert _core.packed_share(secrets, n, t, seed, out=out, part=(1, d - 1)) is out
    assert (out[:, 0] == 5).all()
    _core.packed_share(secrets, n, t, seed, out=out, part=(0, 1))
    assert np.array_equal(out, shares)


def test_points_of_shares_are_no_points_of_secrets() -> None:
    """7 has no power-of-two order times any root: not a single point in common, up to the largest sizes."""
    most = 1 << _core.NTT_LOG_MAX
    shares = _core.ntt_goldilocks_points(most, most, shift=_core.PACKED_SHIFT)
    secrets = _core.ntt_goldilocks_points(most, most)
    assert len(np.unique(np.concatenate([shares, secrets]))) == 2 * most
    assert shares.all()


def test_what_is_refused() -> None:
    with pytest.raises(ParameterError, match="3 rows"):
        _core.ntt_goldilocks_inplace(matrix(3, 2))
    with pytest.raises(ParameterError, match="shift is 0"):
        _core.ntt_goldilocks_inplace(matrix(2, 2), shift=0)
    bad = matrix(2, 2)
    bad[1, 1] = P
    with pytest.raises(ParameterError, match="not below the modulus"):
        _core.ntt_goldilocks_inplace(bad)
    with pytest.raises(ParameterError, match="not below the modulus"):
        _core.packed_share(bad, 4, 1, bytes(32))
    bad.flags.writeable = False
    with pytest.raises(BufferTypeError, match="read-only"):
        _core.ntt_goldilocks_inplace(bad)
    good = matrix(2, 2)
    for n, privacy, text in ((3, 2, "would be needed"), (4, 0, "privacy is 0"), (0, 1, "parties is 0")):
        with pytest.raises(ParameterError, match=text):
            _core.packed_share(good, n, privacy, bytes(32))
    with pytest.raises(ParameterError, match="without an array"):
        _core.packed_share(good, 4, 1, bytes(32), part=(0, 1))
    with pytest.raises(ParameterError, match="first column is 3"):
        _core.packed_share(good, 4, 1, bytes(32), out=np.zeros((4, 2), np.uint64), part=(3, 0))
    with pytest.raises(ParameterError, match="number of columns is 2"):
        _core.shamir_share(
            _core.M61, good[0], good[1] | np.uint64(1), 1, bytes(32), out=np.zeros((2, 2), np.uint64), part=(1, 2)
        )
    with pytest.raises(ParameterError, match="n is 5"):
        _core.ntt_goldilocks_points(5, 4)

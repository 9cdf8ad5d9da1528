"""Lanes against Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.core.streams import reference_stream

ED25519 = 2**252 + 27742317777372353535851937790883648493
MODULI = (ED25519, 2**256 - 1, 2**255 - 19, 2**31 + 1, 2**61 - 1, 2**64 - 2**32 + 1, 2**192 + 1, 2**255 + 1)


def to_ints(lanes: np.ndarray) -> list[int]:
    return [int.from_bytes(lane.tobytes(), "little") for lane in lanes]


def from_ints(values: list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(v.to_bytes(32, "little") for v in values), np.uint8).reshape(-1, 32).copy()


@pytest.mark.parametrize("cipher", [_core.AES128_CTR, _core.CHACHA20])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    modulus=st.sampled_from(MODULI) | st.integers(2**31 + 1, 2**256 - 1).map(lambda m: m | 1),
    n=st.integers(0, 70),
    count=st.integers(0, 8),
    offset=st.integers(0, 50),
    salt=st.integers(0, 2**32),
)
def test_lanes_mask_is_the_sum_of_words(at_level, cipher, modulus, n, count, offset, salt):
    rng = np.random.default_rng(salt)
    seeds = rng.integers(0, 256, (count, _core.SEED_BYTES[cipher]), dtype=np.uint8)
    negate = rng.integers(0, 2, count).astype(bool)
    start = [int.from_bytes(rng.bytes(32), "little") % modulus for _ in range(n)]
    if n > 2:
        start[0], start[1] = 0, modulus - 1
    want = list(start)
    for seed, sign in zip(seeds, negate, strict=True):
        stream = reference_stream(seed.tobytes(), 64 * (offset + n), cipher)
        for a in range(n):
            word = int.from_bytes(stream[64 * (offset + a) : 64 * (offset + a + 1)], "little")
            want[a] = (want[a] - word if sign else want[a] + word) % modulus
    acc = from_ints(start)
    _core.lanes_mask(acc, modulus, seeds, negate, offset=offset, cipher=cipher)
    assert to_ints(acc) == want


def test_masks_cancel_over_more_seeds_than_a_group():
    rng = np.random.default_rng(1)
    seeds = rng.integers(0, 256, (200, 32), dtype=np.uint8)
    acc = from_ints([5] * 33)
    _core.lanes_mask(acc, ED25519, seeds, np.zeros(200, bool))
    assert to_ints(acc) != [5] * 33
    _core.lanes_mask(acc, ED25519, seeds, np.ones(200, bool))
    assert to_ints(acc) == [5] * 33


@given(
    modulus=st.sampled_from(MODULI),
    pairs=st.lists(st.tuples(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1)), max_size=20),
)
def test_lanes_add(modulus, pairs):
    a, b = [x % modulus for x, _ in pairs], [y % modulus for _, y in pairs]
    acc = from_ints(a)
    _core.lanes_add(acc, from_ints(b), modulus)
    assert to_ints(acc) == [(x + y) % modulus for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("place", [0, 3, 6])
@pytest.mark.parametrize("excess", [0, 1, 2**250])
def test_a_residue_that_is_not_canonical_is_refused_before_writing(place, excess):
    bad = from_ints([ED25519 + excess if i == place else i for i in range(7)])
    good = from_ints(list(range(7)))
    for acc, other in ((good, bad), (bad, good)):
        before = acc.copy()
        with pytest.raises(ParameterError, match="not below the modulus"):
            _core.lanes_add(acc, other, ED25519)
        np.testing.assert_array_equal(acc, before)
    before = bad.copy()
    with pytest.raises(ParameterError, match="not below the modulus"):
        _core.lanes_mask(bad, ED25519, np.zeros((1, 32), np.uint8), np.zeros(1, bool))
    np.testing.assert_array_equal(bad, before)


@pytest.mark.parametrize("modulus", [0, -1, 2**31 - 1, 2**31, 2**40, 2**256, 2**256 + 1, ED25519 + 1, 3.0])
def test_moduli_out_of_range(modulus):
    acc = np.zeros((2, 32), np.uint8)
    with pytest.raises(ParameterError, match="modulus"):
        _core.lanes_add(acc, acc.copy(), modulus)
    with pytest.raises(ParameterError, match="modulus"):
        _core.lanes_mask(acc, modulus, np.zeros((1, 32), np.uint8), np.zeros(1, bool))


def test_shapes():
    acc = np.zeros((2, 32), np.uint8)
    with pytest.raises(ParameterError, match="axis 1"):
        _core.lanes_add(np.zeros((2, 31), np.uint8), acc, ED25519)
    with pytest.raises(ParameterError, match="axis 0"):
        _core.lanes_add(acc, np.zeros((3, 32), np.uint8), ED25519)
    with pytest.raises(BufferTypeError, match="dimensions"):
        _core.lanes_add(acc.ravel(), acc, ED25519)
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.lanes_add(acc, acc, ED25519)
    with pytest.raises(ParameterError, match="offset"):
        _core.lanes_mask(acc, ED25519, np.zeros((1, 32), np.uint8), np.zeros(1, bool), offset=2**56)

"""Segments: every modulus, exact sums, the right number of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.secagg import SEMI_HONEST, Segment
from tests.secagg.harness import ELL, World, decode

P25519 = 2**255 - 19
PRIMES = [2**31 + 11, 2**61 - 1, 2**64 - 2**32 + 1, ELL, P25519, 2**256 - 189]


def test_every_ring_from_2_to_2_to_the_64() -> None:
    """All B in 1..64 as one vector of 64 segments, one client lost; entries are packed to B bits."""
    segments = tuple(Segment.ring(bits, 9) for bits in range(1, 65))
    world = World(4, adversary=SEMI_HONEST, segments=segments)
    round = world.round()
    result = round.finish({3: "mask"})
    assert [total.dtype for total in result.sums] == [np.uint32] * 32 + [np.uint64] * 32
    blocks = [decode(message) for message in round.sent["mask", world.ids[0]][:-1]]
    assert [len(block.payload) for block in blocks] == [-(-9 * bits // 8) for bits in range(1, 65)]


@pytest.mark.parametrize("modulus", PRIMES, ids=lambda p: f"{p.bit_length()} bits")
@pytest.mark.parametrize("cipher", [1, 2])
def test_prime_segments(modulus: int, cipher: int) -> None:
    """Residues at both ends of the range, one client lost."""
    world = World(5, segments=(Segment.prime(modulus, 6),), cipher=cipher)
    for node in world.nodes:
        node.vectors[0][0] = np.frombuffer((modulus - 1).to_bytes(32, "little"), dtype=np.uint8)
        node.vectors[0][1] = 0
    round = world.round()
    result = round.finish({0: "mask"})
    assert int.from_bytes(result.sums[0][0].tobytes(), "little") == -4 % modulus


def test_mixed_segments() -> None:
    """Rings and primes in one upload, in any order, are one vector with one set of survivors."""
    segments = (
        Segment.prime(ELL, 3),
        Segment.ring(26, 70),
        Segment.ring(64, 5),
        Segment.prime(2**61 - 1, 2),
        Segment.ring(1, 130),
    )
    world = World(6, segments=segments, block_entries=64)
    result = world.round().finish({1: "mask"})
    assert [len(total) for total in result.sums] == [3, 70, 5, 2, 130]


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.uint64])
def test_inputs_are_taken_modulo_the_ring(dtype: type) -> None:
    """Negative numbers and wide dtypes are residues mod 2^B: the sum is that of the integers, mod 2^B."""
    world = World(4, segments=(Segment.ring(12, 4),))
    values = np.array([0, 1, 4095, 5000], dtype=dtype)
    for node in world.nodes:
        node.vectors = (values if dtype is not np.int64 else -values,)
    result = world.round().finish()
    sign = -4 if dtype is np.int64 else 4
    assert [int(v) for v in result.sums[0]] == [sign * v % 4096 for v in (0, 1, 4095, 5000)]


def test_a_signed_sum_comes_back_signed() -> None:
    from privcomp._core import center

    world = World(4, segments=(Segment.ring(16, 3),))
    for node, sign in zip(world.nodes, (-1, -1, -1, 1), strict=True):
        node.vectors = (np.array([1000, -7, 0], dtype=np.int64) * sign,)
    result = world.round().finish()
    assert center(result.sums[0], 16).tolist() == [-2000, 14, 0]


@settings(max_examples=15)
@given(data=st.data())
def test_any_vector_of_segments_sums_exactly(data: st.DataObject) -> None:
    one = st.one_of(
        st.builds(Segment.ring, st.integers(1, 64), st.integers(1, 150)),
        st.builds(Segment.prime, st.sampled_from(PRIMES), st.integers(1, 4)),
    )
    segments = tuple(data.draw(st.lists(one, min_size=1, max_size=4)))
    block = data.draw(st.sampled_from([64, 128, 1 << 18]))
    lost = data.draw(st.sampled_from([{}, {0: "mask"}, {3: "unmask"}, {2: "share"}]))
    seed = data.draw(st.integers(1, 200))
    world = World(5, adversary=SEMI_HONEST, segments=segments, block_entries=block, seed=seed)
    assert len(world.round().finish(lost).survivors) == 5 - sum(stage != "unmask" for stage in lost.values())

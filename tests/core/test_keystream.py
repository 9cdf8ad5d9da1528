"""Keystreams and masks against `cryptography`, the public vectors, and each level against the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import ParameterError
from tests.core.streams import reference_stream

CIPHERS = (_core.AES128_CTR, _core.CHACHA20)
RNG = np.random.default_rng(7)
# The fixture that forces a level holds for all examples of a test.
PER_LEVEL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def seeds_of(count: int, cipher: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, _core.SEED_BYTES[cipher]), dtype=np.uint8)


@pytest.mark.parametrize("cipher", CIPHERS)
@PER_LEVEL
@given(data=st.data(), length=st.integers(0, 5000), offset=st.integers(0, 3000))
def test_keystream_is_the_ciphers_stream(at_level, cipher, data, length, offset):
    size = _core.SEED_BYTES[cipher]
    seed = data.draw(st.binary(min_size=size, max_size=size))
    want = reference_stream(seed, offset + length, cipher)[offset:]
    assert _core.keystream(seed, length, offset=offset, cipher=cipher) == want


@pytest.mark.parametrize("ones", [1, 2, 4, 7, 8, 9, 12, 15, 16])
@pytest.mark.parametrize("low", [0xF0, 0xFF, 0xE3])
def test_aes_counter_carries_through_128_bits(at_level, ones, low):
    """Runs that cross 2^8, .., 2^64, 2^128 in the first few blocks, at every alignment to a chunk."""
    counter = bytes(16 - ones) + b"\xff" * (ones - 1) + bytes([low])
    seed = os.urandom(16) + counter
    assert _core.keystream(seed, 2048, offset=7) == reference_stream(seed, 2055, _core.AES128_CTR)[7:]


@pytest.mark.parametrize("counter", [2**32 - 9, 2**32 - 1, 2**64 - 13, 2**64 - 1])
def test_chacha_counter_has_64_bits(at_level, counter):
    seed = os.urandom(32) + counter.to_bytes(8, "little") + os.urandom(8)
    assert (
        _core.keystream(seed, 4096, offset=33, cipher=_core.CHACHA20)
        == reference_stream(seed, 4129, _core.CHACHA20)[33:]
    )


@pytest.mark.parametrize("cipher", CIPHERS)
def test_an_offset_far_away_is_a_later_counter(at_level, cipher):
    seed = os.urandom(_core.SEED_BYTES[cipher])
    offset = 2**61 + 64 * 5
    if cipher == _core.AES128_CTR:
        counter = (int.from_bytes(seed[16:], "big") + offset // 16) % 2**128
        later = seed[:16] + counter.to_bytes(16, "big")
    else:
        counter = (int.from_bytes(seed[32:40], "little") + offset // 64) % 2**64
        later = seed[:32] + counter.to_bytes(8, "little") + seed[40:]
    assert _core.keystream(seed, 999, offset=offset, cipher=cipher) == reference_stream(later, 999, cipher)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@PER_LEVEL
@given(n=st.integers(0, 1500), count=st.integers(0, 9), offset=st.integers(0, 700), salt=st.integers(0, 2**32))
def test_mask_add_adds_words_of_the_stream(at_level, cipher, dtype, n, count, offset, salt):
    rng = np.random.default_rng(salt)
    word = np.dtype(dtype).itemsize
    seeds = rng.integers(0, 256, (count, _core.SEED_BYTES[cipher]), dtype=np.uint8)
    negate = rng.integers(0, 2, count).astype(bool)
    acc = rng.integers(0, 2 ** (8 * word), n, dtype=dtype)
    want = acc.copy()
    for seed, sign in zip(seeds, negate, strict=True):
        stream = np.frombuffer(reference_stream(seed.tobytes(), (offset + n) * word, cipher), f"<u{word}")[offset:]
        want = want - stream if sign else want + stream
    start, to = acc.copy(), np.full_like(acc, 5)
    _core.mask_add(to, seeds, negate, start=start, offset=offset, cipher=cipher)
    _core.mask_add(acc, seeds, negate, offset=offset, cipher=cipher)
    np.testing.assert_array_equal(acc, want)
    np.testing.assert_array_equal(to, want)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_levels_agree_on_many_seeds_and_tiles(cipher, dtype):
    """More seeds than one group, more data than a tile, and an offset inside a block."""
    before = _core.level()
    seeds, negate = seeds_of(130, cipher), RNG.integers(0, 2, 130).astype(bool)
    results = []
    try:
        for name in _core.available_levels():
            _core.force_level(name)
            acc = np.zeros(13_001, dtype)
            _core.mask_add(acc, seeds, negate, offset=4093, cipher=cipher)
            to = np.full(13_001, 7, dtype)
            _core.mask_add(to, seeds, negate, start=np.zeros_like(acc), offset=4093, cipher=cipher)
            results += [acc, to]
    finally:
        _core.force_level(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_blocks_of_a_vector_add_up_to_the_vector(cipher):
    """Streaming a large model block by block masks it as one call would."""
    seeds, negate = seeds_of(5, cipher), np.array([True, False, True, True, False])
    whole = np.zeros(10_000, np.uint32)
    _core.mask_add(whole, seeds, negate, cipher=cipher)
    parts = np.zeros(10_000, np.uint32)
    for start, stop in [(0, 1), (1, 777), (777, 778), (778, 9001), (9001, 10_000)]:
        _core.mask_add(parts[start:stop], seeds, negate, offset=start, cipher=cipher)
    np.testing.assert_array_equal(whole, parts)


def test_opposite_signs_cancel():
    seeds = seeds_of(9, _core.AES128_CTR)
    acc = RNG.integers(0, 2**32, 5000, dtype=np.uint32)
    before = acc.copy()
    _core.mask_add(acc, seeds, np.zeros(9, bool))
    assert not np.array_equal(acc, before)
    _core.mask_add(acc, seeds, np.ones(9, bool))
    np.testing.assert_array_equal(acc, before)


def vector_cases(path: Path) -> list[dict[str, str]]:
    cases: list[dict[str, str]] = []
    for line in path.read_text(encoding="ascii").splitlines():
        key, separator, value = line.partition(" = ")
        if separator and key == "COUNT":
            cases.append({})
        elif separator:
            cases[-1][key] = value
    assert cases
    return cases


def test_public_vectors_aes_ctr(vectors, at_level):
    for case in vector_cases(vectors / "pyca" / "ciphers__AES__CTR__aes-128-ctr.txt"):
        plain, want = bytes.fromhex(case["PLAINTEXT"]), bytes.fromhex(case["CIPHERTEXT"])
        stream = _core.keystream(bytes.fromhex(case["KEY"] + case["IV"]), len(plain))
        assert bytes(a ^ b for a, b in zip(plain, stream, strict=True)) == want


def test_public_vectors_chacha20(vectors, at_level):
    for case in vector_cases(vectors / "pyca" / "ciphers__ChaCha20__rfc7539.txt"):
        plain, want = bytes.fromhex(case["PLAINTEXT"]), bytes.fromhex(case["CIPHERTEXT"])
        # RFC 7539: 32-bit counter || 96-bit nonce are the same 16 bytes as 64-bit counter || 64-bit nonce.
        nonce = int(case["INITIAL_BLOCK_COUNTER"]).to_bytes(4, "little") + bytes.fromhex(case["NONCE"])
        stream = _core.keystream(bytes.fromhex(case["KEY"]) + nonce, len(plain), cipher=_core.CHACHA20)
        assert bytes(a ^ b for a, b in zip(plain, stream, strict=True)) == want


def test_force_level():
    levels = _core.available_levels()
    assert levels[0] == "portable"
    before = _core.level()
    try:
        for name in levels:
            _core.force_level(name)
            assert _core.level() == name
        with pytest.raises(ParameterError, match="available: portable"):
            _core.force_level("sse9")
        assert _core.level() == levels[-1]
        _core.force_level("portable")
        _core.force_level(None)
        assert _core.level() == levels[-1]
    finally:
        _core.force_level(before)


@pytest.mark.parametrize(("value", "status"), [("portable", 0), ("no such level", 1)])
def test_the_environment_forces_a_level(value, status):
    env = {**os.environ, "PRIVCOMP_FORCE_LEVEL": value}
    code = "from privcomp import _core; print(_core.level())"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stdout.strip() == (value if status == 0 else "")
    if status:
        assert "cannot run on this machine" in done.stderr

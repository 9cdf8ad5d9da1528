"""Additive ring-LWE in the core, at every level, against plain integers."""

from __future__ import annotations

import functools
import gc
import math
import os
import pickle
import random
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, CodecError, EncodingError, ParameterError
from tests.reference import rlwe_core as reference

SOURCE = Path(__file__).resolve().parents[2] / "csrc" / "src" / "rlwe_gauss.h"
P2 = (1125899906826241, 562949953216513), (46909545429, 75260022318)


def ring(degree: int, bits: tuple[int, ...], radix: int, digits: int) -> _core.RlweTables:
    primes: list[int] = []
    for width in bits:
        primes.append(next(q for q in reference.primes_below(width, degree, len(bits)) if q not in primes))
    return _core.RlweTables(degree, primes, [reference.root_of(q, degree) for q in primes], radix, digits)


@pytest.fixture(scope="module")
def p2() -> _core.RlweTables:
    return _core.RlweTables(4096, *P2, 64 * 65535 + 1, 4)


def psi_of(tables: _core.RlweTables, r: int) -> int:
    return reference.root_of(tables.primes[r], tables.degree)


# ---- transforms ----


@functools.lru_cache
def transforms(degree: int, q: int, psi: int) -> tuple[list[list[int]], list[list[int]]]:
    rng = random.Random(degree * q)
    rows = [[rng.randrange(q) for _ in range(degree)], [q - 1] * degree, [0] * (degree - 1) + [q - 1]]
    images = [reference.transform(row, q, psi) for row in rows]
    assert reference.inverse_transform(images[0], q, psi) == rows[0]
    return rows, images


@pytest.mark.parametrize("bits", [17, 44, 50])
@pytest.mark.parametrize("degree", [4, 8, 16, 32, 64, 128])
def test_transform_is_the_evaluation(at_level, degree, bits):
    tables = ring(degree, (bits,), 2, 1)
    rows, images = transforms(degree, tables.primes[0], psi_of(tables, 0))
    a = np.array(rows, np.uint64)
    _core.ntt_forward_inplace(tables, 0, a)
    assert a.tolist() == images
    _core.ntt_inverse_inplace(tables, 0, a)
    assert a.tolist() == rows


@pytest.mark.parametrize("degree", [512, 1024, 2048, 4096, 8192, 16384])
def test_long_transforms_multiply(at_level, degree):
    """x^i x^j = +-x^(i + j mod N), at the largest primes; the values in between are the largest ones, too."""
    tables = ring(degree, (50, 49, 44), 2**48, 2)
    rng = random.Random(degree)
    for r, q in enumerate(tables.primes):
        i, j, u, v = rng.randrange(degree), rng.randrange(degree), rng.randrange(q), rng.randrange(q)
        a = np.zeros((2, degree), np.uint64)
        a[0, i], a[1, j] = u, v
        _core.ntt_forward_inplace(tables, r, a)
        c = np.array([[int(x) * int(y) % q for x, y in zip(*a, strict=True)]], np.uint64)
        _core.ntt_inverse_inplace(tables, r, c)
        want = np.zeros(degree, np.uint64)
        want[(i + j) % degree] = (u * v if i + j < degree else -u * v) % q
        assert np.array_equal(c[0], want)
        worst = np.full((2, degree), q - 1, np.uint64)
        worst[1, ::2] = 0
        there = worst.copy()
        _core.ntt_forward_inplace(tables, r, there)
        assert int(there.max()) < q
        _core.ntt_inverse_inplace(tables, r, there)
        assert np.array_equal(there, worst)
        _core.ntt_inverse_inplace(tables, r, worst)
        assert int(worst.max()) < q


def test_transforms_agree_between_levels(p2):
    rng = np.random.default_rng(1)
    a = rng.integers(0, p2.primes[1], (3, 4096), np.uint64)
    results = []
    before = _core.level()
    try:
        for level in _core.available_levels():
            _core.force_level(level)
            there, back = a.copy(), a.copy()
            _core.ntt_forward_inplace(p2, 1, there)
            _core.ntt_inverse_inplace(p2, 1, back)
            results.append((there.tobytes(), back.tobytes()))
    finally:
        _core.force_level(before)
    assert len(set(results)) == 1


# ---- public polynomials ----


@pytest.mark.parametrize("bits", [(50, 45), (17, 45), (9,)])
def test_expansion_is_the_stream_with_rejection(at_level, bits):
    """For 257, half of the words are rejected."""
    tables = ring(16, bits, 2 if len(bits) == 1 else 2**34, 1)
    key = bytes(range(16))
    got = _core.rlwe_expand(tables, key, 7, 3)
    for j in range(3):
        for r, q in enumerate(tables.primes):
            assert got[j, r].tolist() == reference.expand(key, 7 + j, r, q, 16)
    last = _core.rlwe_expand(tables, key, 2**32 - 1, 1)
    assert last[0, 0].tolist() == reference.expand(key, 2**32 - 1, 0, tables.primes[0], 16)
    assert _core.rlwe_expand(tables, key, 0, 0).shape == (0, len(bits), 16)


# ---- noise ----


def table() -> list[int]:
    text = SOURCE.read_text(encoding="utf-8")
    body = text[text.index("rlwe_tail[RLWE_TAILS][2]") :]
    return [int(a, 16) << 64 | int(b, 16) for a, b in re.findall(r"\{UINT64_C\((\w+)\), UINT64_C\((\w+)\)\}", body)]


def test_thresholds_are_those_of_the_gaussian():
    want = reference.tails()
    assert table() == want[:84]
    assert not any(want[84:])


def test_gaussian_is_the_comparison_with_the_table(at_level):
    thresholds = table()
    for stream, count in ((0, 1000), (1, 1), (2**64 - 1, 77), (5, 0), (6, 300)):
        seed = random.Random(stream).randbytes(16) + b"\xff" * 15 + b"\xf0"
        want = reference.gaussian(seed, stream, count, thresholds)
        assert _core.rlwe_gaussian(seed, stream, count).tolist() == want


def test_gaussian_statistics(at_level):
    """Chi-square over the values of more than 50 expected samples, and the sign of zero does not halve its weight."""
    n = 1 << 18
    x = _core.rlwe_gaussian(bytes(range(32)), 3, n)
    t = [2**127, *table(), 0]
    law = {k: (t[k] - t[k + 1]) / 2**127 / (1 if k == 0 else 2) for k in range(85)}
    chosen = [k for k in range(-84, 85) if n * law[abs(k)] > 50]
    counts = {k: int(np.count_nonzero(x == k)) for k in chosen}
    chi = sum((counts[k] - n * law[abs(k)]) ** 2 / (n * law[abs(k)]) for k in chosen)
    degrees = len(chosen) - 1
    assert abs(chi - degrees) < 6 * math.sqrt(2 * degrees)
    assert abs(float(np.mean(x.astype(float)))) < 6 * 6.4 / math.sqrt(n)
    assert abs(float(np.mean(x.astype(float) ** 2)) - 6.4**2) < 6 * 6.4**2 * math.sqrt(2 / n)


# ---- encryption ----

RINGS = [
    (4, (17,), 16, 1),
    (8, (20, 17), 50, 3),
    (16, (50, 49), 64 * 65535 + 1, 4),
    (16, (46, 45), 1000 * 65535 + 1, 3),
    (16, (44, 44, 44), 10**4 * 65535 + 1, 4),
    (32, (50, 50, 50, 50), 8, 64),
    (32, (50,), 2**40, 1),
    (8, (44, 44, 44), 2**24 * 65535, 3),
]


def sample(degree, seed):
    return _core.rlwe_gaussian(seed, 0, degree)


@pytest.mark.parametrize("shape", RINGS)
@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_encryption_is_the_equation(at_level, shape, kind):
    degree, _, radix, digits = shape
    if kind == np.uint32 and radix > 2**32:
        radix = 2**32
    tables = ring(degree, shape[1], radix, digits)
    rng = random.Random(str(shape))
    per = degree * digits
    thresholds = table()
    for count, first in (
        (1, 0),
        (per, 3),
        (per + 1, 0),
        (3 * per - digits, 2**32 - 3),
        (0, 0),
        (2 * per + digits + 1, 9),
    ):
        secret = [rng.randrange(-96, 97) for _ in range(degree)]
        values = [rng.choice([0, radix - 1, rng.randrange(radix)]) for _ in range(count)]
        expander, noise = rng.randbytes(16), rng.randbytes(32)
        polynomials = -(-count // per)
        a = [
            [
                reference.inverse_transform(reference.expand(expander, first + j, r, q, degree), q, psi_of(tables, r))
                for r, q in enumerate(tables.primes)
            ]
            for j in range(polynomials)
        ]
        e = [reference.gaussian(noise, first + j, degree, thresholds) for j in range(polynomials)]
        want = reference.encrypt(degree, tables.primes, radix, digits, secret, a, e, values)
        key = _core.RlweKey(tables, np.array(secret, np.int8))
        got = _core.rlwe_encrypt(tables, key, expander, noise, np.array(values, kind), first)
        assert got == want
        assert len(got) == tables.ciphertext_bytes(count)
        _core.rlwe_check(tables, got, count)
        total = np.zeros(tables.total_words(count), np.uint64)
        _core.rlwe_add(tables, total, got, 0, count)
        sums, noise_seen = _core.rlwe_decode(tables, total, key, expander, first, count)
        assert sums.tolist() == values
        used = [x for j, row in enumerate(e) for x in row[: max(0, -(-count // digits) - j * degree)]]
        if tables.delta > 400:
            assert noise_seen == (max(map(abs, used), default=0), sum(x * x for x in used), len(used))


@pytest.mark.parametrize(("count", "clients"), [(50_001, 3), (16_384, 2)])
def test_sums_of_many(at_level, p2, count, clients):
    """Sums of random vectors under sums of keys are exact; blocks of polynomials give the bytes of the whole."""
    rng = np.random.default_rng(count)
    expander = os.urandom(16)
    total = np.zeros(p2.total_words(count), np.uint64)
    in_blocks = total.copy()
    want = np.zeros(count, np.uint64)
    key_sum = np.zeros(4096, np.int32)
    block = 4096 * 4
    for _ in range(clients):
        secret, noise = sample(4096, os.urandom(32)), os.urandom(32)
        key = _core.RlweKey(p2, secret)
        key_sum += secret
        values = rng.integers(0, 65536, count, np.uint32)
        want += values
        data = _core.rlwe_encrypt(p2, key, expander, noise, values)
        parts = [
            _core.rlwe_encrypt(p2, key, expander, noise, values[at : at + block], at // block)
            for at in range(0, count, block)
        ]
        assert b"".join(parts) == data
        _core.rlwe_add(p2, total, data, 0, count)
        for i, part in enumerate(parts):
            _core.rlwe_add(p2, in_blocks, part, i * block, min(block, count - i * block))
    assert np.array_equal(total, in_blocks)
    key = _core.RlweKey(p2, key_sum)
    sums, noise_seen = _core.rlwe_decode(p2, total, key, expander, 0, count)
    assert np.array_equal(sums, want)
    assert noise_seen.coefficients == p2.coefficients(count)
    assert noise_seen.max_abs <= 15 * 6.4 * math.sqrt(clients)
    assert abs(noise_seen.sum_squares / noise_seen.coefficients / (6.4**2 * clients) - 1) < 0.2
    one = (
        slice(p2.total_words(block), p2.total_words(2 * block))
        if count > 2 * block
        else slice(0, p2.total_words(block))
    )
    part_sums, _ = _core.rlwe_decode(p2, total[one], key, expander, one.start and 1, block)
    begin = block if one.start else 0
    assert np.array_equal(part_sums, want[begin : begin + block])


def test_large_key_sums(at_level, p2):
    """Sums of keys up to 2^31 in absolute value are reduced modulo every prime."""
    secret = np.array([2**31 - 1, -(2**31)] * 2048, np.int32)
    values = np.arange(100, dtype=np.uint32)
    key = _core.RlweKey(p2, secret)
    expander = bytes(16)
    total = np.zeros(p2.total_words(100), np.uint64)
    _core.rlwe_add(p2, total, _core.rlwe_encrypt(p2, key, expander, os.urandom(32), values), 0, 100)
    assert np.array_equal(_core.rlwe_decode(p2, total, key, expander, 0, 100)[0], values)


def test_wrong_keys_do_not_decode(p2):
    key, other = (_core.RlweKey(p2, sample(4096, os.urandom(32))) for _ in range(2))
    expander = os.urandom(16)
    total = np.zeros(p2.total_words(40_000), np.uint64)
    _core.rlwe_add(
        p2, total, _core.rlwe_encrypt(p2, key, expander, os.urandom(32), np.zeros(40_000, np.uint32)), 0, 40_000
    )
    for k, seed in ((other, expander), (key, os.urandom(16))):
        # q / (Delta M^4) is so close to 1 that almost every m is in range, and the noise tells
        try:
            _, noise = _core.rlwe_decode(p2, total, k, seed, 0, 40_000)
        except ParameterError:
            continue
        assert noise.max_abs > 1000


def test_beyond_the_digits_is_refused():
    """M^k Delta < q: the rest of the range is an error, not a value."""
    tables = ring(8, (17,), 100, 2)
    key = _core.RlweKey(tables, np.zeros(8, np.int8))
    q = tables.primes[0]
    edge = 100**2 * tables.delta - tables.delta // 2
    assert edge < q - tables.delta // 2
    for value, good in ((edge - 1, True), (edge, False), (q - 1 - tables.delta // 2, False)):
        total = np.full(8, value, np.uint64)
        if good:
            assert set(_core.rlwe_decode(tables, total, key, bytes(16), 0, 16)[0].tolist()) == {99}
        else:
            with pytest.raises(ParameterError, match="does not decode"):
                _core.rlwe_decode(tables, total, key, bytes(16), 0, 16)
    with pytest.raises(ParameterError, match="does not decode"):  # residues out of range
        _core.rlwe_decode(tables, np.full(8, q, np.uint64), key, bytes(16), 0, 16)
    total = np.zeros(1, np.uint64)  # one value is sent, and the second digit of its coefficient is not zero
    total[0] = 100 * tables.delta
    with pytest.raises(ParameterError, match="does not decode"):
        _core.rlwe_decode(tables, total, key, bytes(16), 0, 1)


@pytest.mark.parametrize("count", [16, 23, 5])
def test_toy_ring_exhaustively(at_level, count):
    """Every noise of a coefficient decodes exactly while |E| <= Delta / 2, and is reported."""
    tables = ring(4, (13,), 8, 2)
    q, delta = tables.primes[0], tables.delta
    key = _core.RlweKey(tables, np.zeros(4, np.int8))
    half = delta // 2
    for noise in range(-half, delta - half):
        total = np.full(tables.total_words(count), noise % q, np.uint64)
        sums, seen = _core.rlwe_decode(tables, total, key, bytes(16), 0, count)
        assert not sums.any()
        words = tables.coefficients(count)
        assert seen == (abs(noise), noise * noise * words, words)


# ---- parsing ----


@given(data=st.data())
def test_mutations_are_refused_or_other_ciphertexts(data):
    """A receiver refuses what is not canonical, and then its sum is unchanged; what it takes, it takes as it is."""
    tables = ring(8, (20, 17), 50, 3)
    count = data.draw(st.integers(0, 60))
    size = tables.ciphertext_bytes(count)
    raw = data.draw(st.binary(min_size=max(0, size - 1), max_size=size + 1))
    total = np.zeros(tables.total_words(count), np.uint64)
    bits, number, words = 0, int.from_bytes(raw, "little"), []
    coefficients = tables.coefficients(count)
    for j in range(0, coefficients, 8):
        for q in tables.primes:
            for _ in range(min(8, coefficients - j)):
                words.append((number >> bits) % (1 << q.bit_length()))
                bits += q.bit_length()
                if words[-1] >= q:
                    number = -1
                    break
    good = len(raw) == size and number >= 0 and number >> bits == 0
    if good:
        _core.rlwe_check(tables, raw, count)
        _core.rlwe_add(tables, total, raw, 0, count)
        assert total.tolist() == words
    else:
        with pytest.raises(CodecError):
            _core.rlwe_check(tables, raw, count)
        with pytest.raises(CodecError):
            _core.rlwe_add(tables, total, raw, 0, count)
        assert not total.any()


def test_one_bad_residue_anywhere_is_refused(at_level):
    tables = ring(16, (46, 45), 1000, 3)
    count = 16 * 3 * 2 + 20
    key = _core.RlweKey(tables, sample(16, bytes(32)))
    data = _core.rlwe_encrypt(tables, key, bytes(16), bytes(32), np.zeros(count, np.uint32))
    number, at = int.from_bytes(data, "little"), 0
    coefficients = tables.coefficients(count)
    total = np.zeros(tables.total_words(count), np.uint64)
    for j in range(0, coefficients, 16):
        for q in tables.primes:
            for _ in range(min(16, coefficients - j)):
                width = q.bit_length()
                for bad in (q, (1 << width) - 1):
                    changed = number & ~(((1 << width) - 1) << at) | bad << at
                    with pytest.raises(CodecError, match="residue"):
                        _core.rlwe_add(tables, total, changed.to_bytes(len(data), "little"), 0, count)
                fine = number & ~(((1 << width) - 1) << at) | (q - 1) << at
                _core.rlwe_check(tables, fine.to_bytes(len(data), "little"), count)
                at += width
    assert not total.any()
    for bit in range(at, 8 * len(data)):
        with pytest.raises(CodecError, match="padding"):
            _core.rlwe_check(tables, (number | 1 << bit).to_bytes(len(data), "little"), count)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(CodecError, match="bytes"):
            _core.rlwe_check(tables, wrong, count)


def test_a_value_at_the_radix_is_refused(at_level, p2):
    key = _core.RlweKey(p2, sample(4096, bytes(32)))
    for kind in (np.uint32, np.uint64):
        for place in (0, 4095, 20_000, 20_001):
            values = np.full(20_002, p2.radix - 1, kind)
            out = bytearray(p2.ciphertext_bytes(values.size))
            _core.rlwe_encrypt_into(out, p2, key, bytes(16), bytes(32), values)
            assert any(out)
            for bad in (p2.radix, int(np.iinfo(kind).max)):
                values[place] = bad
                with pytest.raises(ParameterError, match="radix"):
                    _core.rlwe_encrypt_into(out, p2, key, bytes(16), bytes(32), values)
                assert not any(out)


def test_signed_values_are_digits_less_the_bound(at_level, p2):
    key = _core.RlweKey(p2, sample(4096, bytes(32)))
    for bound in (0, 32767, (p2.radix - 1) // 2):
        digits = np.random.default_rng(bound).integers(0, 2 * bound, 20_003, np.uint64, endpoint=True)
        digits[:2] = 0, 2 * bound
        want = _core.rlwe_encrypt(p2, key, bytes(16), bytes(32), digits, 3)
        for kind in (np.int32, np.int64):
            values = (digits.astype(np.int64) - bound).astype(kind)
            out = bytearray(len(want))
            _core.rlwe_encrypt_signed_into(out, p2, key, bytes(16), bytes(32), values, bound, 3)
            assert out == want
            for bad in (bound + 1, -bound - 1, int(np.iinfo(kind).min), int(np.iinfo(kind).max)):
                for place in (0, 16_385, 20_002):
                    spoilt = values.copy()
                    spoilt[place] = bad
                    with pytest.raises(EncodingError, match="beyond"):
                        _core.rlwe_encrypt_signed_into(out, p2, key, bytes(16), bytes(32), spoilt, bound)
                    assert not any(out)


def test_sums_come_back_less_a_shift(at_level, p2):
    coefficients = sample(4096, bytes(32))
    key = _core.RlweKey(p2, coefficients)
    values = np.random.default_rng(1).integers(0, p2.radix, 20_003, np.uint64)
    total = np.zeros(p2.total_words(values.size), np.uint64)
    _core.rlwe_add(p2, total, _core.rlwe_encrypt(p2, key, bytes(16), bytes(32), values, 3), 0, values.size)
    _, noise = _core.rlwe_decode(p2, total, key, bytes(16), 3, values.size)
    out = np.empty(values.size, np.int64)
    for shift in (0, 12345, 2**48 - 1):
        got = _core.rlwe_decode_signed_into(out, p2, total, key, bytes(16), 3, shift)
        assert got == (int(values.max()), noise)
        assert np.array_equal(out, values.astype(np.int64) - shift)
    for shift in (-1, 2**48):
        with pytest.raises(ParameterError):
            _core.rlwe_decode_signed_into(out, p2, total, key, bytes(16), 3, shift)
    with pytest.raises(ParameterError):
        _core.rlwe_decode_signed_into(out[1:], p2, total[2:], key, bytes(16), 3, 0)
    with pytest.raises(BufferTypeError):
        _core.rlwe_decode_signed_into(out.view(np.uint64), p2, total, key, bytes(16), 3, 0)
    total[7] = 2**51
    with pytest.raises(ParameterError, match="does not decode"):
        _core.rlwe_decode_signed_into(out, p2, total, key, bytes(16), 3, 5)
    assert not out.any()


# ---- arguments ----


def test_rings_are_checked():
    q = reference.primes_below(20, 8, 2)
    psi = [reference.root_of(p, 8) for p in q]
    good = (8, q, psi, 4, 2)
    _core.RlweTables(*good)
    bad = [
        (2, q, psi, 4, 2),
        (12, q, psi, 4, 2),
        (32768, q, psi, 4, 2),
        (8, [], [], 4, 2),
        (8, q, psi[:1], 4, 2),
        (8, [q[0], q[0]], [psi[0], psi[0]], 4, 2),
        (8, [q[0] + 2, q[1]], psi, 4, 2),
        (8, q, [psi[0] + 1, psi[1]], 4, 2),
        (8, q, [1, psi[1]], 4, 2),
        (8, q, psi, 1, 2),
        (8, q, psi, 2**48 + 1, 1),
        (8, q, psi, 4, 0),
        (8, q, psi, 4, 65),
        (8, q, psi, 2**20, 2),
        (8, [1125899906842817], [2], 4, 2),
    ]
    for arguments in bad:
        with pytest.raises(ParameterError):
            _core.RlweTables(*arguments)
    with pytest.raises(ParameterError):
        _core.RlweTables(8, q, psi, 4, 2).ciphertext_bytes(-1)


def test_arguments_are_checked(p2):
    secret = sample(4096, bytes(32))
    key = _core.RlweKey(p2, secret)
    values = np.zeros(10, np.uint32)
    other = ring(8, (20,), 4, 2)
    for arguments in (
        (p2, _core.RlweKey(other, np.zeros(8, np.int8)), bytes(16), bytes(32), values),
        (p2, key, bytes(15), bytes(32), values),
        (p2, key, bytes(16), bytes(31), values),
        (p2, key, bytes(16), bytes(32), values, -1),
        (p2, key, bytes(16), bytes(32), values, 2**32),
        (other, key, bytes(16), bytes(32), values),
    ):
        with pytest.raises(ParameterError):
            _core.rlwe_encrypt(*arguments)
    with pytest.raises(BufferTypeError):
        _core.rlwe_encrypt(p2, key, bytes(16), bytes(32), values.astype(np.int64))
    with pytest.raises(BufferTypeError):
        _core.rlwe_encrypt_into(bytes(p2.ciphertext_bytes(10)), p2, key, bytes(16), bytes(32), values)
    with pytest.raises(ParameterError):
        _core.rlwe_encrypt_into(bytearray(3), p2, key, bytes(16), bytes(32), values)
    out = bytearray(p2.ciphertext_bytes(10))
    for bound in (-1, p2.radix // 2 + 1, 1 << 70):
        with pytest.raises(ParameterError):
            _core.rlwe_encrypt_signed_into(out, p2, key, bytes(16), bytes(32), values.view(np.int32), bound)
    with pytest.raises(BufferTypeError):
        _core.rlwe_encrypt_signed_into(out, p2, key, bytes(16), bytes(32), values, 1)
    with pytest.raises((BufferTypeError, ParameterError)):
        _core.RlweKey(p2, secret[:5])
    with pytest.raises(BufferTypeError):
        _core.RlweKey(p2, secret.astype(np.int64))
    for index, a in ((2, np.zeros((1, 4096), np.uint64)), (0, np.full((1, 4096), 2**50, np.uint64))):
        with pytest.raises(ParameterError):
            _core.ntt_forward_inplace(p2, index, a)
    data = _core.rlwe_encrypt(p2, key, bytes(16), bytes(32), values)
    total = np.zeros(p2.total_words(20_000), np.uint64)
    for first_value, count in ((0, 10), (1, 10), (16384, 16384), (-1, 10)):
        with pytest.raises(ParameterError):
            _core.rlwe_add(p2, total, data, first_value, count)
    with pytest.raises(ParameterError):
        _core.rlwe_decode(p2, total, key, bytes(16), 0, 19_000)
    for bad in ((bytes(31), 0, 1), (bytes(32), -1, 1), (bytes(32), 2**64, 1), (bytes(32), 0, -1)):
        with pytest.raises(ParameterError):
            _core.rlwe_gaussian(*bad)


def test_keys_are_wiped_and_do_not_show(p2):
    key = _core.RlweKey(p2, sample(4096, bytes(32)))
    words = key._finalizer.peek()[2][0]
    assert words.any()
    assert "redacted" in repr(key)
    with pytest.raises(ParameterError):
        pickle.dumps(key)
    key.wipe()
    assert not words.any()
    with pytest.raises(ParameterError, match="wiped"):
        _core.rlwe_encrypt(p2, key, bytes(16), bytes(32), np.zeros(1, np.uint32))
    second = _core.RlweKey(p2, sample(4096, bytes(32)))
    words, gone = second._finalizer.peek()[2][0], weakref.ref(second)
    del second
    gc.collect()
    assert gone() is None
    assert not words.any()

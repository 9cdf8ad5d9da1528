"""The kernels against the plain twin: expansion, transform, encryption, packing, decoding."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privcomp._core import (
    RlweKey,
    ntt_forward_inplace,
    ntt_inverse_inplace,
    rlwe_add,
    rlwe_check,
    rlwe_decode,
    rlwe_encrypt,
    rlwe_expand,
    rlwe_gaussian,
)
from privcomp.errors import CodecError, ParameterError
from privcomp.he.params import PROFILES, RlweParams
from privcomp.he.rlwe import expander
from tests.he.toys import scheme, tables
from tests.reference import rlwe as twin
from tests.reference.rlwe import Scheme

KEY = bytes(range(16))
SEED, NOISE = bytes(range(32)), bytes(range(32, 64))
PRIMES = {degree: twin.primes_below(bits, degree, 2) for degree, bits in ((4, 12), (8, 14), (16, 20), (64, 30))}

toys = st.builds(
    lambda degree, count, radix, digits: scheme(degree, tuple(PRIMES[degree][:count]), radix, digits),
    st.sampled_from(sorted(PRIMES)),
    st.integers(1, 2),
    st.integers(2, 9),
    st.integers(1, 3),
)


def noise_of(toy: Scheme, seed: bytes, first: int, polynomials: int) -> list[list[int]]:
    return [rlwe_gaussian(seed, first + i, toy.degree).tolist() for i in range(polynomials)]


def full(name: str) -> Scheme:
    ring = PROFILES[name]
    params = RlweParams(name, ring.bits, ring.clients, 1, ring.digits)
    return Scheme(ring.degree, ring.primes, ring.roots, params.radix, params.digits)


# ---- the twin itself: against definitions


def test_the_twin_multiplies_as_the_definition_says() -> None:
    toy = scheme(8, (PRIMES[8][0],), 3, 1)
    (q,), (psi,) = toy.primes, toy.roots
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, q, 8).tolist(), rng.integers(-84, 85, 8).tolist()
    product = [0] * 8
    for i, j in itertools.product(range(8), repeat=2):
        product[(i + j) % 8] += (1 if i + j < 8 else -1) * a[i] * b[j]
    assert twin.multiply(a, b, q) == [c % q for c in product]
    values = twin.ntt(a, psi, q)
    assert values == [twin.evaluate(a, pow(psi, 2 * twin.reverse_bits(t, 3) + 1, q), q) for t in range(8)]
    assert twin.inverse_ntt(values, psi, q) == a
    pointwise = [x * y % q for x, y in zip(values, twin.ntt(b, psi, q), strict=True)]
    assert twin.inverse_ntt(pointwise, psi, q) == twin.multiply(a, b, q)


# ---- known answers, computed by the twin


def test_the_expander_of_a_context_is_pinned() -> None:
    assert expander(bytes(32)).hex() == hashlib.sha256(b"privcomp-oneshot-1/a" + bytes(32)).hexdigest()[:32]
    assert expander(bytes(32)).hex() == "cd13795aa4f48cbde9b4f473cd21611e"


@pytest.mark.parametrize(
    ("name", "j", "r", "first", "last"),
    [
        ("P1", 0, 0, 31470253614859, 15973908638364),
        ("P1", 0, 1, 31306008957640, 16681802778209),
        ("P2", 61, 1, 297445354894297, 297437613874043),
        ("P3", 2**32 - 1, 0, 23972622375264, 13159671634789),
        ("P4", 0, 2, 14772006083942, 4119673443976),
    ],
)
def test_expansion_known_answers(name: str, j: int, r: int, first: int, last: int) -> None:
    toy = full(name)
    row = rlwe_expand(tables(toy), expander(bytes(32)), j, 1)[0, r]
    assert (int(row[0]), int(row[-1])) == (first, last)
    assert row.tolist() == twin.expand(expander(bytes(32)), j, r, toy.primes[r], toy.degree)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("P1", "24f49c670150f893da7dfe1bf4ffe39d"),
        ("P2", "54788449fb8f47f1288bcd4ef41516d1"),
        ("P3", "c0a82c0e71f59be2f60b45fff7032075"),
        ("P4", "3fa3928ad72f5186caf060327a30a238"),
    ],
)
def test_encryption_known_answers(name: str, digest: str) -> None:
    """The whole way from seeds to bytes, for polynomial 5, three quarters full."""
    toy = full(name)
    values = [(i * i * 7919) % (1 << 16) for i in range(toy.degree * toy.digits * 3 // 4)]
    secret, noise = twin.gaussian(SEED, 1 << 32, toy.degree), twin.gaussian(NOISE, 5, toy.degree)
    core = tables(toy)
    drawn = rlwe_gaussian(SEED, 1 << 32, toy.degree)
    assert drawn.tolist() == secret
    made = rlwe_encrypt(core, RlweKey(core, drawn), KEY, NOISE, np.array(values, np.uint64), 5)
    assert made == toy.pack(toy.encrypt(KEY, secret, [noise], values, 5))
    assert hashlib.sha256(made).hexdigest()[:32] == digest


# ---- properties


@given(toys, st.integers(0, 2**32 - 3), st.binary(min_size=16, max_size=16))
def test_expansion(toy: Scheme, first: int, key: bytes) -> None:
    made = rlwe_expand(tables(toy), key, first, 2)
    for i, r in itertools.product(range(2), range(len(toy.primes))):
        assert made[i, r].tolist() == twin.expand(key, first + i, r, toy.primes[r], toy.degree)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1), st.integers(0, 300))
@example(b"\xff" * 32, 2**64 - 1, 300)
def test_sampling(seed: bytes, stream: int, count: int) -> None:
    assert rlwe_gaussian(seed, stream, count).tolist() == twin.gaussian(seed, stream, count)


@given(toys, st.data())
def test_transform(toy: Scheme, data: st.DataObject) -> None:
    core = tables(toy)
    for r, (q, psi) in enumerate(zip(toy.primes, toy.roots, strict=True)):
        row = data.draw(st.lists(st.integers(0, q - 1), min_size=toy.degree, max_size=toy.degree))
        a = np.array([row, row[::-1]], np.uint64)
        ntt_forward_inplace(core, r, a)
        assert a.tolist() == [twin.ntt(row, psi, q), twin.ntt(row[::-1], psi, q)]
        ntt_inverse_inplace(core, r, a)
        assert a.tolist() == [row, row[::-1]]


@settings(max_examples=50)
@given(toys, st.data(), st.integers(0, 1000), st.integers(1, 3))
def test_a_sum_of_ciphertexts(toy: Scheme, data: st.DataObject, first: int, clients: int) -> None:
    core = tables(toy)
    count = data.draw(st.integers(1, 2 * toy.degree * toy.digits + 3))
    polynomials = -(-count // (toy.degree * toy.digits))
    total, expected, keys = np.zeros(core.total_words(count), np.uint64), None, [0] * toy.degree
    for i in range(clients):
        values = data.draw(st.lists(st.integers(0, toy.radix - 1), min_size=count, max_size=count))
        secret, noise = rlwe_gaussian(SEED, i, toy.degree), bytes([i]) * 32
        made = rlwe_encrypt(core, RlweKey(core, secret), KEY, noise, np.array(values, np.uint32), first)
        by_twin = toy.encrypt(KEY, secret.tolist(), noise_of(toy, noise, first, polynomials), values, first)
        assert made == toy.pack(by_twin)
        assert len(made) == core.ciphertext_bytes(count)
        rlwe_check(core, made, count)
        rlwe_add(core, total, made, 0, count)
        expected = by_twin if expected is None else toy.add(expected, by_twin)
        keys = [x + y for x, y in zip(keys, secret.tolist(), strict=True)]
    assert expected is not None
    assert total.tolist() == [x for rows in expected for row in rows for x in row]
    key_sum = RlweKey(core, np.array(keys, np.int32))
    try:
        sums, errors = toy.decode(KEY, keys, expected, count, first)
    except ValueError:
        with pytest.raises(ParameterError):
            rlwe_decode(core, total, key_sum, KEY, first, count)
        return
    try:
        made_sums, noise_of_sum = rlwe_decode(core, total, key_sum, KEY, first, count)
    except ParameterError:  # a digit behind the last value: the twin does not look at those
        assert count % toy.digits
        return
    assert made_sums.tolist() == sums
    assert noise_of_sum == (max(map(abs, errors)), sum(e * e for e in errors), len(errors))


@given(toys, st.integers(1, 70), st.data())
def test_packing_is_canonical(toy: Scheme, count: int, data: st.DataObject) -> None:
    """Random bytes of the right length, or one off: accepted by both or by neither, and then the same residues."""
    core = tables(toy)
    size = core.ciphertext_bytes(count) + data.draw(st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]))
    raw = data.draw(st.binary(min_size=size, max_size=size))
    # Random residues are mostly canonical; the padding is cleared half of the time.
    bits = -(-count // toy.digits) * sum(q.bit_length() for q in toy.primes)
    if data.draw(st.booleans()):
        raw = (int.from_bytes(raw, "little") & ((1 << bits) - 1)).to_bytes(size + 1, "little")[:size]
    total = np.zeros(core.total_words(count), np.uint64)
    try:
        residues = toy.unpack(raw, count)
    except ValueError:
        with pytest.raises(CodecError):
            rlwe_check(core, raw, count)
        with pytest.raises(CodecError):
            rlwe_add(core, total, raw, 0, count)
        assert not total.any()
        return
    rlwe_check(core, raw, count)
    rlwe_add(core, total, raw, 0, count)
    assert total.tolist() == [x for rows in residues for row in rows for x in row]
    assert toy.pack(residues) == raw


def test_blocks_of_whole_polynomials_concatenate() -> None:
    toy = full("P2")
    core = tables(toy)
    per = toy.degree * toy.digits
    values = np.arange(3 * per + 5, dtype=np.uint64) % 65535
    key = RlweKey(core, rlwe_gaussian(SEED, 0, toy.degree))
    whole = rlwe_encrypt(core, key, KEY, NOISE, values)
    parts = [rlwe_encrypt(core, key, KEY, NOISE, values[i * per : (i + 1) * per], i) for i in range(4)]
    assert b"".join(parts) == whole


# ---- exhaustive toy parameters


@pytest.mark.parametrize(
    ("degree", "primes", "radix", "digits"),
    [
        (4, (257,), 3, 2),
        (4, (257,), 16, 1),
        (8, (337,), 2, 5),
        (64, (257, 641), 16, 2),
        pytest.param(4, (257, 281), 5, 5, marks=pytest.mark.assurance),
        pytest.param(8, (257, 337), 300, 1, marks=pytest.mark.assurance),
    ],
)
def test_every_residue_decodes_as_the_twin_says(degree: int, primes: tuple[int, ...], radix: int, digits: int) -> None:
    """Every coefficient c - a S that there is: each message with each noise, and every overflow."""
    toy = scheme(degree, primes, radix, digits)
    core = tables(toy)
    secret = rlwe_gaussian(SEED, 7, degree)
    key = RlweKey(core, secret.astype(np.int32))
    products = np.array([twin.multiply(a, secret.tolist(), q) for a, q in zip(toy.public(KEY, 0), primes, strict=True)])
    moduli = np.array(primes)[:, None]

    def decode(residues: list[int]) -> tuple[list[int], object]:
        total = (np.array(residues) + products) % moduli
        sums, noise = rlwe_decode(core, total.astype(np.uint64).reshape(-1), key, KEY, 0, degree * digits)
        return sums.tolist(), noise

    plain = []
    for x in range(toy.modulus):
        try:
            plain.append((x, *toy.open([x], digits)))
        except ValueError:
            with pytest.raises(ParameterError):
                decode([x, *[0] * (degree - 1)])
    assert len(plain) == toy.delta * radix**digits  # every message with every noise
    assert {e for _, _, (e,) in plain} == set(range(-(toy.delta // 2), toy.delta - toy.delta // 2))
    plain += plain[: -len(plain) % degree]
    for i in range(0, len(plain), degree):
        residues, values, errors = zip(*plain[i : i + degree], strict=True)
        sums, noise = decode(list(residues))
        assert sums == [value for few in values for value in few]
        assert noise == (max(abs(e) for (e,) in errors), sum(e * e for (e,) in errors), degree)


def test_every_message_is_encrypted_and_comes_back() -> None:
    """All M^(k N) plaintexts of one tiny polynomial; Delta is large enough for one client's noise."""
    toy = scheme(4, tuple(twin.primes_below(10, 4, 2)), 3, 2)
    core = tables(toy)
    assert toy.delta > 2 * 84
    secret = rlwe_gaussian(SEED, 3, 4)
    key = RlweKey(core, secret)
    every = np.array(list(itertools.product(range(3), repeat=8)), np.uint32).reshape(-1)
    made = rlwe_encrypt(core, key, KEY, NOISE, every)
    total = np.zeros(core.total_words(every.size), np.uint64)
    rlwe_add(core, total, made, 0, every.size)
    sums, _ = rlwe_decode(core, total, key, KEY, 0, every.size)
    assert np.array_equal(sums, every)
    few = every[: 50 * 8].tolist()
    by_twin = toy.encrypt(KEY, secret.tolist(), noise_of(toy, NOISE, 0, 50), few)
    assert rlwe_encrypt(core, key, KEY, NOISE, every[: 50 * 8]) == toy.pack(by_twin)

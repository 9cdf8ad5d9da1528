"""The three roles: exact sums, secrets used once, budgets, and what a decoder refuses."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import re
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp._core import rlwe_gaussian
from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError, RoundAborted, StateError
from privcomp.he import Aggregator, Decryptor, Encryptor, InsecureContext, RlweParams, Secret
from privcomp.he.params import PROFILES
from tests.he.rounds import CONTEXT, Round, party

SMALL = RlweParams.for_round(16, 16)
PER = SMALL.values_per_polynomial

# ---- exact sums


@pytest.mark.parametrize("name", PROFILES)
def test_sums_are_exact(name: str) -> None:
    """Of the extremes too: every client at +bound in one entry, at -bound in another."""
    ring = PROFILES[name]
    params = RlweParams(name, ring.bits, ring.clients, 1, ring.digits)
    clients = min(ring.clients, 5)
    made = Round(params, params.values_per_polynomial + 7, clients)
    for values in made.values:
        values[1:3] = params.value_bound, -params.value_bound
    total = made.decryptor().decode(made.added().total, made.key_sum(), clients)
    assert total.dtype == np.int64
    assert np.array_equal(total, np.sum(made.values, axis=0))


def test_the_whole_budget_of_clients() -> None:
    made = Round(SMALL, 50, SMALL.clients)
    for values in made.values:
        values[:25], values[25:] = SMALL.value_bound, -SMALL.value_bound
    total = made.decryptor().decode(made.added().total, made.key_sum(), SMALL.clients)
    assert set(total.tolist()) == {SMALL.clients * SMALL.value_bound, -SMALL.clients * SMALL.value_bound}


@settings(max_examples=20)
@given(
    bits=st.sampled_from([4, 8, 12, 16, 20, 24, 32]),
    budget=st.integers(1, 40),
    weight=st.integers(1, 9),
    length=st.integers(1, 300),
    clients=st.integers(1, 3),
)
def test_sums_are_exact_for_any_round(bits: int, budget: int, weight: int, length: int, clients: int) -> None:
    params = RlweParams.for_round(bits, max(budget, clients), weight)
    made = Round(params, length, clients, seed=bits)
    total = made.decryptor().decode(made.added().total, made.key_sum(), clients)
    assert np.array_equal(total, np.sum(made.values, axis=0))


@pytest.mark.parametrize("length", [1, PER - 1, PER, PER + 1, 4 * PER, 4 * PER + 1, 9 * PER - 3])
def test_blocks_and_lengths(length: int) -> None:
    """In one piece and in blocks the same ciphertext comes out, whatever the length leaves for the last block."""
    values = np.random.default_rng(length).integers(-32767, 32767, length, np.int64, endpoint=True)
    encryptor, secret = Encryptor(SMALL, CONTEXT, length), Secret.draw(SMALL)
    payload = encryptor.payload(values, secret)
    assert len(payload) == encryptor.payload_bytes == SMALL.ciphertext_bytes(length)
    aggregator = Aggregator(SMALL, CONTEXT, length)
    aggregator.add_payload(payload)
    blocks = list(encryptor.payload_blocks(values, other := Secret.draw(SMALL)))
    assert max(map(len, blocks)) <= SMALL.ciphertext_bytes(4 * PER)
    aggregator.add_payload(b"".join(blocks))
    keys = secret.coefficients.astype(np.int32) + other.coefficients
    assert np.array_equal(Decryptor(SMALL, CONTEXT, length).decode(aggregator.total, keys, 2), 2 * values)


@pytest.mark.parametrize("view", ["int32", "strided", "reversed", "read-only"])
def test_arrays_go_in_as_they_are(view: str) -> None:
    length = 5 * PER
    base = np.random.default_rng(5).integers(-32767, 32767, 2 * length, np.int64, endpoint=True)
    values = {
        "int32": base[:length].astype(np.int32),
        "strided": base[::2],
        "reversed": base[length - 1 :: -1],
        "read-only": base[:length],
    }[view]
    values.flags.writeable = False
    before = values.copy()
    aggregator, secret = Aggregator(SMALL, CONTEXT, length), Secret.draw(SMALL)
    aggregator.add_payload(Encryptor(SMALL, CONTEXT, length).payload(values, secret))
    total = Decryptor(SMALL, CONTEXT, length).decode(aggregator.total, secret.coefficients.astype(np.int32), 1)
    assert np.array_equal(total, values)
    assert np.array_equal(before, values)


def test_a_sum_goes_where_the_caller_says() -> None:
    made = Round(SMALL, 5 * PER, 2)
    decryptor, total, keys = made.decryptor(), made.added().total, made.key_sum()
    want = np.sum(made.values, axis=0)
    out = np.full(5 * PER, 7, np.int64)
    assert decryptor.decode(total, keys, 2, out) is out
    assert np.array_equal(out, want)
    for sums, secrets in ((total[::-1].copy(), keys), (total, keys + np.int32(200))):
        out[:] = 7
        with pytest.raises(RoundAborted):
            decryptor.decode(sums, secrets, 2, out)
        assert not out.any()
    fixed, strided = np.zeros(5 * PER, np.int64), np.zeros(10 * PER, np.int64)[::2]
    fixed.flags.writeable = False
    for wrong in (out[:-1], out.astype(np.uint64), out.tolist(), strided, fixed):
        with pytest.raises(ParameterError, match="out must be"):
            decryptor.decode(total, keys, 2, wrong)  # type: ignore[arg-type]
    short = Round(SMALL, 1, 1)  # two words, one value
    words = short.added().total.copy()
    with pytest.raises(ParameterError, match="out must be"):
        short.decryptor().decode(words, short.key_sum(), 1, words[:1].view(np.int64))


def test_another_context_has_other_public_polynomials() -> None:
    made = Round(SMALL, 100, 2)
    with pytest.raises(RoundAborted):
        Decryptor(SMALL, bytes(32), 100).decode(made.added().total, made.key_sum(), 2)


def test_memory_stays_within_two_ciphertexts() -> None:
    """Beyond input and output; and with blocks, within a few blocks."""
    length = 800_000
    made = Round(SMALL, length, 1)
    values, size = made.values[0], SMALL.ciphertext_bytes(length)
    _ = SMALL.tables
    encryptor, aggregator, secrets = made.encryptor(0), made.aggregator(), [Secret.draw(SMALL) for _ in range(2)]

    def peak(run: object) -> tuple[int, object]:
        tracemalloc.start()
        try:
            result = run()  # type: ignore[operator]
            return tracemalloc.get_traced_memory()[1], result
        finally:
            tracemalloc.stop()

    used, upload = peak(lambda: encryptor.encrypt(values, secrets[0]))
    assert used <= 3 * size
    assert peak(lambda: sum(len(b) for b in encryptor.encrypt_blocks(values, secrets[1])))[0] <= size
    assert peak(lambda: aggregator.add(upload))[0] <= size
    total, keys = aggregator.total, secrets[0].coefficients.astype(np.int32)
    assert peak(lambda: made.decryptor().decode(total, keys, 1))[0] <= values.nbytes + 2 * size


# ---- secrets


def test_a_secret_encrypts_once() -> None:
    values, secret = np.zeros(3, np.int64), Secret.draw(SMALL)
    encryptor = Encryptor(SMALL, CONTEXT, 3)
    assert not secret.used
    encryptor.payload(values, secret)
    assert secret.used
    for encrypt in (encryptor.payload, encryptor.payload_blocks, Encryptor(SMALL, bytes(32), 3).payload):
        with pytest.raises(StateError, match="encrypted before"):
            encrypt(values, secret)


def test_blocks_that_nobody_took_count_as_an_encryption() -> None:
    secret = Secret.draw(SMALL)
    Encryptor(SMALL, CONTEXT, 3).payload_blocks(np.zeros(3, np.int64), secret)
    assert secret.used


def test_of_many_threads_one_encrypts() -> None:
    secret, encryptor, done = Secret.draw(SMALL), Encryptor(SMALL, CONTEXT, 3), []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        try:
            encryptor.payload(np.zeros(3, np.int64), secret)
            done.append(True)
        except StateError:
            done.append(False)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True]


def test_a_failed_encryption_uses_the_secret_up() -> None:
    secret, encryptor = Secret.draw(SMALL), Encryptor(SMALL, CONTEXT, 3)
    with pytest.raises(EncodingError, match="beyond"):
        encryptor.payload(np.array([0, 1 << 20, 0]), secret)
    assert secret.used


def test_a_wiped_secret_is_gone() -> None:
    secret = Secret.draw(SMALL)
    coefficients = secret.coefficients
    assert coefficients.any()
    secret.wipe()
    secret.wipe()
    assert not coefficients.any()
    with pytest.raises(StateError, match="wiped"):
        _ = secret.coefficients
    with pytest.raises(StateError, match="wiped"):
        Encryptor(SMALL, CONTEXT, 3).payload(np.zeros(3, np.int64), secret)


def test_a_secret_is_never_copied_stored_or_shown() -> None:
    secret = Secret.draw(SMALL)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(StateError, match="not copied or stored"):
            leak(secret)
    assert repr(secret) == str(secret) == "Secret(<redacted>)"
    encryptor = Round(SMALL, 3, 1).encryptor(0)
    assert "Encryptor(P" in repr(encryptor)
    assert "redacted" in repr(encryptor._sender)


def test_entropy_that_repeats_or_comes_short_is_refused() -> None:
    values = np.zeros(3, np.int64)
    for rng in (lambda n: bytes(n), lambda n: b"\x07" * n):
        secret = Secret.draw(SMALL, rng)
        with pytest.raises(ParameterError, match="twice"):
            Encryptor(SMALL, CONTEXT, 3).payload(values, secret, rng)
    for rng in (lambda n: bytes(n - 1), lambda n: bytearray(n), lambda n: "x" * n):
        with pytest.raises(ParameterError, match="exactly 32 bytes"):
            Secret.draw(SMALL, rng)  # type: ignore[arg-type]
        with pytest.raises(ParameterError, match="exactly 32 bytes"):
            Encryptor(SMALL, CONTEXT, 3).payload(values, Secret.draw(SMALL), rng)  # type: ignore[arg-type]


def test_secret_and_noise_of_one_seed_would_be_apart_all_the_same() -> None:
    """So that the check above is a second line only: polynomials have the streams below 2^32, the secret has 2^32."""
    seed = b"\1" * 32
    secret = Secret.draw(SMALL, lambda n: seed).coefficients
    assert np.array_equal(secret, rlwe_gaussian(seed, 1 << 32, SMALL.degree))
    for j in (0, 1, (1 << 32) - 1):
        assert np.mean(secret == rlwe_gaussian(seed, j, SMALL.degree)) < 0.1


def test_a_secret_of_another_ring_is_refused() -> None:
    with pytest.raises(ParameterError, match="8192 coefficients"):
        Encryptor(SMALL, CONTEXT, 3).payload(np.zeros(3, np.int64), Secret.draw(RlweParams.for_round(16, 10_000)))


# ---- what an encryptor refuses


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros(3), "float64"),
        (np.full(3, np.nan), "float64"),
        (np.zeros(3, np.uint64), "uint64"),
        (np.zeros(3, np.int16), "int16"),
        (np.zeros(3, ">i8"), ">i8"),
        (np.zeros(3, bool), "bool"),
        ([0, 0, 0], "list"),
        (np.zeros((3, 1), np.int64), "shape"),
        (np.zeros(4, np.int64), "shape"),
        (np.ma.zeros(3, np.int64), "MaskedArray|int64"),
    ],
)
def test_values_of_another_kind_are_refused(values: object, text: str) -> None:
    secret = Secret.draw(SMALL)
    with pytest.raises(EncodingError, match=text):
        Encryptor(SMALL, CONTEXT, 3).payload(values, secret)  # type: ignore[arg-type]
    assert not secret.used


@pytest.mark.parametrize("bad", [32768, -32768, 1 << 31, -(1 << 63), (1 << 63) - 1, (1 << 63) - 32768])
@pytest.mark.parametrize("length", [3, 4 * PER + 3])
def test_values_beyond_the_bound_are_refused(bad: int, length: int) -> None:
    """Before a byte is out, and without the value in the text."""
    values = np.zeros(length, np.int64)
    values[-1] = bad
    encryptor = Round(SMALL, length, 1).encryptor(0)
    for encrypt in (encryptor.encrypt, encryptor.encrypt_blocks, encryptor.payload, encryptor.payload_blocks):
        with pytest.raises(EncodingError, match="32767") as caught:
            encrypt(values, Secret.draw(SMALL))
        assert str(bad) not in str(caught.value)


def test_a_role_checks_its_arguments() -> None:
    for params, context, length in (
        ("P1", CONTEXT, 3),
        (SMALL, CONTEXT[:-1], 3),
        (SMALL, bytearray(32), 3),
        (SMALL, CONTEXT, 0),
        (SMALL, CONTEXT, (1 << 40) + 1),
        (SMALL, CONTEXT, 3.0),
    ):
        for role in (Encryptor, Aggregator, Decryptor):
            with pytest.raises(ParameterError):
                role(params, context, length)  # type: ignore[arg-type]
    secret = Secret.draw(SMALL)
    for encrypt in (Encryptor(SMALL, CONTEXT, 3).encrypt, Encryptor(SMALL, CONTEXT, 3).encrypt_blocks):
        with pytest.raises(ParameterError, match="no sender"):
            encrypt(np.zeros(3, np.int64), secret)
    assert not secret.used
    with pytest.raises(ParameterError, match="no receiver"):
        Aggregator(SMALL, CONTEXT, 3).add(b"")


def test_roles_hold_no_more_than_their_part() -> None:
    """By type: the aggregator has no way to open anything, the decryptor none to encrypt."""
    assert not hasattr(Aggregator, "decode")
    assert not hasattr(Encryptor, "decode")
    assert not {"encrypt", "payload", "add"} & set(dir(Decryptor))


# ---- what an aggregator refuses


def test_the_budget_is_enforced() -> None:
    params = RlweParams("P1", 16, 2, 1, 4)
    made = Round(params, 10, 4)
    aggregator = made.added(range(2))
    before = aggregator.total.copy()
    for add in (
        lambda: aggregator.add(made.uploads[2]),
        lambda: aggregator.add_payload(bytes(aggregator.payload_bytes)),
    ):
        with pytest.raises(StateError, match="all that the parameters have room for"):
            add()
    assert aggregator.count == 2
    assert np.array_equal(aggregator.total, before)
    with pytest.raises(ParameterError, match="survivors"):
        made.decryptor().decode(aggregator.total, made.key_sum(), 3)


def test_a_client_counts_once() -> None:
    made = Round(SMALL, 10, 2)
    aggregator = made.added()
    before = aggregator.total.copy()
    again = made.encryptor(1).encrypt(made.values[0], Secret.draw(SMALL))
    for upload in (made.uploads[1], again):
        with pytest.raises(RemoteError, match="in the sum already") as caught:
            aggregator.add(upload)
        assert caught.value.party == party(1)
    assert aggregator.parties == (party(0), party(1))
    assert aggregator.count == 2
    assert np.array_equal(aggregator.total, before)


def test_a_payload_is_checked_before_it_is_added() -> None:
    made = Round(SMALL, 9, 1)
    payload = bytearray(Encryptor(SMALL, CONTEXT, 9).payload(made.values[0], Secret.draw(SMALL)))
    aggregator = made.aggregator()
    high, padded = payload.copy(), payload.copy()
    high[:6] = b"\xff" * 6  # a residue of 45 ones is not below its prime
    padded[-1] |= 0x80
    for bad, text in (
        (high, "below its prime"),
        (padded, "padding"),
        (payload[:-1], "bytes"),
        (payload + b"\0", "bytes"),
    ):
        with pytest.raises(RemoteError, match=text) as caught:
            aggregator.add_payload(bytes(bad), b"someone")
        assert caught.value.party == b"someone"
        assert not aggregator.total.any()
    assert aggregator.count == 0
    aggregator.add_payload(memoryview(bytes(payload)))
    assert aggregator.count == 1


def test_the_total_cannot_be_written() -> None:
    total = Round(SMALL, 9, 1).added().total
    with pytest.raises(ValueError, match="read-only"):
        total[0] = 1


# ---- what a decoder refuses


@pytest.fixture(scope="module")
def sums() -> Round:
    made = Round(SMALL, 2 * PER, 3)
    assert made.uploads
    return made


def refused(
    made: Round, text: str, *, total: np.ndarray | None = None, keys: np.ndarray | None = None, n: int = 3
) -> None:
    total = made.added().total if total is None else total
    with pytest.raises(RoundAborted, match=text) as caught:
        made.decryptor().decode(total, made.key_sum() if keys is None else keys, n)
    assert caught.value.stage == "he-decode"
    assert caught.value.party is None


def test_a_wrong_coefficient_of_the_key_sum_is_found(sums: Round) -> None:
    """One of 4096, off by one: a_j / q is uniform, and so is the noise that it leaves."""
    keys = sums.key_sum()
    keys[4095] += 1
    refused(sums, "nothing was decoded", keys=keys)


def test_a_client_too_many_or_too_few_is_found(sums: Round) -> None:
    refused(sums, "nothing was decoded", keys=sums.key_sum(range(2)))
    refused(sums, "nothing was decoded", total=sums.added(range(2)).total)


def test_fewer_survivors_than_there_are_are_found(sums: Round) -> None:
    """Three ciphertexts and their three secrets, opened as if they were one: values and noise are too large for one."""
    made = Round(SMALL, 2 * PER, 3)
    for values in made.values:
        values[:] = 0
    refused(made, "noise|secrets", n=1)
    refused(sums, "beyond what 1 clients can reach|noise|secrets", n=1)


def test_a_key_sum_too_large_is_refused(sums: Round) -> None:
    keys = sums.key_sum()
    keys[0] = SMALL.sum_bound(3) + 1
    refused(sums, "coefficient beyond", keys=keys)
    keys[0] = -keys[0]
    refused(sums, "coefficient beyond", keys=keys)


def test_noise_that_no_honest_client_adds_is_refused(sums: Round) -> None:
    """What an attacker adds to the sum: too much in one place, or a little everywhere."""
    primes = np.array(SMALL.ring.primes, np.uint64)
    one = sums.added().total.copy()
    spike = SMALL.sum_bound(3) + 60  # inside the cell, which has room for 16 clients
    for r, q in enumerate(primes):
        at = r * SMALL.degree  # coefficient 0 of polynomial 0
        one[at] = (one[at] + np.uint64(spike)) % q
    refused(sums, "noise reaches", total=one)
    many = sums.added().total.copy().reshape(2, 2, SMALL.degree)
    rng = np.random.default_rng(1)
    extra = np.rint(rng.normal(0, 12.0, (2, SMALL.degree))).astype(np.int64)
    for r, q in enumerate(SMALL.ring.primes):
        many[:, r] = ((many[:, r].astype(np.int64) + extra) % q).astype(np.uint64)
    refused(sums, "mean square", total=many.reshape(-1))


def test_values_that_no_honest_client_sends_are_refused() -> None:
    """A client whose own code encrypts values beyond its bound, though below the radix."""
    made = Round(SMALL, 8, 1)
    aggregator, secret = made.aggregator(), Secret.draw(SMALL)
    encryptor = Encryptor(SMALL, CONTEXT, 8)
    shifted = np.zeros(8, np.int64)
    encryptor.params = _Greedy(**{name: getattr(SMALL, name) for name, _ in RlweParams.FIELDS})
    shifted[3] = 3 * SMALL.value_bound
    aggregator.add_payload(encryptor.payload(shifted, secret))
    with pytest.raises(RoundAborted, match="beyond what 1 clients can reach"):
        made.decryptor().decode(aggregator.total, secret.coefficients.astype(np.int32), 1)


class _Greedy(RlweParams):
    @property
    def value_bound(self) -> int:
        return 4 * super().value_bound


def test_a_decoder_checks_its_arguments(sums: Round) -> None:
    total, keys, decryptor = sums.added().total, sums.key_sum(), sums.decryptor()
    for bad in (total[:-1], total.astype(np.int64), total.reshape(2, -1), total.tolist()):
        with pytest.raises(ParameterError, match="total must be"):
            decryptor.decode(bad, keys, 3)  # type: ignore[arg-type]
    for bad in (keys[:-1], keys.astype(np.int64), keys.astype(float), keys.tolist()):
        with pytest.raises(ParameterError, match="key_sum must be"):
            decryptor.decode(total, bad, 3)  # type: ignore[arg-type]
    for n in (0, 17, 3.0, True, np.int64(3)):
        with pytest.raises(ParameterError, match="survivors"):
            decryptor.decode(total, keys, n)  # type: ignore[arg-type]


# ---- everything in one hand


def test_the_insecure_context_adds_floats() -> None:
    context = InsecureContext(1000, limit=4.0, bits=16, additions=5)
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-4, 4, 1000).astype(np.float32) for _ in range(5)]
    vectors = [context.encrypt(array) for array in arrays]
    assert np.allclose(sum(vectors[1:], vectors[0]).decrypt(), np.sum(arrays, axis=0), atol=5 * 2.0**-12)
    assert np.allclose(vectors[2].decrypt(), arrays[2], atol=2.0**-12)  # it opens any of them, as its name says
    with pytest.raises(ParameterError, match="made for 5"):
        sum(vectors, context.encrypt(arrays[0]))
    with pytest.raises(ParameterError, match="counts once"):
        vectors[0] + vectors[0]
    with pytest.raises(ParameterError, match="one context"):
        vectors[0] + InsecureContext(1000, limit=4.0).encrypt(arrays[0])
    with pytest.raises(EncodingError):
        context.encrypt(np.full(1000, np.nan))
    assert "opens everything" in repr(context)


def test_entropy_is_an_argument() -> None:
    def stream(label: bytes) -> object:
        state = [0]

        def rng(n: int) -> bytes:
            state[0] += 1
            return (label + bytes([state[0]]) * n)[:n]

        return rng

    made = Round(SMALL, 20, 1)
    values = made.values[0]

    def upload(rng: object) -> bytes:
        return made.encryptor(0).encrypt(values, Secret.draw(SMALL, rng), rng)  # type: ignore[arg-type]

    assert upload(stream(b"a")) == upload(stream(b"a"))
    assert upload(stream(b"a")) != upload(stream(b"b"))
    assert upload(os.urandom) != upload(os.urandom)


def test_the_errors_are_of_the_two_kinds() -> None:
    """A codec error of a payload names the party; nothing else is raised for bytes from outside."""
    aggregator = Round(SMALL, 3, 1).aggregator()
    with pytest.raises(CodecError) as caught:
        aggregator.add(b"", b"client-0")
    assert (caught.value.party, caught.value.stage) == (b"client-0", "he-upload")


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "he.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/he.md", "exec"), {"__name__": "page"})
    assert out.getvalue().split() == ["[", "1", "-2", "3]"]


def test_the_table_of_the_page_is_the_shipped_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "he.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (P\d) \| (.*) \|$", page, flags=re.M))
    assert rows.keys() == PROFILES.keys()
    for name, ring in PROFILES.items():
        params = RlweParams(name, ring.bits, ring.clients, 1, ring.digits)
        made, degree, bits, digits, room, size, attacks, core = rows[name].split(" | ")
        assert made == f"{ring.bits} bits, {ring.clients:,} clients"
        assert int(degree) == ring.degree
        assert bits == " + ".join(str(q.bit_length()) for q in ring.primes)
        assert int(digits) == ring.digits
        assert room == f"{params.delta} ≥ {2 * params.noise_bound + 1}"
        assert float(size) == pytest.approx(params.bits_per_value, abs=0.005)
        assert attacks == ("as P4" if name == "P5" else " / ".join(f"{x}" for x in ring.security[:3]))
        assert float(core) == pytest.approx(ring.security.core_svp, abs=0.5)

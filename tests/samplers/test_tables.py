"""Tables: that they say what the law says, exhaustively, and that the core does what they say."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, LocalError, ParameterError
from privcomp.samplers import Binomial, Skellam
from privcomp.samplers.binomial import binomial_law
from privcomp.samplers.common import alias_table
from privcomp.samplers.skellam import skellam_law
from privcomp.samplers.tables import Law, Tabulation, tabulate
from tests.reference.sampler_tables import PlainTable, bin_masses, candidates, output_masses

CIPHERS = (_core.AES128_CTR, _core.CHACHA20)
PER_LEVEL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)

LAWS = {
    "tiny variance": lambda: skellam_law(Fraction(1, 1 << 64)),
    "variance .01": lambda: skellam_law(Fraction(1, 100)),
    "variance 1": lambda: skellam_law(Fraction(1)),
    "deviation 13.3": lambda: skellam_law(Fraction(177)),
    "deviation 100": lambda: skellam_law(Fraction(10**4)),
    "one coin": lambda: binomial_law(1, Fraction(1, 2)),
    "even coins": lambda: binomial_law(1000, Fraction(1, 2)),
    "odd coins": lambda: binomial_law(40_001, Fraction(1, 2)),
    "rare": lambda: binomial_law(100, Fraction(1, 1000)),
    "almost sure": lambda: binomial_law(100, Fraction(999, 1000)),
    "both tails": lambda: binomial_law(30_000, Fraction(1, 3)),
}


def seeds_for(name: str, cipher: int) -> bytes:
    """Reproducible seeds."""
    return hashlib.shake_256(name.encode()).digest(2 * _core.SEED_BYTES[cipher])


def certify(law: Law, made: Tabulation) -> None:
    """All numbers of a table, from the definitions: candidates give the law to 2^-191, and most give something."""
    assert bin_masses(made.alias.tolist()) == made.bins.tolist()
    assert int(made.bins.sum()) == 1 << 22
    table = PlainTable.of(made)
    got: dict[int, Fraction] = {}
    for value, p in output_masses(table):
        got[value] = got.get(value, Fraction(0)) + p
    accepted = sum(got.values())
    assert Fraction(3, 4) < accepted <= 1
    total = law.total(law.sums())
    distance = Fraction(0)
    for value in range(law.low, law.high + 1):
        distance += abs(got.pop(value, Fraction(0)) / accepted - Fraction(int(law.weight(value)), int(total)))
    assert not any(got.values()), "a value outside of the law"
    assert distance / 2 <= Fraction(1, 1 << 191)


@pytest.mark.parametrize("name", LAWS)
def test_every_threshold_and_weight(name):
    law = LAWS[name]()
    certify(law, tabulate(law))


@pytest.mark.assurance
@pytest.mark.parametrize("variance", [4096**2, 3000**2 + 1, 1 << 26])
def test_every_threshold_and_weight_of_large_tables(variance):
    law = skellam_law(Fraction(variance))
    certify(law, tabulate(law))


@given(
    weights=st.lists(st.integers(0, 1 << 70) | st.integers(0, 3), min_size=1, max_size=400).filter(any),
    mirror=st.integers(0, 2),
    base=st.integers(-(10**6), 10**6),
    data=st.data(),
)
def test_every_threshold_and_weight_of_any_law(weights, mirror, base, data):
    """Whatever the shape, and whatever mode and deviation claim: they decide about speed only."""
    mode = data.draw(st.integers(0, len(weights) - 1))
    law = Law(base, mirror, [mpz(w) for w in weights], mode, data.draw(st.floats(0, 100)))
    made = tabulate(law)
    assert bin_masses(made.alias.tolist()) == made.bins.tolist()
    got: dict[int, Fraction] = {}
    for value, p in output_masses(PlainTable.of(made)):
        got[value] = got.get(value, Fraction(0)) + p
    accepted, total = sum(got.values()), int(law.total(law.sums()))
    # A law as jagged as these may accept little; the thresholds' error counts for more then.
    bound = Fraction(1, 1 << 192) / accepted
    for value in set(got) | set(range(law.low, law.high + 1)):
        assert abs(got.get(value, Fraction(0)) / accepted - Fraction(int(law.weight(value)), total)) <= 2 * bound


@given(st.lists(st.integers(0, 1 << 16), min_size=64, max_size=64))
def test_alias_tables_of_any_weights(cuts):
    """An alias table of 64 weights that add up to 2^22, zeros and heavy ones included."""
    weights = [c * (1 << 22) // max(sum(cuts), 1) for c in cuts]
    weights[0] += (1 << 22) - sum(weights)
    assert bin_masses(alias_table(weights)) == weights


def random_table(draw: st.DataObject, rng: np.random.Generator) -> tuple[Tabulation, int]:
    shift, length = draw.draw(st.integers(0, 3)), draw.draw(st.integers(0, 200))
    length += 64 << shift
    words = rng.integers(0, 1 << 64, (length, 3), dtype=np.uint64)
    made = Tabulation(
        bins=np.zeros(64, np.uint64),
        alias=rng.integers(0, 1 << draw.draw(st.sampled_from([22, 23, 64])), 64, dtype=np.uint64),
        tops=words[:, 0].copy(),
        rest=np.ascontiguousarray(words[:, 1:]),
        base=draw.draw(st.integers(-(2**40), 2**40)),
        wrap=draw.draw(st.integers(0, length)),
        shift=shift,
        tail_shift=draw.draw(st.integers(0, 8)),
        mirror=draw.draw(st.integers(0, 2)),
    )
    return made, draw.draw(st.sampled_from([0, 1, 32, 60, 63, 64]))


@pytest.fixture(params=_core.available_levels())
def at_level(request):
    before = _core.level()
    _core.force_level(request.param)
    yield request.param
    _core.force_level(before)


@pytest.mark.parametrize("cipher", CIPHERS)
@PER_LEVEL
@given(data=st.data(), seed=st.integers(0, 1 << 32), n=st.integers(0, 70) | st.integers(200, 900))
def test_the_core_samples_what_the_plain_reading_says(at_level, cipher, data, seed, n):
    rng = np.random.default_rng(seed)
    made, band = random_table(data, rng)
    seeds = rng.bytes(2 * _core.SEED_BYTES[cipher])
    want = candidates(PlainTable.of(made), seeds, cipher, 600)[:n]
    got = _core.sample_table_var(made.table(band), n, seeds, cipher=cipher)
    assert got.tolist()[: len(want)] == want
    for dtype in (np.uint32, np.uint64):
        start = rng.integers(0, 1 << (8 * dtype().itemsize), n, dtype=dtype)
        acc = start.copy()
        _core.sample_table_add_var(acc, made.table(band), seeds, cipher=cipher)
        np.testing.assert_array_equal(acc, start + got.astype(dtype))


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("band", [40, 61, 64])
def test_the_long_way_gives_the_same(at_level, cipher, band):
    """With only a few bits in the first comparison, many or all candidates go to the exact one."""
    made, seeds = tabulate(skellam_law(Fraction(10**4))), seeds_for("long way", cipher)
    want = _core.sample_table_var(made.table(), 20_000, seeds, cipher=cipher)
    np.testing.assert_array_equal(_core.sample_table_var(made.table(band), 20_000, seeds, cipher=cipher), want)


@pytest.mark.parametrize("equal", [1, 2, 3])
@pytest.mark.parametrize("above", [True, False])
def test_words_that_are_equal_are_decided_by_the_next_ones(at_level, equal, above):
    """Thresholds that agree with the stream in `equal` words, as one candidate in 2^64 meets them."""
    cipher = _core.AES128_CTR
    seeds = seeds_for("equal", cipher)
    first = np.frombuffer(_core.keystream(seeds[:32], 16, cipher=cipher), "<u8").tolist()
    second = np.frombuffer(_core.keystream(seeds[32:], 16, cipher=cipher), "<u8").tolist()
    own = first[0] % 64
    words = [first[1], *second]
    bound = [w if i < equal else ((w + 1 if above else w - 1) % 2**64) for i, w in enumerate(words)]
    tops, rest = np.zeros(64, np.uint64), np.zeros((64, 2), np.uint64)
    tops[:] = (1 << 64) - 1
    tops[own], rest[own] = bound[0], bound[1:]
    table = _core.SampleTable(
        np.arange(64, dtype=np.uint64), tops, rest, base=0, wrap=64, shift=0, tail_shift=0, mirror=0
    )
    got = _core.sample_table_var(table, 1, seeds, cipher=cipher)[0]
    taken = equal < 3 and above
    plain = PlainTable(list(range(64)), [(1 << 192) - 1] * 64, 0, 64, 0, 0, 0)
    later = candidates(plain, seeds, cipher, 8)
    assert got == (own if taken else later[1])


@pytest.mark.parametrize("n", [10**6, pytest.param(10**7, marks=pytest.mark.assurance)])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_levels_agree(cipher, n):
    table, seeds, before = tabulate(skellam_law(Fraction(10**4))).table(), seeds_for("levels", cipher), _core.level()
    try:
        digests = set()
        for name in _core.available_levels():
            _core.force_level(name)
            digests.add(hashlib.sha256(_core.sample_table_var(table, n, seeds, cipher=cipher).tobytes()).digest())
    finally:
        _core.force_level(before)
    assert len(digests) == 1


# ---- randomness ----


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_forked_child_does_not_repeat_its_parent():
    noise = Skellam(100)
    noise.sample_var(3)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, noise.sample_var(64).tobytes())
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(reading, 512)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 512
    assert theirs != noise.sample_var(64).tobytes()


def test_calls_differ_and_one_source_repeats():
    noise = Skellam(10**6)
    assert noise.sample_var(50).tolist() != noise.sample_var(50).tolist()
    fixed = hashlib.shake_256(b"fixed").digest
    np.testing.assert_array_equal(noise.sample_var(50, fixed), noise.sample_var(50, fixed))
    for acc in (np.full(50, 1, np.uint32), np.full(50, 1, np.uint64)):
        want = acc + noise.sample_var(50, fixed).astype(acc.dtype)
        noise.add_var(acc, fixed)
        np.testing.assert_array_equal(acc, want)


def test_entropy_of_the_wrong_length_or_type_is_refused():
    with pytest.raises(ParameterError):
        Skellam(1).sample_var(1, lambda n: bytes(n - 1))
    with pytest.raises(BufferTypeError):
        Skellam(1).sample_var(1, lambda n: "x" * n)


def test_threads_share_a_table():
    noise, fixed = Binomial(10**6), hashlib.shake_256(b"threads").digest
    want = noise.sample_var(50_000, fixed).tobytes()
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(noise.sample_var(50_000, fixed).tobytes())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [want] * 4


# ---- refusals ----


def numbers(**changed: object) -> dict[str, object]:
    good: dict[str, object] = {
        "alias": np.arange(64, dtype=np.uint64),
        "tops": np.full(64, 1 << 63, np.uint64),
        "rest": np.zeros((64, 2), np.uint64),
        "base": 0,
        "wrap": 64,
        "shift": 0,
        "tail_shift": 0,
        "mirror": 0,
        "band": 0,
    }
    return good | changed


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"alias": np.arange(63, dtype=np.uint64)}, ParameterError),
        ({"alias": np.arange(64)}, BufferTypeError),
        ({"tops": np.zeros(63, np.uint64), "rest": np.zeros((63, 2), np.uint64)}, ParameterError),
        ({"rest": np.zeros((63, 2), np.uint64)}, ParameterError),
        ({"rest": np.zeros(128, np.uint64)}, BufferTypeError),
        ({"shift": 1}, ParameterError),
        ({"shift": 33}, ParameterError),
        ({"tail_shift": 33}, ParameterError),
        ({"mirror": 3}, ParameterError),
        ({"band": 65}, ParameterError),
        ({"wrap": 65}, ParameterError),
        ({"base": 1 << 63}, ParameterError),
        ({"base": 0.5}, ParameterError),
    ],
)
def test_tables_that_are_none(changed, error):
    _core.SampleTable(**numbers())
    with pytest.raises(error):
        _core.SampleTable(**numbers(**changed))


def test_a_table_keeps_its_own_numbers():
    given_ = numbers()
    table, seeds = _core.SampleTable(**given_), bytes(64)
    want = _core.sample_table_var(table, 20, seeds, cipher=_core.AES128_CTR)
    given_["alias"][:] = 0
    given_["tops"][:] = 0
    np.testing.assert_array_equal(_core.sample_table_var(table, 20, seeds, cipher=_core.AES128_CTR), want)


def test_arguments_of_sampling():
    table, aes = _core.SampleTable(**numbers()), _core.AES128_CTR
    for n, seeds, cipher in (
        (-1, bytes(64), aes),
        ((1 << 40) + 1, bytes(64), aes),
        (1, bytes(63), aes),
        (1, bytes(64), 7),
    ):
        with pytest.raises(ParameterError):
            _core.sample_table_var(table, n, seeds, cipher=cipher)
    for acc in (np.zeros(3, np.int64), np.zeros((3, 1), np.uint32), np.zeros(6, np.uint32)[::2]):
        with pytest.raises(BufferTypeError):
            _core.sample_table_add_var(acc, table, bytes(64), cipher=aes)


def test_a_table_that_accepts_nothing_is_an_error_and_not_a_loop(at_level):
    table = _core.SampleTable(**numbers(tops=np.zeros(64, np.uint64)))
    with pytest.raises(LocalError):
        _core.sample_table_var(table, 5, bytes(64), cipher=_core.AES128_CTR)


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_laws_that_are_none(weights):
    with pytest.raises(ParameterError):
        tabulate(Law(0, 0, [mpz(w) for w in weights], 0, 1.0))

"""Why the samples are exact: certified weights and alias tables, decisions by integers, one output at every level."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privcomp import _core
from privcomp.samplers import DiscreteGaussian, DiscreteLaplace, Skellam
from privcomp.samplers.closed_form import ExpParameters, exp_parameters
from privcomp.samplers.common import BINS, MASS, alias_table
from privcomp.samplers.tables import tabulate
from privcomp.typing import I64Array
from tests.reference.samplers import candidates, exp_bounds
from tests.samplers.laws import EDGES, GAUSSIANS, LAPLACES, Law, name, repeatable

LAWS = GAUSSIANS + LAPLACES + EDGES
CIPHERS = (_core.AES128_CTR, _core.CHACHA20)


@pytest.fixture
def every_level() -> Iterator[Callable[[], Iterator[str]]]:
    """Steps through the dispatch levels; the former one returns afterwards."""
    before = _core.level()

    def levels() -> Iterator[str]:
        for level in _core.available_levels():
            _core.force_level(level)
            yield level

    yield levels
    _core.force_level(before)


def parameters(law: Law) -> tuple[int, Fraction, ExpParameters]:
    kind, q = law._law()
    return kind, q, exp_parameters(kind, q)


def table(law: Law, **bands: int) -> _core.ExpTable:
    kind, q, found = parameters(law)
    return _core.ExpTable(
        kind,
        q.numerator,
        q.denominator,
        shift=found.shift,
        scale=found.scale,
        weights=found.weights,
        alias=alias_table(found.weights),
        **bands,
    )


def seeds(cipher: int, label: str) -> bytes:
    return repeatable(label)(2 * _core.SEED_BYTES[cipher])


# ---- tables


def masses(alias: list[int]) -> list[int]:
    """What the alias table gives each bin, of 64 2^16 in all."""
    out = [0] * BINS
    for bin, entry in enumerate(alias):
        threshold, other = divmod(entry, BINS)
        assert 0 <= threshold < 1 << 16
        out[bin] += threshold
        out[other] += (1 << 16) - threshold
    return out


def check_parameters(gauss: bool, q: Fraction, found: ExpParameters) -> None:
    """The conditions of csrc/include/privcomp.h, with exp in integers of 256 bits rounded outwards."""
    bits = 256
    w, c = 1 << found.shift, Fraction(found.scale, 1 << 40)

    def phi(x: int) -> Fraction:
        return x * x / (2 * q) if gauss else x / q

    def high(x: int) -> Fraction:
        return Fraction(exp_bounds(phi(x), bits)[1], 1 << bits)

    assert len(found.weights) == BINS
    assert sum(found.weights) == MASS
    for block in range(BINS - 1):
        assert found.weights[block] >= c * high(block * w)
        if block:
            assert found.weights[block] < c * high(block * w) + 1  # not wasteful either
    assert 63 * w >= 9 * (1 if gauss else q) or 63 * 63 * w * w >= 81 * q
    assert found.shift == 0 or (63 * 63 * w * w < 4 * 81 * q if gauss else 63 * w < 18 * q)
    tail = found.weights[63]
    if gauss:
        for g in range(60):
            assert tail >= c * high((63 + g) * w) * 2 ** (g + 1)
        # and from there on each step gains a factor of 2 and loses more
        assert exp_bounds(phi((64 + 60) * w) - phi((63 + 60) * w), bits)[1] < 1 << (bits - 1)
    else:
        assert tail & (tail - 1) == 0
        assert tail >= MASS * high(63 * w)
    assert found.weights[0] <= c * high(0) + 64 + (tail if not gauss else 0)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_weights_cover_the_law(law: Law) -> None:
    kind, q, found = parameters(law)
    check_parameters(kind == _core.GAUSS, q, found)
    assert masses(alias_table(found.weights)) == list(found.weights)


@given(
    gauss=st.booleans(),
    numerator=st.integers(1, (1 << 128) - 1),
    denominator=st.integers(1, (1 << 128) - 1),
    cut=st.integers(0, 127),
    cut_below=st.integers(0, 127),
)
def test_weights_cover_any_law(gauss: bool, numerator: int, denominator: int, cut: int, cut_below: int) -> None:
    q = Fraction((numerator >> cut) or 1, (denominator >> cut_below) or 1)
    q = min(q, Fraction(1 << (80 if gauss else 40)))
    found = exp_parameters(_core.GAUSS if gauss else _core.LAPLACE, q)
    check_parameters(gauss, q, found)
    assert masses(alias_table(found.weights)) == list(found.weights)


@given(st.lists(st.integers(1, MASS - BINS), min_size=BINS - 1, max_size=BINS - 1, unique=True))
def test_alias_tables_are_exact(cuts: list[int]) -> None:
    """Any 64 positive weights of the right sum."""
    borders = [0, *(cut + i for i, cut in enumerate(sorted(cuts), 1)), MASS]
    weights = [b - a for a, b in pairwise(borders)]
    assert masses(alias_table(weights)) == weights


# ---- decisions


def twin(
    law_or_table: tuple[bool, Fraction, int, int, list[int]], cipher: int, both: bytes, count: int
) -> tuple[list[int], list[bool], list[bool]]:
    """(values, accepted, in the tail) of the first candidates, in fractions."""
    gauss, q, shift, scale, weights = law_or_table
    size = _core.SEED_BYTES[cipher]

    def extension(i: int, k: int) -> int:
        word = _core.keystream(both[size:], 8, offset=256 * i + 8 * k, cipher=cipher)
        return int.from_bytes(word, "little")

    found = list(
        candidates(
            gauss=gauss,
            q=q,
            shift=shift,
            scale=scale,
            weights=weights,
            alias=alias_table(weights),
            first=_core.keystream(both[:size], 16 * count, cipher=cipher),
            extension=extension,
        )
    )
    return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_candidates_are_what_fractions_say(law: Law) -> None:
    """Bit for bit: bins, offsets, signs, and every decision."""
    kind, q, found = parameters(law)
    cipher = CIPHERS[len(name(law)) % 2]
    both = seeds(cipher, name(law))
    law_or_table = kind == _core.GAUSS, q, found.shift, found.scale, list(found.weights)
    values, accepted, _ = twin(law_or_table, cipher, both, 250)
    want = [value for value, yes in zip(values, accepted, strict=True) if yes]
    assert len(want) >= 80
    assert _core.sample_exp_var(table(law), len(want), both, cipher=cipher).tolist() == want


@pytest.mark.parametrize("gauss", [True, False])
@pytest.mark.parametrize("shift", [0, 5, 30])
def test_tails_are_what_fractions_say(gauss: bool, shift: int, every_level: Callable[[], Iterator[str]]) -> None:
    """Tables that send a quarter of the candidates to the tail, and a law that reaches far into it."""
    w = 1 << shift
    weights = [MASS * 3 // 4 // 63] * 63 + [MASS // 4]
    weights[0] += MASS - sum(weights)
    # Otherwise a Gaussian tail is met once in 2^22 candidates, and accepted never.
    q = Fraction(400 * w * w) if gauss else Fraction(60 * w)
    scale = 1 << 62 if gauss else weights[1] << 40
    made = _core.ExpTable(
        _core.GAUSS if gauss else _core.LAPLACE,
        q.numerator,
        q.denominator,
        shift=shift,
        scale=scale,
        weights=weights,
        alias=alias_table(weights),
    )
    for cipher in CIPHERS:
        both = seeds(cipher, f"tail {gauss} {shift}")
        values, accepted, tails = twin((gauss, q, shift, scale, weights), cipher, both, 1200)
        assert sum(tails) > 200
        taken = [yes for yes, tail in zip(accepted, tails, strict=True) if tail]
        assert 5 < sum(taken) < len(taken)
        want = [value for value, yes in zip(values, accepted, strict=True) if yes]
        for _ in every_level():
            assert _core.sample_exp_var(made, len(want), both, cipher=cipher).tolist() == want


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_slow_arithmetic_decides_as_fast_arithmetic_does(law: Law) -> None:
    """All by integers, all by doubles, and a band that sends many candidates from one to the next."""
    cipher = _core.CHACHA20
    both = seeds(cipher, "bands" + name(law))
    run = partial(_core.sample_exp_var, seeds=both, cipher=cipher)
    usual = run(table(law), 100_000)
    assert np.array_equal(run(table(law, band_single=0), 100_000), usual)
    assert np.array_equal(run(table(law, band_single=4, band_double=6), 20_000), usual[:20_000])
    assert np.array_equal(run(table(law, band_single=0, band_double=0), 2000), usual[:2000])


@pytest.mark.assurance
@pytest.mark.parametrize("law", LAWS, ids=name)
def test_slow_arithmetic_decides_as_fast_arithmetic_does_very_often(law: Law) -> None:
    both = secrets.token_bytes(64)
    run = partial(_core.sample_exp_var, seeds=both, cipher=_core.AES128_CTR)
    usual = run(table(law), 10**7)
    assert np.array_equal(run(table(law, band_single=0), 10**7), usual)
    assert np.array_equal(run(table(law, band_single=0, band_double=0), 10**5), usual[: 10**5])


def compare_levels(law: Law, n: int, levels: Iterator[str]) -> None:
    made = table(law)
    want: dict[int, I64Array] = {}
    for level in levels:
        for cipher in CIPHERS:
            got = _core.sample_exp_var(made, n, seeds(cipher, "levels" + name(law)), cipher=cipher)
            assert np.array_equal(want.setdefault(cipher, got), got), level
    assert not np.array_equal(want[CIPHERS[0]], want[CIPHERS[1]]) or not want[CIPHERS[0]].any()


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_levels_agree(law: Law, every_level: Callable[[], Iterator[str]]) -> None:
    compare_levels(law, 200_000, every_level())


@pytest.mark.assurance
@pytest.mark.parametrize("law", LAWS, ids=name)
def test_levels_agree_very_often(law: Law, every_level: Callable[[], Iterator[str]]) -> None:
    compare_levels(law, 10**7, every_level())


# ---- coins


@pytest.mark.parametrize(
    "x", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(29, 2), Fraction(1, (1 << 128) - 1), Fraction(1 << 80)]
)
def test_coins_are_what_integers_say(x: Fraction, every_level: Callable[[], Iterator[str]]) -> None:
    low, high = exp_bounds(x, 128)
    for cipher in CIPHERS:
        both = seeds(cipher, f"coins {x}")
        words = np.frombuffer(_core.keystream(both[: _core.SEED_BYTES[cipher]], 16 * 5000, cipher=cipher), "<u8")[::2]
        want = [int(word + 1) << 64 <= low for word in words.tolist()]
        assert all(yes or word << 64 >= high for yes, word in zip(want, words.tolist(), strict=True))
        run = partial(_core.bernoulli_exp_var, x.numerator, x.denominator, seeds=both, cipher=cipher)
        for _ in every_level():
            assert run(5000).tolist() == want
            assert run(5000, band=8).tolist() == want
            assert run(200, band=0).tolist() == want[:200]


# ---- time


def test_work_does_not_depend_on_the_output() -> None:
    """Samples come after as many rejected candidates whether they are small or large, and read as many words.

    Every candidate takes 16 bytes of the stream, whatever it becomes, and what precedes a sample is independent of it.
    """
    law = DiscreteGaussian(9)
    kind, q, found = parameters(law)
    both = seeds(_core.AES128_CTR, "work")
    law_or_table = kind == _core.GAUSS, q, found.shift, found.scale, list(found.weights)
    values, accepted, _ = twin(law_or_table, _core.AES128_CTR, both, 6000)
    at = np.flatnonzero(accepted)
    sizes = np.abs(np.array(values))[at]
    waits = np.diff(at, prepend=-1)
    assert waits.max() >= 3
    assert abs(stats.spearmanr(sizes, waits).statistic) <= 0.05


def correlation_with_time(draw: Callable[[bytes], object], sizes: list[int], both: list[bytes], rounds: int) -> float:
    """|Spearman| of the sizes of samples and the least time of each in `rounds` calls, every round in its own order.

    What else the machine does falls on small and large samples alike, and brings the correlation nearer to 0: a busy
    machine cannot raise an alarm, and the least of several times lets less of it in.
    """
    best = [1 << 62] * len(both)
    shuffle = np.random.default_rng(len(both))
    for _ in range(rounds):
        for i in shuffle.permutation(len(both)).tolist():
            seed = both[i]
            start = time.perf_counter_ns()
            draw(seed)
            best[i] = min(best[i], time.perf_counter_ns() - start)
    return abs(float(stats.spearmanr(sizes, best).statistic))


TIMED: list[tuple[str, Callable[[bytes], I64Array]]] = [
    (name(law), partial(_core.sample_exp_var, table(law), 1, cipher=_core.AES128_CTR))
    for law in (DiscreteGaussian(1), DiscreteGaussian(10**6), DiscreteLaplace(100))
] + [
    (
        f"skellam {s}",
        partial(_core.sample_table_var, tabulate(Skellam(s * s)._law()).table(), 1, cipher=_core.AES128_CTR),
    )
    for s in (1, 100)
]


@pytest.mark.parametrize(("law", "draw"), TIMED, ids=[law for law, _ in TIMED])
def test_time_does_not_tell_the_output(law: str, draw: Callable[[bytes], I64Array]) -> None:
    """|Spearman| <= 0.05 between size and time of single samples; chance alone gives more in one of 10^7 runs."""
    both = [secrets.token_bytes(2 * _core.SEED_BYTES[_core.AES128_CTR]) for _ in range(12_000)]
    sizes = [abs(int(draw(seed)[0])) for seed in both]
    assert any(correlation_with_time(draw, sizes, both, rounds=3) <= 0.05 for _ in range(3))


def test_the_check_of_time_notices_a_loop() -> None:
    """A sampler that counts to the size of its sample, as inversion does; libraries show correlations of .1 to .7."""
    draw = TIMED[0][1]
    both = [secrets.token_bytes(2 * _core.SEED_BYTES[_core.AES128_CTR]) for _ in range(4000)]
    sizes = [abs(int(draw(seed)[0])) for seed in both]
    steps = dict(zip(both, sizes, strict=True))

    def counting(seed: bytes) -> None:
        draw(seed)
        for _ in range(20 * steps[seed]):
            pass

    assert correlation_with_time(counting, sizes, both, rounds=5) > 0.1

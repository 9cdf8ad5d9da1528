"""Robust rules on shares against the plain rules; their bounds; what they open."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import ParameterError, RemoteError, RoundAborted
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.robust import (
    COSINE_ERROR,
    RULES,
    FLTrust,
    Krum,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    NormFilter,
    Release,
    Rule,
    TrimmedMean,
    Updates,
    aggregate,
    contributions,
    terms,
)
from privcomp.mpc.robust import updates as module_of_updates
from privcomp.mpc.robust._roots import FRACTION, inverse, inverse_root
from privcomp.mpc.robust.contributions import check_contributions
from privcomp.mpc.robust.order import _with_noise
from privcomp.mpc.robust.ranks import smallest
from tests.mpc.robust_driver import Ints, deal, drive, parties, run_rule
from tests.reference import robust as plain

PROTOCOLS = ("rep3", "rep4")
LEAK = Release(leaks="one update")
WIDTH = 12
TOP, BOTTOM = 2 ** (WIDTH - 1) - 1, -(2 ** (WIDTH - 1))


def updates(case: str, n: int = 9, d: int = 70, poisoners: int = 2) -> Ints:
    rng = np.random.default_rng([*case.encode(), n, d])
    x = rng.integers(-200, 200, (n, d))
    if case == "equal":
        x[:] = x[0]
    elif case == "zero":
        x[:] = 0
    elif case == "ties":  # pairs of clients agree in everything, and values are few
        x = rng.integers(-1, 2, (n, d))
        x[1::2] = x[: n - 1 : 2]
    elif case == "extremes":
        x = np.where(rng.integers(0, 2, (n, d)) == 1, TOP, BOTTOM)
    elif case == "bottom":
        x[:] = BOTTOM
    elif case == "poisoned":
        x[:poisoners] = TOP
        x[poisoners - 1] *= -1
    elif case == "colluding":  # poisoners that stand close to each other, far from the rest
        x[:poisoners] = 1500 + rng.integers(0, 2, (poisoners, d))
    else:
        assert case == "random"
    return x


CASES = ("random", "equal", "zero", "ties", "extremes", "bottom", "poisoned", "colluding")


@pytest.mark.parametrize(
    ("protocol", "case"),
    [("rep3", case) for case in CASES] + [("rep4", "ties"), ("rep4", "extremes"), ("rep4", "poisoned")],
)
def test_selection_and_order_rules_equal_the_plain_rules(protocol: str, case: str) -> None:
    x = updates(case)
    if protocol == "rep4":
        x = x[:, :9]
    assert (run_rule(protocol, Mean(), x, WIDTH, Release()).total == x.sum(axis=0)).all()
    assert (run_rule(protocol, Krum(2), x, WIDTH, LEAK).total == plain.multi_krum(x, 2, 1)).all()
    done = run_rule(protocol, MultiKrum(2, 4), x, WIDTH, Release())
    assert done.divisor == 4
    assert (done.total == plain.multi_krum(x, 2, 4)).all()
    assert (run_rule(protocol, TrimmedMean(3), x, WIDTH, Release()).total == plain.trimmed_sum(x, 3)).all()
    done = run_rule(protocol, Median(), x, WIDTH, LEAK)
    assert (done.mean == np.median(x, axis=0)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 20, 21, 22, 40])
def test_median_and_trimmed_mean_of_any_number(n: int) -> None:
    x = updates("extremes", n, 5)
    x[:, 0] = np.arange(n) * 7 % n
    assert (run_rule("rep3", Median(), x, WIDTH, LEAK).mean == np.median(x, axis=0)).all()
    trim = (n - 1) // 3
    done = run_rule("rep3", TrimmedMean(trim), x, WIDTH, LEAK)
    assert (done.total == plain.trimmed_sum(x, trim)).all()
    assert done.divisor == n - 2 * trim


@pytest.mark.parametrize("width", [2, 31, 48])
def test_order_rules_at_every_width(width: int) -> None:
    top, bottom = 2 ** (width - 1) - 1, -(2 ** (width - 1))
    x = np.random.default_rng(width).integers(bottom, top, (7, 66), endpoint=True)
    x[0], x[1] = top, bottom
    assert (run_rule("rep3", TrimmedMean(1), x, width, Release()).total == plain.trimmed_sum(x, 1)).all()


def test_multi_krum_keeps_poisoners_out() -> None:
    x = updates("colluding", 11, 40, 4)
    done = run_rule("rep3", MultiKrum(4), x, WIDTH, Release())
    honest = x[4:].sum(axis=0)
    assert (done.total == honest).all()
    # f = 3 underestimates them: the four keep each other company, which is why f has to be right.
    assert (run_rule("rep3", MultiKrum(4, 7), x, WIDTH, Release()).total == plain.multi_krum(x, 4, 7)).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_norm_filter_equals_the_plain_rule(protocol: str) -> None:
    for case in ("poisoned", "random", "zero"):
        x = updates(case)
        norms = sorted(plain.square_norms(x))
        limit = int(np.ceil(np.sqrt(norms[6])))
        done = run_rule(protocol, NormFilter(limit), x, WIDTH, Release()) if limit else None
        if done is not None:
            total, count = plain.norm_filter(x, limit)
            assert (done.total == total).all()
            assert done.divisor == count
    # On the limit passes, one below does not.
    x = np.zeros((5, 3), np.int64)
    x[:, 0] = (5, 5, 5, 4, 0)
    x[2, 1] = 1
    done = run_rule(protocol, NormFilter(5), x, WIDTH, Release())
    assert done.divisor == 4
    assert done.total.tolist() == [14, 0, 0]


@pytest.mark.parametrize(
    ("protocol", "case"),
    [("rep3", case) for case in ("random", "equal", "zero", "extremes", "poisoned")] + [("rep4", "poisoned")],
)
def test_norm_clip_is_within_its_stated_error(protocol: str, case: str) -> None:
    x = updates(case, d=33)
    x[4] = 0
    for limit in (1, 1000, 10**6):
        rule = NormClip(limit)
        done = run_rule(protocol, rule, x, WIDTH, LEAK)
        assert np.abs(done.total - plain.norm_clip(x, limit)).max() < rule.error(9, WIDTH)
        assert done.divisor == 9


@pytest.mark.parametrize("width", [3, 20, 27])
def test_norm_clip_at_every_width(width: int) -> None:
    d = 130
    top = 2 ** (width - 1) - 1
    x = np.random.default_rng(width).integers(-top, top, (6, d), endpoint=True)
    x[0] = top
    rule = NormClip(max(1, int(top * d**0.5 / 3)))
    done = run_rule("rep3", rule, x, width, LEAK)
    assert np.abs(done.total - plain.norm_clip(x, rule.limit)).max() < rule.error(6, width)


@pytest.mark.parametrize(
    ("protocol", "case"),
    [("rep3", case) for case in ("random", "equal", "poisoned", "extremes")] + [("rep4", "poisoned")],
)
def test_fltrust_is_within_its_stated_error(protocol: str, case: str) -> None:
    x = updates(case, d=33)
    reference = np.clip(x[3] + x[5] + 20, BOTTOM, TOP)
    x[4] = 0
    x[6] = np.minimum(-reference, TOP)
    rule = FLTrust(reference)
    trust = sum(plain.trust_scores(x, reference))
    done = run_rule(protocol, rule, x, WIDTH, LEAK)
    assert np.abs(done.total - plain.fltrust(x, reference)).max() < rule.error(9, WIDTH, trust)


def test_fltrust_over_wide_ranges() -> None:
    """Small references with large updates, and the other way round; a trust of a little more than 1/64."""
    rng = np.random.default_rng(5)
    for scale, own in ((1, 2**14), (2**14, 1), (2**14, 2**14)):
        reference = own * rng.integers(-1, 2, 64)
        reference[0] = own
        x = scale * rng.integers(-1, 2, (5, 64)) + reference // own
        rule = FLTrust(reference)
        trust = sum(plain.trust_scores(x, reference))
        done = run_rule("rep3", rule, x, 16, LEAK)
        assert np.abs(done.total - plain.fltrust(x, reference)).max() < rule.error(5, 16, trust)
    reference = np.zeros(64, np.int64)
    reference[0] = 1000
    x = np.full((3, 64), -500)
    x[0] = 1000
    x[0, 0] = 140  # cosine 0.0176
    rule = FLTrust(reference)
    done = run_rule("rep3", rule, x, 16, LEAK)
    assert np.abs(done.total - plain.fltrust(x, reference)).max() < rule.error(3, 16, 0.0175)
    x[0, 0] = 100  # 0.0126: nothing is opened, whatever leak is named
    with pytest.raises(RoundAborted, match="too few clients"):
        run_rule("rep3", rule, x, 16, LEAK)


# ---- what the rules stand on ----


def test_ranks_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 4, (6, 13))
    values[0] = 2**61 * rng.integers(0, 3, 13)
    shares = [rng.integers(0, 2**63, values.shape, dtype=np.uint64) for _ in range(2)]
    shares.append(values.astype(np.uint64) - shares[0] - shares[1])

    async def program(mpc: ReplicatedBackend) -> object:
        value = Value((shares[mpc.me], shares[(mpc.me + 1) % 3]))
        return [await mpc.open(await smallest(mpc, value, count, 2**62)) for count in (1, 5, 12, 13)]

    for result in drive(parties("rep3", program)):
        for count, chosen in zip((1, 5, 12, 13), result, strict=True):
            order = np.argsort(values, axis=1, kind="stable")[:, :count]
            expected = np.zeros(values.shape, np.uint64)
            np.put_along_axis(expected, order, np.uint64(1), axis=1)
            assert (chosen == expected).all()


@pytest.mark.parametrize("bits", [2, 4, 26, 28, 30, 62])
def test_roots_and_inverses_are_within_their_stated_error(bits: int) -> None:
    """Every power of two with its neighbours, and random numbers of every length: relative errors below 2^-25."""
    rng = np.random.default_rng(bits)
    numbers = {0, 1, 2**bits - 1}
    for k in range(bits):
        numbers |= {2**k, 2**k - 1, min(2**k + 1, 2**bits - 1), int(rng.integers(2**k, 2 ** (k + 1)))}
    n = np.array(sorted(numbers), np.uint64)

    async def program(mpc: ReplicatedBackend) -> object:
        shared = await mpc.input(1, n if mpc.me == 1 else None, n.shape)
        root = await inverse_root(mpc, shared, bits)
        reciprocal = await inverse(mpc, shared, bits)
        power = root.table(mpc, [1 << k for k in range(bits // 2)])
        return [await mpc.open(v) for v in (root.root, power, reciprocal.inverse, reciprocal.power)]

    y, power, z, shift = (v.astype(np.float64) for v in drive(parties("rep3", program))[0])
    exact = np.maximum(n, 1).astype(np.float64)
    assert np.abs(y * power / 2 ** (FRACTION + bits // 2) * np.sqrt(exact) - 1).max() < 2**-25
    assert np.abs(z * shift / 2 ** (FRACTION + bits) * exact - 1).max() < 2**-25


def test_blocks_make_no_difference() -> None:
    x = updates("random", 5, 200)
    dealt = deal("rep3", x, WIDTH)

    async def program(mpc: ReplicatedBackend) -> object:
        some = await Updates.extend(mpc, dealt[mpc.me], block=320)
        assert len(some.blocks) == 4
        return [
            (await aggregate(mpc, rule, some, Release(least=2))).total
            for rule in (Mean(), MultiKrum(1), NormFilter(10**6), TrimmedMean(1))
        ]

    mean, krum, filtered, trimmed = drive(parties("rep3", program))[0]
    assert (mean == x.sum(axis=0)).all()
    assert (krum == plain.multi_krum(x, 1, 4)).all()
    assert (filtered == x.sum(axis=0)).all()
    assert (trimmed == plain.trimmed_sum(x, 1)).all()


def test_whatever_a_client_shares_is_in_range() -> None:
    """A share of 2^32 squares to 0 modulo 2^64 and would pass every norm; in b bits it is 0, as all are in range."""
    width = 6
    rng = np.random.default_rng(0)
    x = np.array([[2**32, 2**31, 2**5, -(2**5), 2**5 - 1, 31 + 2**32, -1, 0]])
    x = np.concatenate([x, rng.integers(-(2**62), 2**62, (3, 8))])
    dealt = deal("rep3", x, width)

    async def program(mpc: ReplicatedBackend) -> object:
        extended = await Updates.extend(mpc, dealt[mpc.me])
        return await mpc.open(extended.blocks[0]), await mpc.open(await extended.square_norms(mpc))

    values, norms = drive(parties("rep3", program))[0]
    assert values.view(np.int64)[0].tolist() == [0, 0, -32, -32, 31, 31, -1, 0]
    assert (values.view(np.int64) == (x + 32) % 64 - 32).all()
    assert norms.tolist() == plain.square_norms(values.view(np.int64))


# ---- bounds ----


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        # |x|^2 <= d 2^(2b-2) < 2^63
        (NormFilter(9), (5, 2**23 - 1, 21), (5, 2**23, 21)),
        (NormFilter(9), (5, 7, 31), (5, 8, 31)),
        # a root: 2^62
        (NormClip(9), (5, 3, 31), (5, 4, 31)),
        (NormClip(9), (2**16 - 1, 3, 31), (2**16 - 1, 4, 31)),
        # a score: (n - f - 2) d 2^(2b) < 2^63
        (MultiKrum(10), (100, 93, 25), (100, 94, 25)),
        (MultiKrum(0), (3, 2**23 - 1, 20), (3, 2**23, 20)),
        (Krum(1), (5, 2**22 - 1, 20), (5, 2**22, 20)),
        # n >= 2f + 3
        (Krum(4), (11, 9, 9), (10, 9, 9)),
        (MultiKrum(4, 7), (11, 9, 9), (10, 9, 9)),
        # m <= n - f
        (MultiKrum(4, 8), (12, 9, 9), (11, 9, 9)),
        # networks
        (Median(), (4096, 9, 9), (4097, 9, 9)),
        (TrimmedMean(2), (4096, 9, 9), (4097, 9, 9)),
        (TrimmedMean(4), (9, 9, 9), (8, 9, 9)),
        # the sum
        (Mean(), (2**16 - 1, 9, 48), (2**16, 9, 48)),
        # a product with the reference: 2^(b-1) |g0|_1 < 2^62, norms < 2^62
        (FLTrust(np.array([2, 2, 1])), (4, 3, 31), (4, 3, 32)),
        (FLTrust(np.array([2, 2, 1])), (4, 3, 9), (4, 2, 9)),
        (FLTrust(np.array([256, 2, 1])), (4, 3, 10), (4, 3, 9)),
    ],
)
def test_bounds_are_refused_one_step_beyond(
    rule: Rule, within: tuple[int, int, int], beyond: tuple[int, int, int]
) -> None:
    rule.check(*within)
    with pytest.raises(ParameterError):
        rule.check(*beyond)


def test_a_norm_that_wraps_would_pass_the_filter() -> None:
    """8 entries of -2^30: the square of the norm is 2^63, a negative number in 64 bits."""
    row = np.full(8, -(2**30), np.int64)
    wrapped = int((row.view(np.uint64) ** 2).sum().view(np.int64))
    assert wrapped < 9**2 < sum(int(v) ** 2 for v in row)
    with pytest.raises(ParameterError, match="squared norm"):
        NormFilter(9).require(5, 8, 31, Release())


def test_a_distance_and_a_score_that_wrap_would_choose_the_poisoner() -> None:
    x = np.array([[-(2**29)] * 16, [2**29 - 1] * 16, [2**29 - 5] * 16])
    truth = plain.krum_scores(x, 0)
    gram = x.view(np.uint64) @ x.view(np.uint64).T
    norms = np.diagonal(gram)
    far = (norms[:, None] + norms[None, :] - 2 * gram).view(np.int64)
    wrapped = [int(np.delete(far[i], i).min()) for i in range(3)]
    assert np.argmin(truth) != 0
    assert np.argmin(wrapped) == 0
    with pytest.raises(ParameterError, match="score"):
        Krum(0).require(3, 16, 30, LEAK)
    # Distances that fit, and whose sum does not: four of 2^61.
    assert 2**61 < 2**63 <= 4 * 2**61
    Krum(0).require(3, 2, 30, LEAK)
    with pytest.raises(ParameterError, match="score"):
        Krum(0).require(6, 2, 30, LEAK)


def test_more_entries_than_a_score_holds_at_full_size() -> None:
    """b = 20, d = 2^20, n = 100, f = 10: each distance is below 2^63, the score reaches 2^66."""
    NormFilter(9).check(100, 2**20, 20)
    with pytest.raises(ParameterError, match=r"2\^66"):
        MultiKrum(10).check(100, 2**20, 20)


# ---- what is opened ----


def opened_by(protocol: str, rule: Rule, x: Ints, release: Release) -> tuple[list[object], list[str]]:
    """What every server gets, and the operations that opened something at server 0."""
    dealt = deal(protocol, x, WIDTH)

    async def program(mpc: ReplicatedBackend) -> object:
        return await aggregate(mpc, rule, dealt[mpc.me], release)

    ends = parties(protocol, program)
    results = drive(ends)
    return results, sorted(name for name in ends[0].cost.operations if name.startswith("open"))


@pytest.mark.parametrize(
    ("rule", "clients"),
    [(Krum(1), 9), (MultiKrum(1, 2), 9), (Median(), 9), (Median(), 10), (TrimmedMean(4), 10), (Mean(), 2)],
)
def test_a_rule_that_opens_one_client_refuses_unless_the_leak_is_named(rule: Rule, clients: int) -> None:
    x = updates("random", clients, 8)
    results, operations = opened_by("rep3", rule, x, Release())
    assert all(isinstance(error, ParameterError) and "name the leak" in str(error) for error in results)
    assert operations == []
    run_rule("rep3", rule, x, WIDTH, LEAK)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_filter_that_few_pass_opens_one_bit(protocol: str) -> None:
    x = updates("random", 6, 8)
    x[:4] = TOP
    norm = int(np.ceil(np.sqrt(max(plain.square_norms(x[4:])))))
    results, operations = opened_by(protocol, NormFilter(norm), x, Release())
    assert all(isinstance(error, RoundAborted) and "too few clients" in str(error) for error in results)
    assert operations == ["open-bits"]
    # Two passed: least + colluders = 2 opens, 3 does not; and what is named opens.
    done = run_rule(protocol, NormFilter(norm), x, WIDTH, Release(least=2))
    assert done.divisor == 2
    with pytest.raises(RoundAborted):
        run_rule(protocol, NormFilter(norm), x, WIDTH, Release(least=2, colluders=1))
    assert run_rule(protocol, NormFilter(norm), x, WIDTH, LEAK).divisor == 2
    with pytest.raises(RoundAborted, match="no update"):
        run_rule(protocol, NormFilter(1), x, WIDTH, LEAK)


def test_weights_that_stand_on_one_client_open_one_bit() -> None:
    # Clipped to norm 10: one client weighs 1, the others 1/200.
    x = np.full((8, 4), 1000)
    x[3] = 5
    results, operations = opened_by("rep3", NormClip(10), x, Release(least=2))
    assert all(isinstance(error, RoundAborted) and "too few clients" in str(error) for error in results)
    assert operations == ["open-bits"]
    x[:3] = 5
    run_rule("rep3", NormClip(10), x, WIDTH, Release(least=4))
    with pytest.raises(RoundAborted):
        run_rule("rep3", NormClip(10), x, WIDTH, Release(least=5))
    # One client agrees with the reference, the others hardly.
    reference = np.array([100, 0, 0, 0])
    x = np.full((8, 4), 900)
    x[:, 0] = 30
    x[2] = reference
    results, operations = opened_by("rep3", FLTrust(reference), x, Release(least=2))
    assert all(isinstance(error, RoundAborted) and "too few clients" in str(error) for error in results)
    assert operations == ["open-bits"]
    run_rule("rep3", FLTrust(reference), x, WIDTH, LEAK)


@pytest.mark.parametrize("rule", [MultiKrum(2), NormFilter(10**6), TrimmedMean(2), NormClip(500)])
def test_only_what_is_stated_is_opened(rule: Rule) -> None:
    x = updates("random", 9, 8)
    results, operations = opened_by("rep3", rule, x, Release())
    assert not any(isinstance(result, Exception) for result in results)
    gated = ["open-bits"] if rule.accepted(9) is None else []
    assert operations == (["open-bits"] if rule.name == "trimmed_mean" else ["open", *gated])
    assert rule.opens(9)


@pytest.mark.parametrize(
    "others",
    [
        (MultiKrum(2, 6), Release()),
        (MultiKrum(1, 5), Release()),
        (MultiKrum(2, 5), Release(colluders=1)),
        (Mean(), Release()),
    ],
)
def test_servers_that_run_other_rules_stop_before_anything_is_opened(others: tuple[Rule, Release]) -> None:
    x = updates("random", 9, 8)
    dealt = deal("rep3", x, WIDTH)

    async def program(mpc: ReplicatedBackend) -> object:
        rule, release = others if mpc.me == 2 else (MultiKrum(2, 5), Release())
        return await aggregate(mpc, rule, dealt[mpc.me], release)

    ends = parties("rep3", program)
    results = drive(ends)
    assert any(isinstance(error, RemoteError) and "other operations" in str(error) for error in results)
    assert not any(name.startswith("open") for end in ends for name in end.cost.operations)


# ---- noise in place of a threshold ----


MASKED: tuple[tuple[Rule, float], ...] = (
    (Mean(), 0.0),
    (NormFilter(10**6), 0.0),
    (NormClip(500), 1.0),
    (Krum(2), 0.0),
    (TrimmedMean(4), 0.0),
    (Median(), 0.0),
    (FLTrust(np.arange(1, 401)), 1.0),
)


@pytest.mark.parametrize(
    ("protocol", "rule", "slack"),
    [("rep3", *one) for one in MASKED] + [("rep4", *one) for one in (MASKED[0], MASKED[4])],
)
def test_masked_openings_carry_noise_of_all_servers(protocol: str, rule: Rule, slack: float) -> None:
    """Variance V * servers / honest: over 400 entries within 40 %, 5.6 deviations of an estimate of a variance."""
    variance, x = 90_000, updates("random", 9, 400)
    plain_release = LEAK if rule.accepted(9) is not None else Release(least=2)
    exact = run_rule(protocol, rule, x, WIDTH, plain_release)
    done = run_rule(protocol, rule, x, WIDTH, Release(masked=variance))
    assert done.divisor == exact.divisor
    servers = len(deal(protocol, x, WIDTH))
    noise = done.total - exact.total
    assert abs(noise.var() / (variance * servers / (servers - 1)) - 1) < 0.4
    assert abs(noise.mean()) <= slack + 7 * (2 * variance / 400) ** 0.5
    assert "masking, no epsilon" in done.opened[-1]
    assert done.opened[:-1] == exact.opened


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(2)])
def test_a_server_that_lies_about_its_noise_moves_an_entry_by_the_stated_reach(protocol: str, rule: Rule) -> None:
    """Whatever it inputs, in numbers or on planes, the low bits of it are all that counts."""
    x = np.zeros((9, 3), np.int64)
    dealt = deal(protocol, x, WIDTH)
    lie = np.uint64(0x7654_3210_89AB_CDEF)

    async def program(mpc: ReplicatedBackend) -> object:
        if mpc.me == 1:
            numbers, planes = mpc.input, mpc.input_bits

            async def input(owner: int, values: Any, shape: tuple[int, ...]) -> Value:
                return await numbers(owner, values if values is None else np.full(shape, lie), shape)

            async def input_bits(owner: int, drawn: Any, count: int, n: int) -> Any:
                return await planes(owner, drawn if drawn is None else np.full_like(drawn, ~np.uint64(0)), count, n)

            mpc.input, mpc.input_bits = input, input_bits  # type: ignore[method-assign]
        return await aggregate(mpc, rule, dealt[mpc.me], Release(masked=100))

    results = drive(parties(protocol, program))
    found = re.search(r"moves an entry by (\d+)", results[0].opened[-1])
    assert found is not None
    reach = int(found[1])
    assert reach <= 256
    honest = 7 * 100**0.5 * 1.5
    for result in results:
        assert (abs(result.total) <= reach + honest).all()
        assert (result.total == results[0].total).all()


def test_noise_of_no_or_of_too_much_variance_is_refused() -> None:
    for refused in (0, Fraction(1, 2), -3, 2.5, 1 << 27, True):
        with pytest.raises(ParameterError):
            Release(masked=refused)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="choose one"):
        Release(leaks="one update", masked=100)


# ---- contributions ----


@pytest.mark.parametrize(("protocol", "case"), [("rep3", case) for case in CASES] + [("rep4", "poisoned")])
def test_contribution_bits_equal_the_plain_scores(protocol: str, case: str) -> None:
    x = updates(case, 7, 20)
    x[4] = 0
    cosines, moves = plain.cosines(x), plain.square_moves(x)
    middle = sorted(cosines)[3]
    thresholds = [
        t
        for t in (-0.5, 0.0, middle + 1e-6, middle - 1e-6)
        if t < 1 and min(abs(c - t) for c in cosines) >= COSINE_ERROR
    ]
    limits = [0.0, 3.5, (sorted(moves)[3] ** 0.5 + 1e-3) / 42]
    dealt = deal(protocol, x, 64)

    async def program(mpc: ReplicatedBackend) -> object:
        values = Updates((dealt[mpc.me].block(0, 20),), 7, 20, WIDTH)
        return [await contributions(mpc, values, cosine=t) for t in thresholds], [
            await contributions(mpc, values, cosine=0.9, influence=limit) for limit in limits
        ]

    for agreeing, moderate in drive(parties(protocol, program)):
        for t, found in zip(thresholds, agreeing, strict=True):
            assert found.agrees.tolist() == [c >= t for c in cosines]
            assert found.moderate is None
        for limit, found in zip(limits, moderate, strict=True):
            assert found.moderate.tolist() == [m <= (42 * limit) ** 2 for m in moves]


@pytest.mark.parametrize(("protocol", "case"), [("rep3", case) for case in CASES] + [("rep4", "poisoned")])
def test_noisy_scores_are_the_plain_scores_with_that_much_noise(protocol: str, case: str) -> None:
    """Each score within seven standard deviations of all noise; over clients, and twice, not nearer than noise is."""
    x = updates(case, 7, 20)
    x[4] = 0
    cosines, moves = plain.cosines(x), np.sqrt(np.array(plain.square_moves(x), float)) / 42
    dealt = deal(protocol, x, 64)
    servers = len(dealt)
    fine, coarse = (2.0**-14, 2.0**-3 / 42), (0.25, 100.0)

    async def program(mpc: ReplicatedBackend) -> object:
        values = Updates((dealt[mpc.me].block(0, 20),), 7, 20, WIDTH)
        return [await contributions(mpc, values, cosine_noise=c, influence_noise=i) for c, i in (fine, coarse, coarse)]

    results = drive(parties(protocol, program))
    for (by_cosine, by_move), found in zip((fine, coarse, coarse), zip(*results, strict=True), strict=True):
        for one in found:
            assert (one.cosines == found[0].cosines).all()
            assert (one.influences == found[0].influences).all()
            assert one.agrees is None
            assert len(one.opened) == 2
        all_noise = (servers / (servers - 1)) ** 0.5
        slack = (COSINE_ERROR + by_cosine / 64, moves * 2.0**-18 + 2.0 / 42 * 2.0**-9 + by_move / 64)
        assert (abs(found[0].cosines - cosines) <= 7 * all_noise * by_cosine + slack[0]).all()
        assert (abs(found[0].influences - moves) <= 7 * all_noise * by_move + slack[1]).all()
    first, second = results[0][1:]
    for a, b, deviation in ((first.cosines, second.cosines, 0.25), (first.influences, second.influences, 100.0)):
        assert abs(a - b).max() >= deviation / 8  # 7 differences that are all smaller: 1 of 10^8


def test_rules_on_all_pairs_refuse_more_clients_than_memory_holds() -> None:
    for rule in (Krum(1), MultiKrum(1)):
        rule.check(1 << 10, 1, 8)
        with pytest.raises(ParameterError, match="1024 clients at most"):
            rule.check((1 << 10) + 1, 1, 8)
    check_contributions(1 << 12, 1, 8)
    with pytest.raises(ParameterError, match="4096 at most"):
        check_contributions((1 << 12) + 1, 1, 8)


def test_norms_of_many_updates_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_updates, "_TASKS", 4)
    x = updates("random", 9, 400)
    dealt = deal("rep3", x, WIDTH)

    async def program(mpc: ReplicatedBackend) -> object:
        some = await Updates.extend(mpc, dealt[mpc.me], block=576)
        assert len(some.blocks) > 1
        return await mpc.open(await some.square_norms(mpc))

    for norms in drive(parties("rep3", program)):
        assert norms.tolist() == plain.square_norms(x)


def test_contributions_are_refused_beyond_their_bound() -> None:
    x = updates("random", 5, 4)
    dealt = deal("rep3", x, 64)
    for width, wanted in (
        (30, {"cosine": 0.5}),
        (WIDTH, {}),
        (WIDTH, {"cosine": 1.0}),
        (WIDTH, {"cosine": float("nan")}),
        (WIDTH, {"influence": -1.0}),
        (WIDTH, {"influence": float("inf")}),
        (WIDTH, {"cosine_noise": 0.0}),
        (WIDTH, {"cosine_noise": float("nan")}),
        (WIDTH, {"cosine_noise": 2.0**-15}),
        (WIDTH, {"cosine_noise": 128.0}),
        (WIDTH, {"influence_noise": 0.004}),
        (WIDTH, {"influence_noise": 2.0**31}),
    ):

        async def program(mpc: ReplicatedBackend, width: int = width, wanted: dict[str, float] = wanted) -> object:
            return await contributions(mpc, Updates((dealt[mpc.me].block(0, 4),), 5, 4, width), **wanted)

        ends = parties("rep3", program)
        assert all(isinstance(error, ParameterError) for error in drive(ends))
        assert set(ends[0].cost.operations) == {"setup"}
    # n^2 d 2^(2b) < 2^62
    check_contributions(4, 3, 28)
    with pytest.raises(ParameterError):
        check_contributions(4, 4, 28)
    with pytest.raises(ParameterError):
        check_contributions(2, 3, 8)


def test_a_rule_runs_on_replicated_sharing_only() -> None:
    x = updates("random", 5, 3)
    running = aggregate(object(), Mean(), deal("rep3", x, WIDTH)[0])  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="replicated"):
        running.send(None)


def test_parameters_are_refused() -> None:
    for wrong in (
        lambda: Release(least=1),
        lambda: Release(colluders=-1),
        lambda: Release(leaks="everything"),
        lambda: Release(masked=True),
        lambda: Krum(-1),
        lambda: MultiKrum(1, 0),
        lambda: NormFilter(0),
        lambda: NormClip(2**31 + 1),
        lambda: TrimmedMean(-1),
        lambda: FLTrust(np.zeros(3, np.int64)),
        lambda: FLTrust(np.ones(3)),
        lambda: FLTrust(np.ones((3, 1), np.int64)),
    ):
        with pytest.raises(ParameterError):
            wrong()


def test_terms_tell_rules_and_releases_apart() -> None:
    seen = {
        terms(rule, release)
        for rule in (
            Krum(1),
            MultiKrum(1),
            MultiKrum(1, 3),
            NormFilter(3),
            NormClip(3),
            FLTrust(np.array([1, 2])),
            FLTrust(np.array([2, 1])),
        )
        for release in (Release(), LEAK, Release(colluders=1))
    }
    assert len(seen) == 21
    assert set(RULES) == {
        "mean", "norm_clip", "norm_filter", "fltrust", "krum", "multi_krum", "trimmed_mean", "median",
    }  # fmt: skip


def test_rounds_are_those_of_the_page() -> None:
    """docs/robust.md, column of rep3: no rule takes more."""
    page = (Path(__file__).parents[2] / "docs" / "robust.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)(?:\(\d\))?`(?:, `(\w+)`)? \| (\d+) / \d+ \|", page, re.M)
    stated = {name: int(rounds) for *names, rounds in rows for name in names if name}
    x = updates("random", 10, 64)
    rules: tuple[Rule, ...] = (
        Mean(),
        NormFilter(10**5),
        NormClip(900),
        FLTrust(x.sum(axis=0) // 4),
        Krum(2),
        MultiKrum(2),
        TrimmedMean(2),
        Median(),
    )
    assert set(stated) == {type(rule).__name__ for rule in rules}
    for rule in rules:
        dealt = deal("rep3", x, WIDTH)
        release = LEAK if rule.accepted(10) in (1, 2) else Release(least=2)

        async def program(
            mpc: ReplicatedBackend, rule: Rule = rule, release: Release = release, dealt: Any = dealt
        ) -> Any:
            return await aggregate(mpc, rule, dealt[mpc.me], release)

        ends = parties("rep3", program)
        assert not any(isinstance(result, Exception) for result in drive(ends))
        assert ends[0].cost.rounds <= stated[type(rule).__name__]


@pytest.mark.assurance
@pytest.mark.parametrize(("protocol", "draws"), [("rep3", 300), ("rep4", 100)])
def test_random_updates_of_random_sizes(protocol: str, draws: int) -> None:
    """n, d, b, f and values of mixed sizes; every rule that fits is run."""
    rng = np.random.default_rng([2024, draws])
    for _ in range(draws):
        n, d = int(rng.integers(3, 21)), int(rng.integers(1, 150))
        width = int(rng.integers(2, 25))
        top = 2 ** (width - 1) - 1
        x = rng.integers(-top - 1, top, (n, d), endpoint=True) >> rng.integers(0, width, (n, 1))
        f = int(rng.integers(0, (n - 3) // 2 + 1))
        m = int(rng.integers(1, n - f + 1))
        limit = int(rng.integers(1, 2 * int(np.sqrt(max(plain.square_norms(x)))) + 2))
        assert (run_rule(protocol, MultiKrum(f, m), x, width, LEAK).total == plain.multi_krum(x, f, m)).all()
        trim = int(rng.integers(0, (n - 1) // 2 + 1))
        assert (run_rule(protocol, TrimmedMean(trim), x, width, LEAK).total == plain.trimmed_sum(x, trim)).all()
        assert (run_rule(protocol, Median(), x, width, LEAK).mean == np.median(x, axis=0)).all()
        total, count = plain.norm_filter(x, limit)
        if count:
            done = run_rule(protocol, NormFilter(limit), x, width, LEAK)
            assert (done.total == total).all()
            assert done.divisor == count
        clip = NormClip(limit)
        done = run_rule(protocol, clip, x, width, LEAK)
        assert np.abs(done.total - plain.norm_clip(x, limit)).max() < clip.error(n, width)
        reference = x[int(rng.integers(0, n))]
        trust = sum(plain.trust_scores(x, reference)) if reference.any() else 0.0
        if trust > 1 / 32:
            rule = FLTrust(reference)
            done = run_rule(protocol, rule, x, width, LEAK)
            assert np.abs(done.total - plain.fltrust(x, reference)).max() < rule.error(n, width, trust)


@pytest.mark.parametrize("protocol", ["rep3", "rep4"])
def test_noise_on_the_widest_sums(protocol: str) -> None:
    """4,096 clients of 48 bits come on 62 planes; with the noise of four servers there would be 65."""
    numbers = np.array([2**59, -(2**59), 5, -1], np.int64)

    async def program(mpc: ReplicatedBackend) -> Any:
        planes = _core.to_planes(np.resize(numbers.view(np.uint64), 64), 62)
        total = await _with_noise(mpc, mpc.public_bits(planes, 64), Release(masked=1))
        opened = await mpc.open_bits(total)
        assert opened is not None
        unsigned = _core.from_planes(np.ascontiguousarray(opened), 64)
        return (unsigned << np.uint64(64 - total.planes)).view(np.int64) >> (64 - total.planes)

    for seen in drive(parties(protocol, program)):
        assert np.abs(seen - np.resize(numbers, 64)).max() < 50

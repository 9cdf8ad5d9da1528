"""The sparse graph: its figures derived a second time, from another library and from exact fractions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fractions import Fraction
from hashlib import shake_256
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from privcomp.secagg import graph

PPM = 1_000_000


def tail_at_least(population: int, marked: int, draws: int, t: int) -> Fraction:
    """P[HG(population, marked, draws) >= t], as a fraction of counted sets."""
    good = sum(comb(marked, m) * comb(population - marked, draws - m) for m in range(t, min(marked, draws) + 1))
    return Fraction(good, comb(population, draws))


def conditions(n: int, k: int, t: int, gamma: Fraction, delta: Fraction) -> tuple[bool, bool, bool]:
    """Secrecy, completion and connectedness, written down again from the three inequalities."""
    corrupt, dropped = int(gamma * n), int(delta * n)
    secrecy = n * tail_at_least(n - 1, corrupt, k, t) <= Fraction(1, 2**40)
    completion = n * (1 - tail_at_least(n - 1, n - 1 - dropped, k, t)) <= Fraction(1, 2**30)
    run = Fraction(n)
    for a in range(k // 2):
        run *= Fraction(max(0, corrupt + dropped - a), n - a)
    return secrecy, completion, run <= Fraction(1, 2**40)


FIGURES = [(100, 22, 6), (1_000, 34, 18), (10_000, 38, 21), (1_000_000, 44, 23)]


@pytest.mark.parametrize(("n", "k", "t"), FIGURES)
def test_published_figures(n: int, k: int, t: int) -> None:
    """gamma = delta = 0.05: (22, 6) at 100, (34, 18) at 1,000, (38, 21) at 10^4, (44, 23) at 10^6."""
    assert graph.degree(n, 50_000, 50_000) == (k, t)


@pytest.mark.parametrize(("n", "k", "t"), [row for row in FIGURES if row[0] <= 10_000])
def test_figures_are_the_least_ones_in_exact_fractions(n: int, k: int, t: int) -> None:
    """(k, t) keeps all three inequalities; a smaller t, and every smaller even k with any t, breaks one."""
    share = Fraction(1, 20)
    assert conditions(n, k, t, share, share) == (True, True, True)
    assert not conditions(n, k, t - 1, share, share)[0]
    for smaller in range(k - 6, k, 2):
        assert not any(all(conditions(n, smaller, t_, share, share)) for t_ in range(1, smaller + 1))


@pytest.mark.parametrize(("n", "k", "t"), FIGURES)
def test_figures_agree_with_scipy(n: int, k: int, t: int) -> None:
    corrupt = dropped = n // 20
    secrecy = n * hypergeom.sf(t - 1, n - 1, corrupt, k)
    completion = n * hypergeom.cdf(t - 1, n - 1, n - 1 - dropped, k)
    assert secrecy <= 2.0**-40 < n * hypergeom.sf(t - 2, n - 1, corrupt, k)
    assert completion <= 2.0**-30
    run = float(n)
    for a in range(k // 2):
        run *= (corrupt + dropped - a) / (n - a)
    assert run <= 2.0**-40


@pytest.mark.parametrize(
    ("gamma", "delta"), [(0, 0), (10_000, 100_000), (100_000, 10_000), (50_000, 50_000), (3_333, 66_667)]
)
@pytest.mark.parametrize("n", [30, 77, 128, 300])
def test_degree_agrees_with_the_second_derivation(n: int, gamma: int, delta: int) -> None:
    """For other fractions, too: the result keeps the inequalities, and None means that no sparse graph does."""
    found = graph.degree(n, gamma, delta)
    shares = Fraction(gamma, PPM), Fraction(delta, PPM)
    if gamma * n < PPM:
        assert found is None  # no corrupt client expected: too few for a sparse graph
        return
    if found is None:
        k = (n - 2) // 2 * 2
        assert not any(all(conditions(n, k, t, *shares)) for t in range(2, k + 1))
        return
    k, t = found
    assert conditions(n, k, t, *shares) == (True, True, True)
    assert t == 2 or not conditions(n, k, t - 1, *shares)[0]
    assert k == 2 or not any(all(conditions(n, k - 2, t_, *shares)) for t_ in range(2, k - 1))


def test_sparse_conditions_refuse_what_is_no_graph() -> None:
    for k, t in ((3, 2), (22, 0), (22, 23), (100, 6), (0, 0), (-2, 1)):
        assert not graph.sparse_conditions(100, k, t, 50_000, 50_000)
    assert graph.sparse_conditions(100, 22, 6, 50_000, 50_000)
    assert not graph.sparse_conditions(100, 22, 5, 50_000, 50_000)
    assert not graph.sparse_conditions(100, 22, 20, 50_000, 50_000)
    assert not graph.sparse_conditions(100, 22, 6, 100_000, 50_000)
    assert not graph.sparse_conditions(100, 22, 6, 50_000, 400_000)


def test_few_clients_fall_back_to_the_complete_graph() -> None:
    assert graph.degree(10, 200_000, 200_000) is None
    assert graph.degree(4, 300_000, 300_000) is None


def test_order_is_a_permutation_that_follows_from_the_hash() -> None:
    """Derived a second time: the p-th word of SHAKE-256 over the length-prefixed label and hash, little endian."""
    order, position = graph.order(bytes(32), 50)
    assert sorted(order.tolist()) == list(range(50))
    stream = shake_256(b"\x15" + bytes(7) + b"privcomp-secagg-order" + b"\x20" + bytes(7) + bytes(32)).digest(400)
    words = [int.from_bytes(stream[8 * p : 8 * p + 8], "little") for p in range(50)]
    assert order.tolist() == sorted(range(50), key=words.__getitem__)
    assert position[order].tolist() == list(range(50))
    assert graph.order(b"\1" * 32, 50)[0].tolist() != order.tolist()
    assert sorted(graph.order(bytes(32), 51)[0].tolist()) == list(range(51))
    for shared in (order, position):
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1  # other parties of a simulation hold the same array


def test_no_place_stands_beside_another_more_often_than_chance_has_it() -> None:
    """10,000 orders of 20: each pair is adjacent in 2 / 19 of them (chi-squared over the 190 pairs)."""
    counts = np.zeros((20, 20), dtype=np.int64)
    for trial in range(10_000):
        cycle = graph.order.__wrapped__(trial.to_bytes(32, "big"), 20)[0]
        counts[cycle, np.roll(cycle, 1)] += 1
    pairs = (counts + counts.T)[np.triu_indices(20, 1)]
    expected = 10_000 * 2 / 19
    assert ((pairs - expected) ** 2 / expected).sum() < 300  # 190 - 1 expected; 300 is beyond six sigma


@pytest.mark.parametrize(("n", "k"), [(5, 2), (6, 2), (9, 4), (10, 4), (60, 14)])
def test_neighbours_are_symmetric_k_on_a_ring(n: int, k: int) -> None:
    cycle, position = graph.order(b"\2" * 32, n)
    near = {place: graph.neighbours(cycle, int(position[place]), k) for place in range(n)}
    for place, others in near.items():
        assert len(others) == k
        assert place not in others
        assert all(place in near[other] for other in others)
    assert graph.neighbours(cycle, int(position[0]), n - 1) == frozenset(range(1, n))


def around(cycle: Iterable[int], k: int, position: int) -> frozenset[int]:
    """Neighbours for plain lists."""
    return graph.neighbours(np.array(list(cycle), dtype=np.uint32), position, k)


def cut(cycle: Iterable[int], k: int, survivors: Iterable[int], gamma_ppm: int) -> float:
    """The bound for plain lists."""
    places = np.array(list(cycle), dtype=np.uint32)
    inside = np.isin(np.arange(len(places)), list(survivors))
    return graph.window_cut_probability(places, k, inside, gamma_ppm)


def test_window_bound_counts_windows_without_a_survivor_in_full() -> None:
    """A gap of k/2 places is a cut for certain: the bound is at least 1 there, whatever gamma is."""
    n, k = 100, 22
    cycle = tuple(range(n))
    everybody = frozenset(range(n))
    assert cut(cycle, k, everybody, 50_000) == 0.0  # 11 places, 5 corrupt: never all of them
    assert cut(cycle, k, everybody - frozenset(range(11)), 50_000) >= 1.0
    assert cut(cycle, k, everybody - frozenset(range(10)), 50_000) < 1.0
    around = frozenset((*range(95, 100), *range(6)))
    assert cut(cycle, k, everybody - around, 50_000) >= 1.0


def test_window_bound_is_the_stated_sum() -> None:
    """Sum over the n windows of prod (G - a) / (n - a), a below the number of survivors in the window."""
    n, k, gamma = 40, 8, 200_000
    rng = np.random.default_rng(5)
    corrupt = gamma * n // PPM
    for _ in range(20):
        cycle = tuple(int(x) for x in rng.permutation(n))
        survivors = frozenset(int(x) for x in np.flatnonzero(rng.random(n) < 0.8))
        total = Fraction(0)
        for start in range(n):
            m = sum(cycle[(start + a) % n] in survivors for a in range(k // 2))
            term = Fraction(1)
            for a in range(m):
                term *= Fraction(max(0, corrupt - a), n - a)
            total += term
        assert cut(cycle, k, survivors, gamma) == pytest.approx(float(total), rel=1e-12)


def test_the_ring_of_the_rule_falls_into_two_parts() -> None:
    """Ring n = 10, k = 4, U = {0,1,2,5,6,7}: all keep two neighbours, and the sum still splits. The bound sees it."""
    cycle, k = tuple(range(10)), 4
    survivors = frozenset((0, 1, 2, 5, 6, 7))
    assert all(len(around(cycle, k, i) & survivors) >= 2 for i in survivors)
    assert cut(cycle, k, survivors, 0) >= 1.0


def test_the_window_bound_covers_every_cut_of_small_rings() -> None:
    """Exhaustive, n = 8, k = 4: whenever the survivors are disconnected, some window holds none of them."""
    n, k = 8, 4
    cycle = tuple(range(n))
    near = [around(cycle, k, i) for i in range(n)]
    for size in range(2, n + 1):
        for members in combinations(range(n), size):
            u = frozenset(members)
            part, new = {members[0]}, {members[0]}
            while new:
                new = {j for i in new for j in near[i] & u} - part
                part |= new
            if part != u:
                assert cut(cycle, k, u, 0) >= 1.0


@pytest.mark.parametrize(
    ("gamma", "delta"),
    [(250_000, 250_000), (400_000, 100_000), (100_000, 400_000), (1, 499_999), (499_999, 1), (500_000, 0)],
)
def test_announced_fractions_cannot_cause_unbounded_work(gamma: int, delta: int) -> None:
    """The largest round, any allowed fractions: seconds, and no degree beyond the bound."""
    start = time.process_time()
    found = graph.degree.__wrapped__(1 << 20, gamma, delta)
    assert time.process_time() - start < 20
    assert found is None or found[0] <= graph.MAX_DEGREE


@pytest.mark.parametrize("n", [600, 3_000])
def test_the_degree_is_bounded_by_the_complete_graph(n: int) -> None:
    """Fractions that Params refuses: the search ends at MAX_DEGREE, however it is called."""
    start = time.process_time()
    assert graph.degree.__wrapped__(n, 499_999, 499_999) is None
    assert time.process_time() - start < 20

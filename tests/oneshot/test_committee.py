"""Committees: the three conditions, the sizes, the draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from privcomp.errors import CodecError, ParameterError
from privcomp.keys import Identity, Roster
from privcomp.oneshot import Committee, size_committee
from privcomp.oneshot.committee import completes, draw, quorum, sampling_is_safe
from tests.reference.oneshot import binomial_below, hypergeometric_tail

LISTED = [(b"member-%d" % k, Identity.from_seed(bytes([k + 1]) * 32).public) for k in range(10)]

#: n, gamma, delta in percent -> c, t_p, rho, T, Q
SIZES = {
    (1_000, 5, 5): (48, 17, 15, 32, 33),
    (1_000, 5, 10): (76, 21, 27, 48, 49),
    (1_000, 10, 5): (61, 26, 17, 43, 44),
    (1_000, 10, 10): (96, 33, 31, 64, 65),
    (1_000, 20, 5): (89, 46, 21, 67, 68),
    (1_000, 20, 10): (140, 61, 39, 100, 101),
    (1_000, 33, 5): (134, 81, 26, 107, 108),
    (100, 5, 5): (30, 5, 12, 17, 18),
    (100, 5, 10): (46, 5, 20, 25, 26),
    (100, 10, 5): (39, 10, 14, 24, 25),
    (100, 20, 10): (73, 20, 26, 46, 47),
    (100, 33, 5): (72, 33, 19, 52, 53),
    (10_000, 5, 5): (52, 19, 16, 35, 36),
    (10_000, 20, 5): (91, 48, 21, 69, 70),
}


@pytest.mark.parametrize(("case", "expected"), SIZES.items())
def test_sizes_are_those_of_the_table(case: tuple[int, int, int], expected: tuple[int, ...]) -> None:
    n, gamma, delta = case
    size = size_committee(n, gamma * 10_000, delta * 10_000)
    assert (size.members, size.privacy, size.packing, size.reconstruct, size.quorum) == expected


@pytest.mark.assurance
@pytest.mark.parametrize(
    ("case", "expected"),
    [((1_000, 33, 10), (230, 121, 54, 175, 176)), ((10_000, 33, 10), (255, 138, 58, 196, 197))],
)
def test_large_sizes_are_those_of_the_table(case: tuple[int, int, int], expected: tuple[int, ...]) -> None:
    test_sizes_are_those_of_the_table(case, expected)


def test_the_least_bytes_are_those_of_the_table() -> None:
    size = size_committee(1_000, 50_000, 50_000, least="bytes")
    assert (size.members, size.privacy, size.packing, size.reconstruct, size.upload_bytes) == (69, 20, 30, 50, 19486)
    assert size_committee(1_000, 50_000, 50_000).upload_bytes == 21224


def test_conditions_are_the_exact_probabilities() -> None:
    for n, gamma, c in ((40, 100_000, 12), (200, 50_000, 20), (1_000, 200_000, 30)):
        corrupt = gamma * n // 1_000_000
        for t in range(c):
            exact = hypergeometric_tail(n, corrupt, c, t) <= Fraction(1, 1 << 40)
            assert sampling_is_safe(n, gamma, c, t) == exact, (n, gamma, c, t)
    for c, delta in ((10, 50_000), (48, 50_000), (30, 100_000)):
        for needed in range(c + 1):
            exact = binomial_below(c, 1 - Fraction(delta, 1_000_000), needed) <= Fraction(1, 1 << 30)
            assert completes(c, needed, delta) == exact, (c, delta, needed)


def test_conditions_take_exact_numbers_only() -> None:
    """NumPy's integers wrap: with one, 2 of 12 members drawn from 26 nodes, 8 of them corrupt, once passed for safe."""
    assert not sampling_is_safe(26, 333_333, 12, 1)
    for numbers in ((26, np.int64(333_333), 12, 1), (26, 333_333.0, 12, 1), (26, 333_333, 12, True)):
        with pytest.raises(ParameterError, match="an int is needed"):
            sampling_is_safe(*numbers)
    with pytest.raises(ParameterError, match="an int is needed"):
        completes(100, 99, np.int64(1))
    with pytest.raises(ParameterError, match="an int is needed"):
        size_committee(100, np.int64(50_000), 50_000)


def test_a_found_size_meets_all_conditions_and_none_below_does() -> None:
    size = size_committee(300, 100_000, 50_000)
    assert sampling_is_safe(300, 100_000, size.members, size.privacy)
    assert not sampling_is_safe(300, 100_000, size.members, size.privacy - 1)
    need = max(size.reconstruct + 1, size.quorum)
    assert completes(size.members, need, 50_000)
    assert not completes(size.members, need + 1, 50_000)
    assert 2 * size.quorum > size.members + size.privacy
    with pytest.raises(ParameterError, match="no committee of 12 clients withstands"):
        size_committee(12, 330_000, 100_000)
    with pytest.raises(ParameterError, match="'members' and 'bytes'"):
        size_committee(100, 50_000, 50_000, least="cost")


@pytest.mark.parametrize(
    ("c", "privacy", "packing", "reconstruct", "q", "absent"),
    [(5, 1, 2, 3, 4, 1), (10, 3, 4, 7, 8, 2), (20, 6, 8, 14, 15, 5), (50, 16, 16, 32, 34, 16)],
)
def test_named_committees_of_the_table(
    c: int, privacy: int, packing: int, reconstruct: int, q: int, absent: int
) -> None:
    listed = [(b"m%03d" % k, Identity.from_seed((k + 1).to_bytes(32, "big")).public) for k in range(c)]
    committee = Committee.named(listed, privacy, packing)
    assert (committee.reconstruct, committee.quorum, c - committee.needed) == (reconstruct, q, absent)
    assert committee.release + committee.quorum == c + privacy + 1
    assert Committee.from_bytes(committee.to_bytes(), max_bytes=1 << 16) == committee
    assert "32 members" not in committee.could_open
    assert f"{privacy + 1} members and the server" in committee.could_open


def test_two_quorums_and_a_quorum_and_a_close_always_share_an_honest_member() -> None:
    for c in range(2, 60):
        for t in range(1, c):
            for packing in range(1, c - t):
                q = quorum(c, t, packing)
                assert 2 * q > c + t
                assert q + (c + t - q + 1) > c + t
                assert q >= t + packing + 1


def test_the_draw_follows_from_roster_and_beacon_and_is_uniform() -> None:
    keys = {b"%03d" % k: Identity.from_seed((k + 1).to_bytes(32, "big")).public for k in range(12)}
    roster = Roster.of(keys)
    first = draw(roster, b"beacon", 5)
    assert draw(roster, b"beacon", 5) == first
    assert draw(roster, b"beacon", 3) != first[:3] or draw(roster, b"other", 5) != first
    assert len(set(first)) == 5
    other = Roster.of({**keys, b"999": Identity.from_seed(b"x" * 32).public})
    assert draw(other, b"beacon", 5) != first
    counts = Counter(party for k in range(1200) for party in draw(roster, b"%d" % k, 3))
    assert sum((counts[party] - 300) ** 2 / 300 for party in keys) < 45  # chi-square, 11 degrees: 1 - 1e-5
    places = Counter(draw(roster, b"%d" % k, 1)[0] for k in range(1200))
    assert sum((places[party] - 100) ** 2 / 100 for party in keys) < 40
    assert set(draw(roster, b"all", 12)) == set(keys)
    for members, beacon in ((0, b"b"), (13, b"b"), (3, b"")):
        with pytest.raises(ParameterError):
            draw(roster, beacon, members)


def test_a_sampled_committee_is_the_draw() -> None:
    roster = Roster.of(dict(LISTED))
    committee = Committee.sampled(roster, b"beacon", 7, 2, 2)
    assert committee.ids == draw(roster, b"beacon", 7)
    assert all(roster.public(party) == public for party, public in committee.members)
    with pytest.raises(ParameterError, match="has a beacon"):
        replace(committee, beacon=b"")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "elected"}, "allowed are 'named'"),
        ({"beacon": b"b"}, "has a beacon"),
        ({"privacy": 0}, "with t_p = 0"),
        ({"packing": 0}, "with t_p = 0|rho >= 1"),
        ({"quorum": 7}, "condition"),
        ({"quorum": 9}, "condition"),
        ({"packing": 7, "quorum": 11}, "11 members must answer"),
        ({"members": tuple(LISTED[:1])}, "single key-holder"),
        ({"members": (*LISTED[:9], LISTED[0])}, "comes twice"),
        ({"members": (*LISTED[:9], (b"new", LISTED[0][1]))}, "same public key"),
        ({"members": (*LISTED[:9], (b"new", bytes(32)))}, "low order"),
        ({"members": (*LISTED[:9], (b"", LISTED[9][1]))}, "1 to 64 bytes"),
        ({"kind": "single"}, "c = 1"),
    ],
)
def test_a_committee_that_breaks_a_condition_is_refused(changes: dict[str, object], text: str) -> None:
    good = Committee.named(LISTED, 3, 4)
    with pytest.raises(ParameterError, match=text):
        replace(good, **changes)  # type: ignore[arg-type]


def test_a_single_key_holder_says_what_it_could_open() -> None:
    single = Committee.single(*LISTED[0])
    assert single.is_single
    assert single.could_open == "the key-holder and the server together could open every single update"
    assert (single.needed, single.release) == (1, 1)


def test_the_hash_covers_members_order_and_numbers() -> None:
    base = Committee.named(LISTED, 3, 4)
    others = [
        Committee.named(LISTED[::-1], 3, 4),
        Committee.named(LISTED[:9], 3, 4),
        Committee.named(LISTED, 2, 4),
        Committee.named(LISTED, 3, 3),
        Committee.named([(b"other", LISTED[0][1]), *LISTED[1:]], 3, 4),
    ]
    assert len({c.hash for c in (base, *others)}) == 6
    with pytest.raises(CodecError):
        Committee.from_bytes(base.to_bytes()[:-1], max_bytes=1 << 16)

"""Parameters: validated once, canonical, and no combination that does not add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.errors import CodecError, ParameterError
from privcomp.secagg import BONAWITZ, MALICIOUS, SECAGGPLUS, SEMI_HONEST, Params, Segment, Server
from tests.secagg.harness import ELL, SESSION, TRAINING, World, forge

GOOD = Params(BONAWITZ, MALICIOUS, (Segment.ring(26, 100), Segment.prime(ELL, 3)), 3, 12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 0}, "version 0"),
        ({"protocol": "plain"}, "protocol 'plain'"),
        ({"adversary": "none"}, "adversary 'none'"),
        ({"protocol": SECAGGPLUS}, "not offered"),
        ({"segments": ()}, "nothing to sum"),
        ({"cipher": 0}, "cipher 0"),
        ({"clients": 2}, "clients = 2"),
        ({"clients": (1 << 20) + 1}, "clients ="),
        ({"honest_survivors": 1}, "honest_survivors < 2"),
        ({"gamma_ppm": 500_000}, "one half"),
        ({"delta_ppm": 500_000}, "one half"),
        ({"gamma_ppm": 250_000, "delta_ppm": 250_001}, "one half"),
        ({"gamma_ppm": (1 << 32) - 1, "delta_ppm": (1 << 32) - 1}, "one half"),
        ({"attachment_bytes": (1 << 26) + 1}, "attachment_bytes"),
        ({"block_entries": 0}, "block_entries"),
        ({"block_entries": 65}, "block_entries"),
        ({"block_entries": 1 << 25}, "block_entries"),
        ({"threshold": 7}, "the least allowed is 8"),
        ({"threshold": 12}, "needs 13 clients"),
        ({"corrupt": 11}, "lower c"),
        ({"corrupt": 12}, "lower c"),
    ],
)
def test_what_does_not_add_up_is_refused_locally_and_on_the_wire(change: dict[str, Any], text: str) -> None:
    """ParameterError for who writes it, CodecError for who receives it: the same check, the same text."""
    with pytest.raises(ParameterError, match=text):
        replace(GOOD, **change)
    with pytest.raises(CodecError, match=text):
        Params.from_bytes(forge(Params, GOOD, **change).to_bytes(), max_bytes=1 << 16)


@pytest.mark.parametrize(
    "fields",
    [
        (0, 0, b"", 5),
        (0, 65, b"", 5),
        (0, 8, bytes(32), 5),
        (0, 8, b"", 0),
        (0, 8, b"", (1 << 40) + 1),
        (2, 8, b"", 5),
        (1, 8, ELL.to_bytes(32, "little"), 5),
        (1, 0, b"", 5),
        (1, 0, (15).to_bytes(32, "little"), 5),
        (1, 0, (2**31 - 1).to_bytes(32, "little"), 5),
        (1, 0, (ELL * 3 % 2**256 | 1).to_bytes(32, "little"), 5),
        (1, 0, (2**255).to_bytes(32, "little"), 5),
    ],
)
def test_malformed_segments(fields: tuple[Any, ...]) -> None:
    with pytest.raises(ParameterError):
        Segment(*fields)


def test_prime_moduli_are_those_of_32_bytes() -> None:
    assert Segment.prime(ELL, 1).packed_bytes(3) == 96
    assert Segment.prime(2**61 - 1, 1).itemsize == 64
    for modulus in (0, -7, 2**256 + 297):
        with pytest.raises(ParameterError):
            Segment.prime(modulus, 1)
    with pytest.raises(ParameterError, match="must be a prime"):
        Segment.prime(561 * (2**40 + 15), 1)


@pytest.mark.parametrize("bits", [1, 7, 8, 26, 32, 33, 63, 64])
def test_ring_segments_are_packed_to_their_bits(bits: int) -> None:
    segment = Segment.ring(bits, 1000)
    assert segment.packed_bytes(1000) == -(-1000 * bits // 8)
    assert segment.itemsize == (4 if bits <= 32 else 8)


def test_bytes_are_canonical() -> None:
    data = GOOD.to_bytes()
    assert Params.from_bytes(data, max_bytes=1 << 16) == GOOD
    for cut in range(len(data)):
        with pytest.raises(CodecError):
            Params.from_bytes(data[:cut], max_bytes=1 << 16)
    with pytest.raises(CodecError):
        Params.from_bytes(data + b"\0", max_bytes=1 << 16)


@given(n=st.integers(3, 400), c=st.integers(0, 400))
def test_thresholds_against_a_malicious_server(n: int, c: int) -> None:
    """2t > n + c, 2q > n + c, t <= n - 1, and no smaller t or q would do."""
    try:
        found = Params(BONAWITZ, MALICIOUS, GOOD.segments, c, n).thresholds(n)
    except ParameterError:
        assert (n + c) // 2 + 1 > n - 1
        return
    assert 2 * found.threshold > n + c >= 2 * (found.threshold - 1)
    assert found.quorum == found.threshold
    assert found.threshold + found.quorum >= n + c  # what the argument uses
    assert found.neighbours == n - 1 >= found.threshold
    assert found.complete


@given(n=st.integers(3, 400), c=st.integers(0, 400))
def test_thresholds_against_a_semi_honest_server(n: int, c: int) -> None:
    """t > c, and 2t >= n so that no two disjoint groups of holders exist; no quorum."""
    try:
        found = Params(BONAWITZ, SEMI_HONEST, GOOD.segments, c, n).thresholds(n)
    except ParameterError:
        assert c + 1 > n - 1
        return
    assert found.threshold == max(c + 1, -(-n // 2))
    assert found.quorum == 0


def test_thresholds_follow_the_actual_number_of_clients() -> None:
    """t = 0 means: the least for |U1|; an explicit t that is too low for |U1| is refused, a higher one stands."""
    assert GOOD.thresholds(12).threshold == 8
    assert GOOD.thresholds(9).threshold == 7
    with pytest.raises(ParameterError):
        GOOD.thresholds(5)
    fixed = replace(GOOD, threshold=9)
    assert fixed.thresholds(11).threshold == 9
    with pytest.raises(ParameterError, match="needs 10 clients"):
        fixed.thresholds(9)


def test_few_clients_of_secaggplus_are_the_complete_graph() -> None:
    few = Params(SECAGGPLUS, SEMI_HONEST, GOOD.segments, 0, 10, gamma_ppm=200_000, delta_ppm=200_000)
    assert few.thresholds(10).complete
    many = Params(SECAGGPLUS, SEMI_HONEST, GOOD.segments, 0, 1000)
    assert (many.thresholds(1000).neighbours, many.thresholds(1000).threshold) == (34, 18)
    with pytest.raises(ParameterError, match="breaks the conditions of the graph; the least is 18"):
        replace(many, threshold=17)
    assert replace(many, threshold=19).thresholds(1000).threshold == 19


def test_a_server_wants_a_roster_that_fits() -> None:
    world = World(4)
    options: dict[str, Any] = {"session": SESSION, "round": 1, "purpose": TRAINING, "model": b""}
    with pytest.raises(ParameterError, match="needs a roster"):
        Server(world.params, roster=None, **options)
    with pytest.raises(ParameterError, match="c = 4 corrupt clients of a roster of 4"):
        Server(replace(GOOD, corrupt=4, clients=12), roster=world.roster, **options)
    with pytest.raises(ParameterError):
        _ = Server(world.params, roster=world.roster, **{**options, "session": b"short"}).announcement

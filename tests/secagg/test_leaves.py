"""The packed key list, and sets of places: checked by array operations, against plain Python."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.errors import CodecError, RemoteError
from privcomp.secagg import SECAGGPLUS, SEMI_HONEST, Segment
from privcomp.secagg.leaves import Leaves, pack_leaves
from privcomp.secagg.messages import Places, bitmap, members
from privcomp.secagg.server import Outbox
from tests.secagg.harness import World, decode, refused

#: Ids that are hard to order: prefixes of one another, zeros inside and at the end.
IDS = st.binary(min_size=1, max_size=4) | st.text("\0a", min_size=1, max_size=64).map(str.encode)


def hashed(ids: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(party, bytes([k]) * 32) for k, party in enumerate(ids)]


@given(st.lists(IDS, min_size=1, max_size=12, unique=True))
def test_a_list_comes_back(ids: list[bytes]) -> None:
    ids = sorted(ids)
    leaves = Leaves(pack_leaves(hashed(ids)), 12)
    assert [(leaves.id(p), leaves.hash(p)) for p in range(leaves.n)] == hashed(ids)
    assert [leaves.place(party) for party in ids] == list(range(len(ids)))
    assert leaves.place(max(ids) + b"x") is None
    assert leaves.place(b"\0" * 65) is None


@given(st.lists(IDS, min_size=2, max_size=8))
def test_only_strictly_ascending_lists_are_accepted(ids: list[bytes]) -> None:
    packed = pack_leaves(hashed(ids))
    if all(a < b for a, b in pairwise(ids)):
        assert Leaves(packed, 8).n == len(ids)
    else:
        with pytest.raises(CodecError, match="strictly ascending"):
            Leaves(packed, 8)


@given(st.lists(IDS, min_size=1, max_size=5, unique=True), st.data())
def test_what_is_accepted_is_packed_again_to_the_same_bytes(ids: list[bytes], data: st.DataObject) -> None:
    """Any change of a byte is either refused or another list: no list has two regions."""
    packed = bytearray(pack_leaves(hashed(sorted(ids))))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        leaves = Leaves(bytes(packed), 5)
    except CodecError:
        return
    assert pack_leaves((leaves.id(p), leaves.hash(p)) for p in range(leaves.n)) == packed


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"", "no packed list"),
        (b"\0", "no packed list"),
        (b"\0" + bytes(33), "no packed list"),
        (b"\x41" + b"a" * 65 + b"\x41" + bytes(32), "no packed list"),
        (pack_leaves([(b"a", bytes(32))])[:-1], "no packed list"),
        (pack_leaves([(b"a", bytes(32))]) + b"\0", "no packed list"),
        (b"\1", "not packed canonically"),  # nobody is listed: the longest id has no length
        (b"\2a\0\1" + bytes(32), "not packed canonically"),  # wider than the longest id
        (b"\2\0\0\0" + bytes(32), "not packed canonically"),  # an id of no bytes
        (b"\1a\2" + bytes(32), "not packed canonically"),  # longer than the width
        (b"\2az\1" + bytes(32) + b"bc\2" + bytes(32), "not packed canonically"),  # padded with something
        (pack_leaves(hashed([b"%d" % k for k in range(6)])), "6 clients are listed, the encoding is safe for 5"),
    ],
)
def test_refused(packed: bytes, text: str) -> None:
    with pytest.raises(CodecError, match=text):
        Leaves(packed, 5)


@given(st.integers(1, 70).flatmap(lambda n: st.tuples(st.just(n), *[st.frozensets(st.integers(0, n - 1))] * 2)))
def test_places_are_the_set(drawn: tuple[int, frozenset[int], frozenset[int]]) -> None:
    n, a, b = drawn
    assert bitmap(a, n) == sum(1 << p for p in a).to_bytes((n + 7) // 8, "little")
    x, y = members(bitmap(a, n), n), members(bitmap(b, n), n)
    assert x is not None
    assert y is not None
    assert x == a
    assert a == x
    assert list(x) == sorted(a)
    assert (x <= y, x == y, len(x)) == (a <= b, a == b, len(a))
    assert a & y == a & b
    assert x <= a | b
    assert [p in x for p in range(-9, n + 9)] == [p in a for p in range(-9, n + 9)]
    assert "0" not in x
    assert np.flatnonzero(x.flags(n)).tolist() == sorted(a)


@pytest.mark.parametrize(("bits", "n"), [(b"", 1), (b"\0\0", 8), (b"\0", 9), (b"\2", 1), (b"\x80", 7), (b"\0\1", 8)])
def test_a_set_has_one_bitmap(bits: bytes, n: int) -> None:
    assert members(bits, n) is None


def test_places_of_nobody() -> None:
    assert list(Places(b"")) == []
    assert members(b"", 0) == frozenset()


@pytest.mark.parametrize("entries", [3, 500])
def test_a_client_keeps_its_neighbours_not_the_list_and_goes_on_after_restarts(entries: int) -> None:
    """Every client is a new process at every stage; what it has on disk does not hold the others of the list."""
    world = World(60, protocol=SECAGGPLUS, adversary=SEMI_HONEST, segments=(Segment.ring(16, entries),))
    round = world.round()
    for stage in ("share", "mask", "unmask"):
        round.run_to(stage)
        for node in world.nodes:
            node.restart()
    directory = round.server.directory
    for node in world.nodes:
        stored = node.journal.secrets(round.server.context.digest)
        assert stored is not None
        place = directory.place[node.id]
        near = directory.neighbours(place) | {place}
        assert [p for p in range(60) if directory.entries[p].signature in stored] == sorted(near)
        assert [p for p in range(60) if directory.ids[p] in stored] == sorted(near)
    round.finish()


def test_the_entries_of_a_sparse_list_come_in_order() -> None:
    """They are stored in that order, so that a restarted client takes each for the neighbour that it is."""
    world = World(60, protocol=SECAGGPLUS, adversary=SEMI_HONEST, segments=(Segment.ring(16, 3),))
    round = world.round().run_to("share")
    honest = decode(round.request(0))
    with refused(world[0], RemoteError, "not those of this client and its neighbours"):
        world[0].receive(replace(honest, entries=honest.entries[::-1]).to_bytes())
    round.finish()


def test_messages_are_built_when_they_are_asked_for() -> None:
    built: list[bytes] = []

    def build(party: bytes) -> tuple[bytes, ...]:
        built.append(party)
        return b"for ", party

    outbox = Outbox([b"b", b"a"], build)
    assert (len(outbox), list(outbox), b"a" in outbox, b"c" in outbox) == (2, [b"b", b"a"], True, False)
    assert not built
    assert dict(outbox) == {b"a": b"for a", b"b": b"for b"}
    assert "2 messages" in repr(outbox)
    assert outbox.parts(b"a") == (b"for ", b"a")
    with pytest.raises(KeyError):
        outbox[b"c"]
    assert built == [b"b", b"a", b"a"]


@pytest.mark.parametrize(("stage", "shared"), [("share", 1), ("mask", 1)])
def test_requests_share_what_is_large(stage: str, shared: int) -> None:
    """A transport that has the requests of all clients under way holds key list and model once."""
    world = World(60, protocol=SECAGGPLUS, adversary=SEMI_HONEST, segments=(Segment.ring(16, 3),))
    round = world.round()
    outboxes: list[Outbox] = []
    advance = round.server.advance

    def kept() -> Outbox:
        outboxes.append(advance())
        return outboxes[-1]

    round.server.advance = kept  # type: ignore[method-assign]
    round.run_to(stage)
    outbox, (a, b) = outboxes[-1], [world[k].id for k in (0, 1)]
    assert outbox.parts(a)[shared] is outbox.parts(b)[shared]
    assert outbox[a] == decode(outbox[a]).to_bytes() != outbox[b]
    round.finish()

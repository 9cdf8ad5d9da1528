"""Clients share once; servers agree on whose shares they compute on, or end the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from privcomp.codec import digest
from privcomp.errors import (
    EncodingError,
    JournalError,
    ParameterError,
    PolicyError,
    PrivcompError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.mpc import clients
from privcomp.mpc.backend import ReplicatedBackend
from privcomp.mpc.client_messages import ClientUpload, ForwardedShares, ReceivedReport
from privcomp.mpc.clients import ClientShares, Collector, MpcClient, agree, components_of, parties_of
from privcomp.mpc.robust import Krum, Mean, MultiKrum, Release, TrimmedMean, Updates, aggregate, contributions, terms
from privcomp.policy import Policy
from privcomp.secagg import Client as SecaggClient
from privcomp.secagg import Params as SecaggParams
from privcomp.secagg import Segment
from privcomp.secagg import Server as SecaggServer
from tests.mpc.robust_driver import POLICY, Ints, World, drive, parties, seeded, world
from tests.reference import robust as plain

PROTOCOLS = ("rep3", "rep4")


def matrix(n: int, d: int, width: int) -> Ints:
    top = 2 ** (width - 1) - 1
    x = np.random.default_rng([n, d, width]).integers(-top, top, (n, d), endpoint=True)
    x[0], x[-1] = top, -top
    return x


def settle(of: World, *, clients_min: int = 1, after: Callable[..., Any] | None = None) -> list[Any]:
    """`agree` at every server; results, or errors, by server."""

    async def program(mpc: ReplicatedBackend) -> Any:
        shares = await agree(
            mpc, of.collectors[mpc.me], of.identities[mpc.me], of.journals[mpc.me], clients_min=clients_min
        )
        return shares if after is None else await after(mpc, shares)

    return drive(parties(of.collection.protocol, program, of.collection.ids))


def kept(results: list[Any]) -> tuple[bytes, ...]:
    """The list that all servers agree on."""
    for result in results:
        assert isinstance(result, ClientShares), result
        assert result.ids == results[0].ids
        assert result.dropped == results[0].dropped
        assert result.signatures == results[0].signatures
    ids: tuple[bytes, ...] = results[0].ids
    return ids


def opened(results: list[ClientShares]) -> Ints:
    """The updates behind the shares; where two servers hold a component they must hold the same."""
    shares = results[0]
    parts: dict[int, Any] = {}
    for server, result in enumerate(results):
        block = result.block(0, result.entries)
        for component, part in zip(components_of(shares.collection.protocol, server), block.parts, strict=True):
            assert (parts.setdefault(component, part) == part).all()
    total = np.sum(list(parts.values()), axis=0, dtype=np.uint64)
    width = np.uint64(shares.width)
    return (total << (np.uint64(64) - width)).view(np.int64) >> (64 - int(width))


# ---- sharing ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("width", "entries"), [(2, 1), (3, 13), (12, 77), (31, 8), (32, 9), (33, 21), (48, 10)])
def test_servers_hold_shares_of_what_clients_sent(protocol: str, width: int, entries: int) -> None:
    x = matrix(5, entries, width)
    of = world(protocol, 5, width, entries)
    of.send(of.uploads(x))
    results = settle(of)
    assert kept(results) == tuple(b"client-%02d" % i for i in range(5))
    assert (opened(results) == x).all()
    shares = results[0]
    for start in range(0, entries, 8):
        stop = min(start + 8, entries)
        whole, part = shares.block(0, entries), shares.block(start, stop)
        assert all((a[:, start:stop] == b).all() for a, b in zip(whole.parts, part.parts, strict=True))
    for start, stop in ((1, entries), (0, entries + 1), (8, 8), (-8, entries)):
        with pytest.raises(ParameterError):
            shares.block(start, stop)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_upload_takes_one_vector_and_seeds(protocol: str) -> None:
    of = world(protocol, 3, 16, 1000)
    uploads = of.uploads(matrix(3, 1000, 16))[0]
    for server, data in enumerate(uploads):
        vectors = parties_of(protocol) - 1 in components_of(protocol, server)
        assert len(data) < 2000 * vectors + 700


def test_an_upload_is_sent_again_byte_for_byte_whatever_the_update_is_now() -> None:
    of = world("rep3", 3, 8, 4)
    first, again = of.uploads(matrix(3, 4, 8)), of.uploads(np.zeros((3, 4), np.int64))
    assert first == again
    other = replace(of.collection, model_hash=b"n" * 32)
    assert of.clients[0].upload(other, np.zeros(4, np.int64)) != tuple(first[0])


def test_one_model_is_collected_on_once() -> None:
    """Two aggregates of the same updates differ by the clients in which their lists differ."""
    of = world("rep3", 3, 8, 4)
    zero = np.zeros(4, np.int64)
    client = of.clients[0]
    client.upload(of.collection, zero)
    for change in ({"session": b"t" * 32}, {"round": 1}, {"terms": b"other"}, {"purpose": "evaluation"}):
        with pytest.raises(JournalError, match="very model"):
            client.upload(replace(of.collection, **change), zero)
    # An entry of any other protocol on this model counts as well.
    other = of.clients[1]
    other._journal.append(
        protocol="bonawitz",
        session=bytes(32),
        round=0,
        purpose="training",
        model_hash=of.collection.model_hash,
        round_digest=bytes(32),
        stage=2,
        request=bytes(32),
        messages=[],
        secrets=None,
    )
    with pytest.raises(JournalError, match="very model"):
        other.upload(of.collection, zero)
    other.policy = replace(POLICY, same_model_reentries=(("training", 1),))
    assert other.upload(of.collection, zero)


def test_a_model_that_was_shared_among_servers_is_closed_for_interactive_rounds() -> None:
    model = b"model"
    of = world("rep3", 3, 8, 4)
    node, roster = of.clients[0], of.collection.clients
    params = SecaggParams("bonawitz", "malicious", (Segment.ring(32, 3),), 0, 3)
    server = SecaggServer(params, session=bytes(32), round=1, purpose="training", model=model, roster=roster)
    client = SecaggClient(node.id, node._identity, Policy(corrupt=0), node._journal, roster)
    node.upload(replace(of.collection, model_hash=sha256(model).digest()), np.zeros(4, np.int64))
    with pytest.raises(JournalError, match="shared among servers"):
        client.advertise(server.announcement)


@pytest.mark.parametrize(
    "change",
    [
        {"protocols": ("bonawitz",)},
        {"adversary": "malicious"},
        {"purposes": ("statistics",)},
        {"clients_min": 4},
        {"entries_max": 3},
        {"roster_hash": bytes(32)},
        {"attestation": "required"},
        {"privacy": "required"},
    ],
)
def test_a_client_keeps_to_its_own_policy(change: dict[str, Any]) -> None:
    of = world("rep3", 3, 8, 4)
    client = of.clients[0]
    client.policy = replace(POLICY, **change)
    with pytest.raises(PolicyError):
        client.upload(of.collection, np.zeros(4, np.int64))
    client.policy = replace(POLICY, adversary="malicious")
    other = world("rep4", 3, 8, 4)
    assert client.upload(other.collection, np.zeros(4, np.int64))


def test_what_does_not_fit_is_refused_before_anything_is_journalled() -> None:
    of = world("rep3", 3, 8, 4)
    client = of.clients[0]
    for values in (
        np.array([0, 0, 0, 128]),
        np.array([0, 0, 0, -128]),
        np.zeros(5, np.int64),
        np.zeros((4, 1), np.int64),
        np.zeros(4, np.int32),
        np.zeros(4),
        [0, 0, 0, 0],
    ):
        with pytest.raises(EncodingError):
            client.upload(of.collection, values)  # type: ignore[arg-type]
    stranger = Identity.from_seed(bytes(32))
    posing = MpcClient(b"client-00", stranger, POLICY, MemoryJournal(stranger.public))
    with pytest.raises(ParameterError, match="roster"):
        posing.upload(of.collection, np.zeros(4, np.int64))
    with pytest.raises(ParameterError, match="journal"):
        MpcClient(b"client-00", Identity.from_seed(bytes(32)), POLICY, MemoryJournal(bytes(32)))
    identity = Identity.from_seed(bytes([1, 0]) + bytes(30))
    stuck = MpcClient(b"client-00", identity, POLICY, MemoryJournal(identity.public), rng=lambda n: bytes(3))
    with pytest.raises(ParameterError, match="rng"):
        stuck.upload(of.collection, np.zeros(4, np.int64))
    assert client.upload(of.collection, np.zeros(4, np.int64))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_one_server_holds_is_uniform_and_lacks_one_component(protocol: str) -> None:
    """chi^2 over the values of each component held; all entries are the same: alpha = 1e-6, 15 degrees."""
    of = world(protocol, 3, 4, 4000)
    x = np.full((3, 4000), 7)
    of.send(of.uploads(x))
    results = settle(of)
    for server in range(parties_of(protocol)):
        held = components_of(protocol, server)
        assert len(set(held)) == {"rep3": 2, "rep4": 3}[protocol]
        for part in results[server].block(0, 4000).parts:
            counts = np.bincount(part[2].astype(np.int64), minlength=16)
            assert ((counts - 250) ** 2 / 250).sum() < 57.0


def test_collections_that_make_no_sense_are_refused() -> None:
    of = world("rep3", 3, 8, 4).collection
    for change in (
        {"protocol": "shamir"},
        {"protocol": "rep4"},
        {"servers": (of.servers[0], of.servers[0], of.servers[1])},
        {"width": 1},
        {"width": 49},
        {"entries": 0},
        {"session": b"short"},
        {"model_hash": b""},
    ):
        with pytest.raises(ParameterError):
            replace(of, **change)
    seen = {
        replace(of, **change).digest
        for change in (
            {},
            {"terms": b"x"},
            {"round": 1},
            {"width": 9},
            {"entries": 5},
            {"session": b"t" * 32},
            {"purpose": "p"},
            {"model_hash": b"n" * 32},
            {"servers": (of.servers[1], of.servers[0], of.servers[2])},
            {"clients": Roster.of({b"x": of.servers[0][1]})},
        )
    }
    assert len(seen) == 10


# ---- hashes ----


def _guess(of: World, upload: ClientUpload, x: Ints, salt: bytes | None) -> bool:
    """Whether server 0, which holds components 0 and 1, can tell by h_2 that client 0 sent x."""
    mask = np.uint64((1 << of.collection.width) - 1)
    rest = x.astype(np.uint64)
    for share in upload.shares:
        key = of.collection._expand(upload.client, share.component, share.body)
        stream = np.zeros(x.size, np.uint32)
        clients._stream(stream, key, 0)
        rest -= stream
    body = clients._pack(rest & mask, of.collection.width)
    parts = (of.collection.digest, upload.client, bytes([2]), *([salt] if salt is not None else []), body)
    return digest(clients._HASH, *parts) == upload.signed.hashes[2]


def test_a_server_cannot_test_a_guess_by_the_hash_of_the_share_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix(3, 6, 8)
    of = world("rep3", 3, 8, 6)
    data = of.uploads(x)[0]
    upload = ClientUpload.from_bytes(data[0], max_bytes=10**4)
    other = ClientUpload.from_bytes(data[1], max_bytes=10**4)
    salt = other.shares[1].salt
    assert salt not in data[0]
    assert len({share.salt for share in (*upload.shares, *other.shares)}) == 3
    assert not any(
        _guess(of, upload, x[0], guess) for guess in (None, bytes(32), b"", *(s.salt for s in upload.shares))
    )
    assert _guess(of, upload, x[0], salt)  # with the salt the guess is confirmed: it is the salt that forbids it
    # Without salts the right guess is told from a wrong one.
    monkeypatch.setattr(
        clients.Collection,
        "_hash",
        lambda self, client, s: digest(clients._HASH, self.digest, client, bytes([s.component]), s.body),
    )
    bare = world("rep3", 3, 8, 6)
    upload = ClientUpload.from_bytes(bare.uploads(x)[0][0], max_bytes=10**4)
    assert _guess(bare, upload, x[0], None)
    assert not _guess(bare, upload, x[0] ^ 1, None)


def test_uploads_that_are_not_what_a_client_sends_are_refused() -> None:
    of = world("rep3", 3, 8, 4)
    x = matrix(3, 4, 8)
    data = of.uploads(x)
    box = of.collectors[0]
    upload = ClientUpload.from_bytes(data[0][0], max_bytes=10**4)

    def without(**change: Any) -> bytes:
        return replace(upload, **change).to_bytes()

    elsewhere = world("rep3", 3, 8, 4, session=b"t" * 32).uploads(x)[0][0]
    forged = replace(upload.signed, signature=bytes(64))
    swapped = replace(upload.signed, hashes=upload.signed.hashes[::-1])
    for bad in (data[0][1], elsewhere, without(server=1), without(context=bytes(32))):
        with pytest.raises(RemoteError, match="another collection or"):
            box.receive(bad)
    for bad in (
        without(client=b"nobody"),
        without(client=b"client-01"),
        without(signed=forged),
        without(signed=swapped),
        without(signed=replace(upload.signed, hashes=upload.signed.hashes[:2])),
        without(shares=upload.shares[:1]),
        without(shares=upload.shares[::-1]),
        data[0][0][:-1],
        data[0][0] + b"x",
        b"",
        bytes(of.collection.upload_bytes + 1),
    ):
        with pytest.raises(RemoteError):
            box.receive(bad)
    assert box.clients == ()
    assert box.receive(data[0][0]) == b"client-00"
    assert box.lacking(b"client-00") == ()
    assert box.lacking(b"client-01") == (0, 1)
    box._close()
    with pytest.raises(StateError):
        box.receive(data[1][0])


def _spoil(data: bytes, *components: int) -> bytes:
    """The same signed list; these components have a bit flipped."""
    upload = ClientUpload.from_bytes(data, max_bytes=10**6)
    shares = tuple(
        replace(s, body=bytes([s.body[0] ^ 1]) + s.body[1:]) if s.component in components else s for s in upload.shares
    )
    return replace(upload, shares=shares).to_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_share_that_does_not_open_its_hash_is_taken_from_another_holder(protocol: str) -> None:
    x = matrix(4, 9, 10)
    of = world(protocol, 4, 10, 9)
    data = of.uploads(x)
    last = parties_of(protocol) - 1
    data[1][1] = _spoil(data[1][1], last)  # a vector
    data[2][2] = _spoil(data[2][2], 0)  # a seed
    of.send(data)
    assert of.collectors[1].lacking(b"client-01") == (last,)
    results = settle(of)
    assert len(kept(results)) == 4
    assert (opened(results) == x).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_is_dropped_only_if_no_holder_can_open_a_share(protocol: str) -> None:
    x = matrix(5, 9, 10)
    of = world(protocol, 5, 10, 9)
    data = of.uploads(x)
    data[1] = [_spoil(one, 0) for one in data[1]]  # nobody can open component 0
    data[2][0] = b""  # server 0 hears nothing of client 2: the others hold all
    data[3] = [data[3][0]] + [b""] * (
        parties_of(protocol) - 1
    )  # server 0 alone hears of client 3, and lacks a component
    of.send(data)
    results = settle(of)
    assert kept(results) == (b"client-00", b"client-02", b"client-04")
    assert set(results[0].dropped) == {b"client-01", b"client-03"}
    assert (opened(results) == x[[0, 2, 4]]).all()


def test_a_vector_with_bits_beyond_its_length_is_no_share() -> None:
    """One value has one encoding: bits behind the last entry do not make another share of the same vector."""
    of = world("rep3", 3, 3, 3)  # 9 bits in 2 bytes
    data = of.uploads(np.full((3, 3), 3))[0]
    upload = ClientUpload.from_bytes(data[1], max_bytes=10**4)
    vector = upload.shares[1]
    padded = replace(vector, body=vector.body[:1] + bytes([vector.body[1] | 0x80]))
    hashes = (*upload.signed.hashes[:2], of.collection._hash(upload.client, padded))
    assert of.collection._opens(upload.client, vector, upload.signed.hashes)
    assert not of.collection._opens(upload.client, padded, hashes)
    longer = replace(vector, body=vector.body + b"\0")
    assert not of.collection._opens(upload.client, longer, (*hashes[:2], of.collection._hash(upload.client, longer)))
    assert not of.collection._opens(upload.client, replace(vector, component=3), hashes)


def _second_upload(of: World, client: int, values: Ints) -> list[bytes]:
    """What a client without a memory signs for the same collection."""
    first = of.clients[client]
    forgetful = MpcClient(first.id, first._identity, POLICY, MemoryJournal(first._identity.public), rng=seeded(900))
    return list(forgetful.upload(of.collection, values))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("to_one_server", [True, False])
def test_two_different_signed_lists_drop_the_client(protocol: str, to_one_server: bool) -> None:
    x = matrix(4, 5, 8)
    of = world(protocol, 4, 8, 5)
    data = of.uploads(x)
    other = _second_upload(of, 1, x[0])
    if to_one_server:
        of.send(data)
        with pytest.raises(RemoteError, match="two different"):
            of.collectors[2].receive(other[2])
        with pytest.raises(RemoteError, match="two different"):
            of.collectors[2].receive(data[1][2])
    else:
        data[1][2] = other[2]
        of.send(data)
    results = settle(of)
    assert kept(results) == (b"client-00", b"client-02", b"client-03")
    assert "two different lists" in results[0].dropped[b"client-01"]


# ---- servers that lie ----


def _lying(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, dict[int, bytes]], dict[int, bytes]]) -> None:
    """Server 0 sends what `change` makes of what it should send."""
    honest = clients._swap

    async def swap(backend: Any, label: str, sends: dict[int, bytes], limit: Any, most: int) -> dict[int, bytes]:
        return await honest(backend, label, change(label, dict(sends)) if backend.me == 0 else sends, limit, most)

    monkeypatch.setattr(clients, "_swap", swap)


def _edit(data: bytes, edit: Callable[[ReceivedReport], ReceivedReport]) -> bytes:
    return edit(ReceivedReport.from_bytes(data, max_bytes=10**6)).to_bytes()


def _errors(results: list[Any]) -> list[PrivcompError]:
    """What the honest servers say; none of them computes on."""
    found = [result for result in results[1:] if isinstance(result, PrivcompError)]
    assert found
    assert not any(isinstance(result, ClientShares) for result in results[1:])
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_leaves_a_client_out_of_its_report_leaves_nobody_out(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = matrix(4, 5, 8)
    of = world(protocol, 4, 8, 5)
    of.send(of.uploads(x))
    of.collectors[0]._received.pop(b"client-02")
    results = settle(of)
    assert len(kept(results)) == 4
    assert (opened(results) == x).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_reports_two_things_ends_the_run(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = world(protocol, 4, 8, 5)
    of.send(of.uploads(matrix(4, 5, 8)))

    def change(label: str, sends: dict[int, bytes]) -> dict[int, bytes]:
        if label == "clients-report":
            sends[1] = _edit(sends[1], lambda r: replace(r, clients=r.clients[1:]))
        return sends

    _lying(monkeypatch, change)
    results = settle(of)
    for error in _errors(results):
        assert isinstance(error, RemoteError)
        assert "server-0" in str(error)
        assert error.party in (b"server-0", None)
    assert results[1].party == b"server-0"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("about", [0, 1, 2])
def test_a_server_that_lies_about_what_it_saw_has_nobody_else_named(
    protocol: str, about: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = world(protocol, 4, 8, 5)
    of.send(of.uploads(matrix(4, 5, 8)))
    honest = clients.Exchange

    def exchange(label: str, sends: Any, wants: Any, *more: int) -> Any:
        if label == "clients-echo" and len(begun := [*asked, 1]) == 1:  # server 0 comes first
            asked.extend(begun)
            sends = {p: data[: 32 * about] + bytes(32) + data[32 * about + 32 :] for p, data in sends.items()}
        return honest(label, sends, wants, *more)

    asked: list[int] = []
    monkeypatch.setattr(clients, "Exchange", exchange)
    for error in _errors(settle(of)):
        assert isinstance(error, RemoteError)
        assert error.party in (b"server-0", None)
        assert "server-0" in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_signs_another_list_ends_the_run(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = world(protocol, 4, 8, 5)
    of.send(of.uploads(matrix(4, 5, 8)))
    honest = clients._Agreement.list_digest

    def without_one(self: clients._Agreement) -> bytes:
        if self.collector.me == 0:
            self.ids = self.ids[1:]
        return honest(self)

    monkeypatch.setattr(clients._Agreement, "list_digest", without_one)
    for error in _errors(settle(of)):
        assert isinstance(error, RoundAborted)
        assert error.party == b"server-0"


class _Forger(Identity):
    """Signs nothing."""

    __slots__ = ()

    def sign(self, label: str, *parts: bytes) -> bytes:
        return bytes(64)


def test_a_final_list_needs_the_signature_of_its_server() -> None:
    of = world("rep3", 3, 8, 5)
    of.send(of.uploads(matrix(3, 5, 8)))
    of.identities[0] = _Forger(of.identities[0]._key)
    for error in _errors(settle(of)):
        assert isinstance(error, RemoteError)
        assert error.party == b"server-0"
        assert "signature" in str(error)


def _first(report: ReceivedReport, **change: Any) -> ReceivedReport:
    return replace(report, clients=(replace(report.clients[0], **change), *report.clients[1:]))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda r: _first(r, opened=0b111), "does not hold"),
        (lambda r: _first(r, lists=()), "without a list"),
        (lambda r: _first(r, lists=r.clients[0].lists * 2), "one list twice"),
        (lambda r: _first(r, lists=r.clients[1].lists), "does not verify"),
        (lambda r: _first(r, lists=(replace(r.clients[0].lists[0], signature=bytes(64)),)), "does not verify"),
        (lambda r: _first(r, client=b"nobody"), "not in the roster"),
        (lambda r: replace(r, clients=r.clients[::-1]), "increasing"),
        (lambda r: replace(r, clients=(r.clients[0], r.clients[0])), "increasing"),
        (lambda r: replace(r, server=1), "another server"),
        (lambda r: replace(r, context=bytes(32)), "another collection"),
    ],
)
def test_a_report_that_no_honest_server_makes_names_its_server(
    edit: Callable[[ReceivedReport], ReceivedReport], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = world("rep3", 3, 8, 5)
    of.send(of.uploads(matrix(3, 5, 8)))

    def change(label: str, sends: dict[int, bytes]) -> dict[int, bytes]:
        return {p: _edit(data, edit) for p, data in sends.items()} if label == "clients-report" else sends

    _lying(monkeypatch, change)
    # Every server saw the same report, the liar's own excepted: it is let through as what it sent.
    monkeypatch.setattr(clients._Agreement, "echo", lambda *_: None)
    for error in _errors(settle(of)):
        assert isinstance(error, RemoteError)
        assert error.party == b"server-0"
        assert says in str(error)


@pytest.mark.parametrize("message", ["clients-report", "clients-forward"])
def test_messages_that_are_too_long_or_no_messages_name_their_server(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data, says in ((bytes(10**6), "at most"), (b"PC", "header")):
        of = world("rep3", 3, 8, 5)
        of.send(of.uploads(matrix(3, 5, 8)))
        with monkeypatch.context() as patch:
            _lying(patch, lambda label, sends, data=data: dict.fromkeys(sends, data) if label == message else sends)
            patch.setattr(clients._Agreement, "echo", lambda *_: None)
            for error in _errors(settle(of)):
                assert isinstance(error, RemoteError)
                assert error.party == b"server-0"
                assert says in str(error)


def _claims_all(label: str, sends: dict[int, bytes]) -> dict[int, bytes]:
    """Server 0 claims to hold client 0's components, which it cannot open, and sends junk for them."""
    if label == "clients-forward":
        return {p: _junk(data) for p, data in sends.items()}
    return sends


def _junk(data: bytes) -> bytes:
    message = ForwardedShares.from_bytes(data, max_bytes=10**6)
    return replace(
        message, shares=tuple(replace(s, share=replace(s.share, salt=bytes(32))) for s in message.shares)
    ).to_bytes()


def test_a_server_that_claims_a_share_and_cannot_show_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Component 0 is held by servers 0 and 2. Server 2 got a broken one, and server 0 gives it no right one."""
    of = world("rep3", 3, 8, 5)
    data = of.uploads(matrix(3, 5, 8))
    data[0][2] = _spoil(data[0][2], 0)
    of.send(data)
    _lying(monkeypatch, _claims_all)
    error = settle(of)[2]
    assert isinstance(error, RemoteError)
    assert error.party == b"server-0"
    assert "does not open" in str(error)


def test_of_two_holders_one_liar_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four servers three hold a component: the one that lacks it takes the share that opens."""
    x = matrix(3, 5, 8)
    of = world("rep4", 3, 8, 5)
    data = of.uploads(x)
    data[0][2] = _spoil(data[0][2], 1)
    of.send(data)
    _lying(monkeypatch, _claims_all)
    results = settle(of)
    assert len(kept(results)) == 3
    assert (opened(results) == x).all()


def test_a_server_passes_on_what_was_agreed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    of = world("rep3", 3, 8, 5)
    data = of.uploads(matrix(3, 5, 8))
    data[0][2] = _spoil(data[0][2], 0)
    of.send(data)

    def change(label: str, sends: dict[int, bytes]) -> dict[int, bytes]:
        if label == "clients-forward":
            sends[2] = replace(ForwardedShares.from_bytes(sends[2], max_bytes=10**4), shares=()).to_bytes()
        return sends

    _lying(monkeypatch, change)
    error = settle(of)[2]
    assert isinstance(error, RemoteError)
    assert error.party == b"server-0"


def test_a_share_goes_to_its_holders_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server reports that it lacks: it is sent components that it holds, and those of agreed clients."""
    of = world("rep3", 3, 8, 5)
    of.send(of.uploads(matrix(3, 5, 8)))
    for got in of.collectors[0]._received.values():
        got.shares.clear()  # server 0 pretends to have nothing
    seen: list[tuple[int, int]] = []
    honest = clients._Agreement.take

    def take(self: clients._Agreement, forwarded: dict[int, bytes]) -> None:
        for data in forwarded.values():
            for item in ForwardedShares.from_bytes(data, max_bytes=10**6).shares:
                seen.append((self.collector.me, item.share.component))
        honest(self, forwarded)

    monkeypatch.setattr(clients._Agreement, "take", take)
    kept(settle(of))
    assert seen
    assert all(component in components_of("rep3", server) for server, component in seen)


# ---- the rule, on what is left ----


def test_too_few_clients_end_the_run() -> None:
    of = world("rep3", 4, 8, 5)
    of.send(of.uploads(matrix(4, 5, 8)))
    for error in settle(of, clients_min=5):
        assert isinstance(error, RoundAborted)
        assert "5 or more" in str(error)


def test_n_and_f_are_checked_again_on_the_final_list() -> None:
    rule, release = MultiKrum(1, 3), Release()
    x = matrix(5, 5, 8)
    for spoilt, fits in ((0, True), (1, False)):
        of = world("rep3", 5, 8, 5, terms=terms(rule, release))
        data = of.uploads(x)
        for i in range(spoilt):
            data[i] = [_spoil(one, 0, 1, 2) for one in data[i]]
        of.send(data)
        results = settle(of, after=lambda mpc, shares: aggregate(mpc, rule, shares, release))
        if fits:
            assert all((outcome.total == plain.multi_krum(x, 1, 3)).all() for outcome in results)
        else:
            assert all(isinstance(error, RoundAborted) and "final list" in str(error) for error in results)


def test_servers_compute_what_the_clients_signed() -> None:
    rule, release = TrimmedMean(1), Release()
    x = matrix(6, 70, 8)
    for run_rule, run_release, fits in (
        (rule, release, True),
        (TrimmedMean(0), release, False),
        (rule, Release(least=2), False),
        (Krum(1), Release(leaks="one update"), False),
    ):
        of = world("rep3", 6, 8, 70, terms=terms(rule, release))
        of.send(of.uploads(x))
        results = settle(of, after=lambda mpc, s, r=run_rule, q=run_release: aggregate(mpc, r, s, q))
        if fits:
            assert all((outcome.total == plain.trimmed_sum(x, 1)).all() for outcome in results)
        else:
            assert all(isinstance(error, ParameterError) and "signed other terms" in str(error) for error in results)


def test_what_the_clients_signed_holds_for_extended_updates_too() -> None:
    """The sums of all clients and of all but one, or one score under many thresholds, open what nobody agreed to."""
    rule, release = MultiKrum(1), Release()
    x = matrix(6, 70, 8)
    for signed, scores, fits in (
        (terms(rule, release), {}, (True, False)),
        (terms(rule, release, cosine=0.5), {}, (True, True)),
        (terms(Mean(), release, cosine=0.5), {}, (False, True)),
        (terms(rule, release, cosine=0.5), {"influence": 3.0}, (True, False)),
        (terms(rule, release, cosine=0.25), {}, (True, False)),
    ):
        of = world("rep3", 6, 8, 70, terms=signed)
        of.send(of.uploads(x))

        async def after(mpc: ReplicatedBackend, s: ClientShares, scores: dict[str, float] = scores) -> list[Any]:
            updates = await Updates.extend(mpc, s)
            found: list[Any] = []
            for work in (aggregate(mpc, rule, updates, release), contributions(mpc, updates, cosine=0.5, **scores)):
                try:
                    found.append(await work)
                except ParameterError as error:
                    found.append(error)
            return found

        for outcomes in settle(of, after=after):
            for outcome, fit in zip(outcomes, fits, strict=True):
                assert fit != isinstance(outcome, ParameterError)
                assert fit or "signed other terms" in str(outcome)


def test_shares_of_clients_are_used_once() -> None:
    rule, release = MultiKrum(1), Release()
    x = matrix(6, 70, 8)
    signed = terms(rule, release, cosine=0.5)

    def used(again: Callable[..., Any]) -> list[Any]:
        of = world("rep3", 6, 8, 70, terms=signed)
        of.send(of.uploads(x))
        return settle(of, after=again)

    async def twice(mpc: ReplicatedBackend, s: ClientShares) -> Any:
        await aggregate(mpc, rule, s, release)
        return await aggregate(mpc, rule, s, release)

    async def then_extended(mpc: ReplicatedBackend, s: ClientShares) -> Any:
        await aggregate(mpc, rule, s, release)
        return await Updates.extend(mpc, s)

    async def extended_twice(mpc: ReplicatedBackend, s: ClientShares) -> Any:
        await Updates.extend(mpc, s)
        return await Updates.extend(mpc, s)

    async def updates_twice(mpc: ReplicatedBackend, s: ClientShares) -> Any:
        updates = await Updates.extend(mpc, s)
        await aggregate(mpc, rule, updates, release)
        return await aggregate(mpc, rule, updates, release)

    async def scores_twice(mpc: ReplicatedBackend, s: ClientShares) -> Any:
        updates = await Updates.extend(mpc, s)
        await aggregate(mpc, rule, updates, release)
        await contributions(mpc, updates, cosine=0.5)
        return await contributions(mpc, updates, cosine=0.5)

    for again in (twice, then_extended, extended_twice, updates_twice, scores_twice):
        for error in used(again):
            assert isinstance(error, StateError)
            assert "have been used" in str(error)


def test_shares_belong_to_one_server_of_one_collection() -> None:
    rule, release = MultiKrum(1), Release()
    of = world("rep3", 6, 8, 70, terms=terms(rule, release))
    of.send(of.uploads(matrix(6, 70, 8)))
    shares = settle(of)

    async def rolled(mpc: ReplicatedBackend) -> Any:
        return await aggregate(mpc, rule, shares[(mpc.me + 1) % 3], release)

    async def extended(mpc: ReplicatedBackend) -> Any:
        return await Updates.extend(mpc, shares[mpc.me % 3])

    for results in (
        drive(parties("rep3", rolled, of.collection.ids)),
        drive(parties("rep3", extended, (b"a", b"b", b"c"))),
        drive(parties("rep4", extended)),
    ):
        assert all(isinstance(error, ParameterError) and "agreed on" in str(error) for error in results)


def test_a_server_signs_one_list_per_collection() -> None:
    """A server that is asked to agree again, after a restart, on fewer clients, does not sign."""
    x = matrix(4, 5, 8)
    of = world("rep3", 4, 8, 5)
    data = of.uploads(x)
    of.send(data)
    kept(settle(of))
    of.collectors = [Collector(of.collection, i) for i in range(3)]
    of.send(data)
    assert len(kept(settle(of))) == 4  # the same list: the same signature
    of.collectors = [Collector(of.collection, i) for i in range(3)]
    of.send(data[1:])
    assert all(isinstance(error, JournalError) for error in settle(of))
    with pytest.raises(StateError):
        of.collectors[0]._close()


def test_agree_is_called_by_the_collections_own_servers() -> None:
    of = world("rep3", 3, 8, 5)
    of.send(of.uploads(matrix(3, 5, 8)))
    of.identities[0], of.identities[1] = of.identities[1], of.identities[0]
    assert isinstance(settle(of)[0], ParameterError)
    of = world("rep3", 3, 8, 5)

    async def program(mpc: ReplicatedBackend) -> Any:
        return await agree(mpc, of.collectors[mpc.me], of.identities[mpc.me], of.journals[mpc.me], clients_min=1)

    others = drive(parties("rep3", program, (b"a", b"b", b"c")))
    assert all(isinstance(error, ParameterError) for error in others)


def test_extended_updates_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix(4, 130, 14)
    of = world("rep4", 4, 14, 130)
    of.send(of.uploads(x))

    async def after(mpc: ReplicatedBackend, shares: ClientShares) -> Any:
        updates = await Updates.extend(mpc, shares, block=300)
        return [await mpc.open(block) for block in updates.blocks]

    for blocks in settle(of, after=after):
        assert (np.concatenate(blocks, axis=1).view(np.int64) == x).all()

"""Clients share their updates once; the servers agree on whose shares they compute on.

**Sharing.** A client has d integers of b bits, x in [-2^(b-1), 2^(b-1)). It splits x modulo 2^b into the components
of the servers' protocol: x_0, x_1, x_2 for three servers, of which server i holds x_i and x_{i+1}; x_0 .. x_3 for
four, of which server i holds all but x_i. All components but the last are seeds of 32 bytes; the last one is x minus
what they expand to, packed into b bits an entry. An entry beyond b bits does not exist in Z_{2^b}: the servers extend
to 64 bits themselves (`ReplicatedBackend.extend`), so that no client can put 2^32 where its square vanishes.

**Hashes.** h_j = SHA-256(context, id, j, salt_j, share_j), each length-prefixed; the client signs all h_j with its
roster key and sends them to every server. salt_j, 32 random bytes, goes to the holders of component j only: without
it the server that lacks component j could compute the share that a guessed x implies, and compare its hash.

**Agreement** among the servers (`agree`):

1. Each server reports which signed lists it has and which hashes it can open. All lists are checked again. Then all
   compare the hashes of the reports that they saw: from here on all act on the same reports.
2. A client with two different signed lists is dropped; so is a client one of whose shares no holder can open. Nobody
   else is.
3. A holder that lacks a share gets it from every holder that reported it, and takes the one that opens the hash. If
   none does, the one that reported it has lied, and is named; the run ends.
4. Every server signs the digest of the final list. Lists that differ end the run. So a server that leaves a client out,
   or that tells two servers two things, achieves nothing but the end of the run.

What is not covered: a server that refuses to run at all; a client that is cut off from all servers. Uploads travel over
private, authentic channels to each server; these are the transport's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

import numpy as np

from privcomp import _core
from privcomp.codec import digest, lp
from privcomp.errors import (
    CodecError,
    EncodingError,
    JournalError,
    ParameterError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.journal import Journal
from privcomp.keys import Identity, Roster, check_id, hkdf, verify
from privcomp.mpc.backend import Backend, Value
from privcomp.mpc.client_messages import (
    ClientUpload,
    CollectionMessage,
    FinalList,
    ForwardedShare,
    ForwardedShares,
    ReceivedClient,
    ReceivedReport,
    SignedHashes,
    UploadedShare,
)
from privcomp.mpc.engine import Exchange
from privcomp.policy import Policy
from privcomp.typing import I64Array, RingArray, U8Array, U64Array

__all__ = ["ClientShares", "Collection", "Collector", "MpcClient", "agree", "components_of", "parties_of"]

SEED_BYTES: Final = 32
_SALT_BYTES: Final = 32
_WIDTH_MAX: Final = 48
_ENTRIES_MAX: Final = 1 << 30
_UPLOAD: Final = 0
_LIST: Final = 1
_PROTOCOL: Final = "mpc"
_CONTEXT: Final = "privcomp/mpc/collection/v1"
_HASH: Final = "privcomp/mpc/share-hash/v1"
_SIGN_HASHES: Final = "privcomp/mpc/share-hashes/v1"
_SIGN_LIST: Final = "privcomp/mpc/final-list/v1"
_EXPAND: Final = "privcomp/mpc/share-seed/v1"
_CIPHER: Final = _core.AES128_CTR
_STAGE: Final = "clients"
# One client in a report: id, at most two lists of four hashes and a signature, counts.
_REPORT_BYTES: Final = 64 + 2 * (4 * 32 + 64 + 4) + 16

_HELD: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "rep3": tuple((i, (i + 1) % 3) for i in range(3)),
    "rep4": tuple(tuple(j for j in range(4) if j != i) for i in range(4)),
}


def parties_of(protocol: str) -> int:
    """How many servers a protocol has; so many components has a share as well.

    Raises:
        ParameterError: a protocol on which clients cannot share.
    """
    if protocol not in _HELD:
        raise ParameterError(f"clients share for {sorted(_HELD)}; {protocol!r} is none of them")
    return len(_HELD[protocol])


def components_of(protocol: str, party: int) -> tuple[int, ...]:
    """Which components a server holds, in the order of `Value.parts`.

    >>> components_of("rep3", 2), components_of("rep4", 1)
    ((2, 0), (0, 2, 3))

    Raises:
        ParameterError: unknown protocol, or no such server.
    """
    if not 0 <= party < parties_of(protocol):
        raise ParameterError(f"{protocol} has servers 0 .. {parties_of(protocol) - 1}, not {party}")
    return _HELD[protocol][party]


def _draw(rng: Callable[[int], bytes], size: int) -> bytes:
    data = rng(size)
    if type(data) is not bytes or len(data) != size:
        raise ParameterError(f"rng({size}) must return exactly {size} bytes; use os.urandom")
    return data


@dataclass(frozen=True)
class Collection:
    """Who shares what with whom. Clients and servers build the same object; its digest is the context of every hash.

    Args:
        protocol: "rep3" or "rep4".
        servers: (id, Ed25519 key of 32 bytes), in the order of their indices.
        clients: who may take part.
        width: b, bits of an entry, 2..48: clients encode into |q| <= 2^(b-1) - 1.
        entries: d, 1..2^30.
        terms: what the servers compute and open (`robust.terms`): a client signs that, too.
        session: 32 bytes, fresh for every collection.
        round: of the training.
        purpose: for policy and journal, such as "training".
        model_hash: SHA-256 of the model that was trained, 32 bytes: one model is collected on once.

    Raises:
        ParameterError: a value outside of its range, or a wrong number of servers.
    """

    protocol: str
    servers: tuple[tuple[bytes, bytes], ...]
    clients: Roster
    width: int
    entries: int
    terms: bytes
    session: bytes
    round: int
    purpose: str
    model_hash: bytes

    def __post_init__(self) -> None:
        if len(self.servers) != parties_of(self.protocol):
            raise ParameterError(
                f"{self.protocol} runs among {parties_of(self.protocol)} servers; {len(self.servers)} are named"
            )
        Roster.of(dict(self.servers))  # ids, keys, and that each has its own
        if len(dict(self.servers)) != len(self.servers):
            raise ParameterError("an id occurs twice among the servers; give every server its own")
        if not 2 <= self.width <= _WIDTH_MAX:
            raise ParameterError(f"width is {self.width}; allowed is [2, {_WIDTH_MAX}]")
        if not 1 <= self.entries <= _ENTRIES_MAX:
            raise ParameterError(f"entries is {self.entries}; allowed is [1, {_ENTRIES_MAX}]")
        # Whatever else is out of range is refused by the encoding.
        object.__setattr__(self, "_digest", digest(_CONTEXT, self._message().to_bytes()))

    def _message(self) -> CollectionMessage:
        return CollectionMessage(
            self.protocol,
            self.servers,
            self.clients.hash,
            self.width,
            self.entries,
            self.terms,
            self.session,
            self.round,
            self.purpose,
            self.model_hash,
        )

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for all of it."""
        value: bytes = self.__dict__["_digest"]
        return value

    @property
    def ids(self) -> tuple[bytes, ...]:
        """The servers' ids, in order."""
        return tuple(server for server, _ in self.servers)

    @property
    def components(self) -> int:
        """How many components a share has; the last one is a vector, the others are seeds."""
        return len(self.servers)

    def body_bytes(self, component: int) -> int:
        """Length of a component as it travels."""
        return SEED_BYTES if component < self.components - 1 else (self.entries * self.width + 7) // 8

    @property
    def upload_bytes(self) -> int:
        """No upload is longer."""
        return sum(self.body_bytes(j) + 256 for j in range(self.components)) + 1024

    def _hash(self, client: bytes, share: UploadedShare) -> bytes:
        return digest(_HASH, self.digest, client, bytes([share.component]), share.salt, share.body)

    def _opens(self, client: bytes, share: UploadedShare, hashes: tuple[bytes, ...]) -> bool:
        """Whether this share is what the client signed, and is a share at all: length and padding are right."""
        if share.component >= self.components or len(share.body) != self.body_bytes(share.component):
            return False
        spare = self.entries * self.width % 8
        if share.component == self.components - 1 and spare and share.body[-1] >> spare:
            return False
        return self._hash(client, share) == hashes[share.component]

    def _signed(self, client: bytes, signed: SignedHashes) -> bool:
        return len(signed.hashes) == self.components and verify(
            self.clients.public(client), signed.signature, _SIGN_HASHES, self.digest, client, lp(*signed.hashes)
        )

    def _expand(self, client: bytes, component: int, seed: bytes) -> U8Array:
        key = hkdf(seed, self.digest, client, bytes([component]), length=_core.SEED_BYTES[_CIPHER], label=_EXPAND)
        return np.frombuffer(key, np.uint8).copy()


def _stream(out: RingArray, key: U8Array, offset: int) -> None:
    """out += entries offset .. of a seed's stream; the low `width` bits of each are the component."""
    _core.mask_add(out, key[None], np.zeros(1, np.bool_), offset=offset, cipher=_CIPHER)


def _pack(values: U64Array, width: int) -> bytes:
    """The low `width` bits of each entry, one after another."""
    if width <= 32:
        return _core.pack(values.astype(np.uint32), width)
    # The core packs 64-bit words whole only; wide entries are rare.
    bits = np.unpackbits(values.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")[:, :width]
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def _unpack(data: bytes | memoryview, n: int, width: int) -> U64Array:
    if width <= 32:
        return _core.unpack(data, n, width).astype(np.uint64)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: n * width].reshape(n, width)
    whole = np.zeros((n, 64), np.uint8)
    whole[:, :width] = bits
    return np.packbits(whole, axis=1, bitorder="little").view("<u8").reshape(n).astype(np.uint64)


class MpcClient:
    """One client. What it sends is in the journal first; asked again it sends the same bytes.

    Two different uploads in one collection would be two signed lists, for which the servers drop a client. Two
    collections on one model would be two aggregates of the same update, whose difference may be another client's: the
    second one is refused, whichever protocol the first one was, unless `policy.same_model_reentries` grants it.

    Args:
        id: as in the roster.
        identity: long-term signing key.
        policy: this node's limits. `policy.protocols` has to name "rep3" or "rep4", and "rep3" trusts the servers to
            follow the protocol: `policy.adversary` has to be "semi_honest".
        journal: what this identity has sent; must belong to `identity`.
        rng: gives fresh random bytes.

    Raises:
        ParameterError: the journal belongs to another identity.
    """

    def __init__(
        self,
        id: bytes,
        identity: Identity,
        policy: Policy,
        journal: Journal,
        *,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.id = check_id(id)
        self.policy = policy
        self._identity = identity
        self._journal = journal
        self._rng = rng
        if journal.identity != identity.public:
            raise ParameterError("the journal belongs to another identity; create journal and identity together")

    def __repr__(self) -> str:
        return f"MpcClient(id={self.id!r})"

    def upload(self, collection: Collection, values: I64Array) -> tuple[bytes, ...]:
        """One `ClientUpload` for each server, in their order, each for a private channel to that server.

        Args:
            collection: as this client knows it, not as a server says it.
            values: int64 (entries,), |q| <= 2^(width-1) - 1. Ignored where the journal has an upload already.

        Raises:
            ParameterError: the roster does not have this id and key.
            PolicyError: this node does not take part in such a collection.
            JournalError: this node's update of this model was aggregated, or may have been, in another round.
            EncodingError: dtype, shape, or an entry out of range; nothing was sent.
        """
        clients = collection.clients
        if self.id not in clients or clients.public(self.id) != self._identity.public:
            raise ParameterError(f"{self.id!r} with this identity is not in the roster; fetch the right roster or key")
        with self._journal.locked():
            entry = self._journal.find(collection.digest, _UPLOAD)
            if entry is None:
                self._allowed(collection)
                messages = self._share(collection, values)
                entry = self._journal.append(
                    protocol=_PROTOCOL,
                    session=collection.session,
                    round=collection.round,
                    purpose=collection.purpose,
                    model_hash=collection.model_hash,
                    round_digest=collection.digest,
                    stage=_UPLOAD,
                    request=collection.digest,
                    messages=messages,
                    secrets=None,
                )
            return tuple(self._journal.answer(entry))

    def _allowed(self, collection: Collection) -> None:
        """This node's own policy and journal."""
        policy, n = self.policy, len(collection.clients)
        policy.require(collection.protocol in policy.protocols, collection.protocol, f"{policy.protocols}")
        policy.require(
            collection.protocol != "rep3" or policy.adversary == "semi_honest",
            "rep3, whose servers are trusted to follow the protocol",
            "a malicious adversary: rep4",
        )
        policy.require(collection.purpose in policy.purposes, collection.purpose, f"{policy.purposes}")
        pinned = policy.roster_hash
        policy.require(pinned in (None, collection.clients.hash), "another roster", "the roster that is pinned")
        policy.require(
            policy.clients_min <= n <= policy.clients_max,
            f"{n} clients",
            f"{policy.clients_min}..{policy.clients_max}",
        )
        policy.require(collection.entries <= policy.entries_max, "a longer vector", f"{policy.entries_max} entries")
        policy.require(policy.attestation != "required", "updates without proofs", "proven updates")
        policy.require(policy.privacy != "required", "a rule without noise", "rounds with differential privacy")
        others = {
            entry.round_digest
            for entry in self._journal.of_model(collection.model_hash)
            if entry.round_digest != collection.digest
        }
        if len(others) > policy.reentries(collection.purpose):
            raise JournalError(
                f"this client took part in {len(others)} round(s) on this very model: a second aggregate of identical "
                "updates isolates clients (policy: same_model_reentries)"
            )

    def _share(self, collection: Collection, values: I64Array) -> list[bytes]:
        width, entries = collection.width, collection.entries
        if type(values) is not np.ndarray or values.dtype != np.int64 or values.shape != (entries,):
            seen = f"{getattr(values, 'dtype', type(values).__name__)} {getattr(values, 'shape', '')}".strip()
            raise EncodingError(f"the update is {seen}; it must be int64 of shape ({entries},)")
        limit = (1 << (width - 1)) - 1
        if int(values.max()) > limit or int(values.min()) < -limit:
            raise EncodingError(f"an entry is beyond +-{limit}, the range of {width} bits; clip when encoding")
        last = collection.components - 1
        rest: RingArray = values.astype(np.uint32) if width <= 32 else values.astype(np.uint64)
        bodies: list[bytes] = []
        negate = np.ones(1, np.bool_)
        for component in range(last):
            seed = _draw(self._rng, SEED_BYTES)
            key = collection._expand(self.id, component, seed)
            _core.mask_add(rest, key[None], negate, cipher=_CIPHER)
            _core.wipe(key)
            bodies.append(seed)
        bodies.append(_pack(rest.astype(np.uint64), width))
        shares = [UploadedShare(j, _draw(self._rng, _SALT_BYTES), body) for j, body in enumerate(bodies)]
        hashes = tuple(collection._hash(self.id, share) for share in shares)
        signature = self._identity.sign(_SIGN_HASHES, collection.digest, self.id, lp(*hashes))
        signed = SignedHashes(hashes, signature)
        return [
            ClientUpload(
                collection.digest,
                self.id,
                server,
                signed,
                tuple(shares[j] for j in components_of(collection.protocol, server)),
            ).to_bytes()
            for server in range(collection.components)
        ]


@dataclass
class _Received:
    """What a server has of a client: signed lists by their hashes, and the shares that open the first one."""

    lists: dict[tuple[bytes, ...], SignedHashes] = field(default_factory=dict)
    shares: dict[int, UploadedShare] = field(default_factory=dict)


class Collector:
    """One server's inbox: takes uploads as they come, until `agree` closes it.

    Args:
        collection: the same at every server.
        me: this server's index.

    Raises:
        ParameterError: no such server.
    """

    def __init__(self, collection: Collection, me: int) -> None:
        self.collection = collection
        self.me = me
        self._held = components_of(collection.protocol, me)
        self._received: dict[bytes, _Received] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"Collector(me={self.me}, clients={len(self._received)})"

    @property
    def clients(self) -> tuple[bytes, ...]:
        """Who has sent something with a valid signature, in increasing order."""
        return tuple(sorted(self._received))

    def lacking(self, client: bytes) -> tuple[int, ...]:
        """The components of a client for which this server has no share that opens its hash."""
        got = self._received.get(client, _Received())
        return tuple(j for j in self._held if j not in got.shares)

    def receive(self, data: bytes) -> bytes:
        """Take one upload. A repeat is harmless; a share that does not open its hash is left out (see `lacking`).

        Returns:
            the client's id.

        Raises:
            RemoteError: bytes, context, receiver, signature are wrong, or the client has signed another list before (it
                will be dropped; both lists are kept as evidence).
            StateError: the servers agree already.
        """
        if self._closed:
            raise StateError("the servers agree on the clients already; this upload is too late")
        collection = self.collection
        try:
            upload = ClientUpload.from_bytes(data, max_bytes=collection.upload_bytes)
        except CodecError as error:
            raise error.by(None, "upload") from None
        client = upload.client
        if client not in collection.clients:
            raise RemoteError(None, "upload", "an id that is not in the roster")
        if upload.context != collection.digest or upload.server != self.me:
            raise RemoteError(client, "upload", "made for another collection or for another server")
        if not collection._signed(client, upload.signed):
            raise RemoteError(client, "upload", "the signature over the hashes does not verify")
        if tuple(share.component for share in upload.shares) != self._held:
            raise RemoteError(client, "upload", f"other components than {self._held}, which this server holds")
        got = self._received.setdefault(client, _Received())
        if len(got.lists) < 2:
            got.lists.setdefault(upload.signed.hashes, upload.signed)
        if len(got.lists) == 2:
            got.shares.clear()
            raise RemoteError(client, "upload", "two different signed lists; this client will be dropped")
        for share in upload.shares:
            if collection._opens(client, share, upload.signed.hashes):
                got.shares[share.component] = share
        return client

    def _close(self) -> ReceivedReport:
        if self._closed:
            raise StateError("this collector has been used; begin a new collection")
        self._closed = True
        return ReceivedReport(
            self.collection.digest,
            self.me,
            tuple(
                ReceivedClient(client, tuple(got.lists.values()), sum(1 << j for j in got.shares))
                for client, got in sorted(self._received.items())
            ),
        )


def spend(spent: set[str], what: str) -> None:
    """Note that something is used, which can be used once.

    Raises:
        StateError: it was used before.
    """
    if what in spent:
        raise StateError(
            f"these {what} of clients have been used: a second result of the same updates says more than both say "
            "alone; begin a new collection"
        )
    spent.add(what)


@dataclass(frozen=True, repr=False, eq=False)
class ClientShares:
    """One server's shares of the updates that all servers agreed on. Secret: redacted in `repr`.

    Good for one rule: what consumes them calls `take`, and the second to do so raises. Two rules on the same updates,
    or one of them twice, open more than the clients signed.

    Attributes:
        collection: what was collected.
        me: this server's index.
        ids: the clients, in increasing order: the rows.
        dropped: id -> why it is not among them.
        signatures: every server's signature over the final list.
        bodies: component -> one seed or packed vector per client.
    """

    collection: Collection
    me: int
    ids: tuple[bytes, ...]
    dropped: Mapping[bytes, str]
    signatures: tuple[bytes, ...]
    bodies: Mapping[int, tuple[bytes, ...]]
    _spent: set[str] = field(default_factory=set, init=False)

    def take(self, backend: Backend) -> ClientShares:
        """The same shares, for who computes on them; these here are used up.

        Raises:
            ParameterError: they are another server's, or of other servers.
            StateError: they were used before.
        """
        session = backend.session
        if (session.protocol, session.parties, backend.me) != (self.collection.protocol, self.collection.ids, self.me):
            raise ParameterError(
                f"shares of server {self.me} of {self.collection.protocol}, and a session in which this is party "
                f"{backend.me} of {session.protocol}, or that runs among others; compute where they were agreed on"
            )
        spend(self._spent, "shares")
        return replace(self)

    def __repr__(self) -> str:
        return f"ClientShares(clients={len(self.ids)}, entries={self.entries}, width={self.width})"

    @property
    def clients(self) -> int:
        """n, the number of rows."""
        return len(self.ids)

    @property
    def entries(self) -> int:
        """d, the number of columns."""
        return self.collection.entries

    @property
    def width(self) -> int:
        """b, bits of an entry."""
        return self.collection.width

    def block(self, start: int, stop: int) -> Value:
        """Columns start .. stop - 1 as a `Value` of shape (clients, stop - start), modulo 2^width.

        Args:
            start: a multiple of 8, so that packed entries begin at a byte.
            stop: a multiple of 8, or `entries`.

        Raises:
            ParameterError: the range.
        """
        if not 0 <= start < stop <= self.entries or start % 8 or (stop % 8 and stop != self.entries):
            raise ParameterError(
                f"columns {start} .. {stop}; they must lie in 0 .. {self.entries} and begin and end at multiples of 8"
            )
        held = components_of(self.collection.protocol, self.me)
        return Value(tuple(self._component(j, start, stop) for j in held))

    def _component(self, component: int, start: int, stop: int) -> U64Array:
        collection, width = self.collection, self.width
        out = np.empty((self.clients, stop - start), np.uint64)
        if component == collection.components - 1:
            cut = slice(start * width // 8, (stop * width + 7) // 8)
            for row, body in zip(out, self.bodies[component], strict=True):
                row[:] = _unpack(memoryview(body)[cut], stop - start, width)
            return out
        n = stop - start
        words: RingArray = np.empty(n, np.uint32) if width <= 32 else np.empty(n, np.uint64)
        for row, client, seed in zip(out, self.ids, self.bodies[component], strict=True):
            key = collection._expand(client, component, seed)
            words[:] = 0
            _stream(words, key, start)
            _core.wipe(key)
            row[:] = words
        out &= np.uint64((1 << width) - 1)
        return out


async def _swap(
    backend: Backend, label: str, sends: Mapping[int, bytes], limit: Callable[[int], int], most: int
) -> dict[int, bytes]:
    """Bytes of any length to and from every peer, at most `most` between any two: lengths first, so that nothing is
    read that is too long."""
    peers = [p for p in range(backend.n) if p != backend.me]
    lengths = await Exchange(
        f"{label}-length", {p: len(sends[p]).to_bytes(8, "little") for p in peers}, dict.fromkeys(peers, 8)
    )
    wants = {p: int.from_bytes(lengths[p], "little") for p in peers}
    for peer, size in wants.items():
        if size > limit(peer):
            raise RemoteError(
                backend.session.parties[peer],
                _STAGE,
                f"announces {size} bytes; at most {limit(peer)} are accepted here",
            )
    got = await Exchange(label, dict(sends), wants, most)
    return {p: bytes(got[p]) for p in peers}


class _Agreement:
    """One server's side, between the exchanges."""

    def __init__(self, collector: Collector, names: tuple[bytes, ...]) -> None:
        self.collector = collector
        self.collection = collector.collection
        self.names = names
        self.dropped: dict[bytes, str] = {}
        self.ids: tuple[bytes, ...] = ()
        self.lists: dict[bytes, SignedHashes] = {}
        self.opened: dict[bytes, list[int]] = {}

    def _error(self, peer: int, text: str) -> RemoteError:
        return RemoteError(self.names[peer], _STAGE, text)

    def report(self, peer: int, data: bytes) -> ReceivedReport:
        """Decode and check what a peer reports."""
        collection = self.collection
        try:
            report = ReceivedReport.from_bytes(data, max_bytes=len(data))
        except CodecError as error:
            raise error.by(self.names[peer], _STAGE) from None
        if report.context != collection.digest or report.server != peer:
            raise self._error(peer, "a report on another collection, or of another server; compare the configurations")
        held = sum(1 << j for j in components_of(collection.protocol, peer))
        last = b""
        for entry in report.clients:
            if entry.client <= last or entry.client not in collection.clients:
                raise self._error(peer, "reports ids that are not in the roster, or not in increasing order")
            last = entry.client
            if entry.opened & ~held:
                raise self._error(peer, "reports components that it does not hold")
            if not entry.lists or (len(entry.lists) == 2 and entry.lists[0].hashes == entry.lists[1].hashes):
                raise self._error(peer, "reports a client without a list, or with one list twice")
            if not all(
                self._known(entry.client, signed) or collection._signed(entry.client, signed) for signed in entry.lists
            ):
                raise self._error(peer, f"reports a signature of client {entry.client!r} that does not verify")
        return report

    def _known(self, client: bytes, signed: SignedHashes) -> bool:
        """This very list with this very signature was checked on arrival."""
        got = self.collector._received.get(client)
        return got is not None and got.lists.get(signed.hashes) == signed

    def merge(self, reports: list[ReceivedReport]) -> None:
        """Who is dropped, and who can open what; the same at every server that saw the same reports."""
        lists: dict[bytes, dict[tuple[bytes, ...], SignedHashes]] = {}
        for report in reports:
            for entry in report.clients:
                for signed in entry.lists:
                    lists.setdefault(entry.client, {}).setdefault(signed.hashes, signed)
                self.opened.setdefault(entry.client, [0] * len(reports))[report.server] = entry.opened
        every = (1 << self.collection.components) - 1
        for client, signed_lists in sorted(lists.items()):
            covered = 0
            for opened in self.opened[client]:
                covered |= opened
            if len(signed_lists) > 1:
                self.dropped[client] = "it signed two different lists"
            elif covered != every:
                self.dropped[client] = "no holder can open one of its shares"
            else:
                self.lists[client] = next(iter(signed_lists.values()))
        self.ids = tuple(sorted(self.lists))

    def _passes(self, sender: int, receiver: int) -> list[tuple[int, int]]:
        """(client, component) that one server passes to another: it opens it, and the other holds it and cannot."""
        held = components_of(self.collection.protocol, receiver)
        return [
            (place, j)
            for place, client in enumerate(self.ids)
            for j in sorted(held)
            if self.opened[client][sender] >> j & 1 and not self.opened[client][receiver] >> j & 1
        ]

    def forward(self, peer: int) -> bytes:
        received = self.collector._received
        shares = tuple(
            ForwardedShare(place, received[self.ids[place]].shares[j])
            for place, j in self._passes(self.collector.me, peer)
        )
        return ForwardedShares(self.collection.digest, self.collector.me, shares).to_bytes()

    def pass_limit(self, sender: int, receiver: int) -> int:
        """What the shares that one server has to pass to another take at most."""
        return 64 + sum(self.collection.body_bytes(j) + 64 for _, j in self._passes(sender, receiver))

    def forward_limit(self, peer: int) -> int:
        """What the shares that a peer has to pass to this server take at most."""
        return self.pass_limit(peer, self.collector.me)

    def echo(self, mine: bytes, seen: Mapping[int, bytes]) -> None:
        """Compare which reports the peers saw with those that this server saw: 32 bytes each, by server.

        Where a peer saw another report of a third server than this one, either of the two may lie. Whoever is in all
        disputes is named if it is one.
        """
        disputes: list[set[int]] = []
        for peer, other in seen.items():
            for server in range(len(self.names)):
                cut = slice(32 * server, 32 * server + 32)
                if mine[cut] != other[cut]:
                    disputes.append({peer} if server in (peer, self.collector.me) else {peer, server})
        if not disputes:
            return
        suspects = set.intersection(*disputes)
        if len(suspects) == 1:
            raise self._error(suspects.pop(), "says different things about a report, its own or another server's")
        names = " or ".join(repr(self.names[server]) for server in sorted(suspects)) or "more than one"
        raise RoundAborted(
            None,
            _STAGE,
            f"servers have different reports of one server; who lied: {names}; nothing was computed. Compare the "
            "servers' records",
        )

    def take(self, forwarded: Mapping[int, bytes]) -> None:
        """Fill in what was lacking. Whoever reported a share and cannot show it has lied."""
        me = self.collector.me
        wanted: dict[tuple[bytes, int], int] = {}
        for peer, data in forwarded.items():
            try:
                message = ForwardedShares.from_bytes(data, max_bytes=len(data))
            except CodecError as error:
                raise error.by(self.names[peer], _STAGE) from None
            if message.context != self.collection.digest or message.server != peer:
                raise self._error(peer, "shares of another collection, or of another server")
            expected = self._passes(peer, me)
            if [(item.client, item.share.component) for item in message.shares] != expected:
                raise self._error(peer, "other shares than those that it reported and this server lacks")
            for item in message.shares:
                client = self.ids[item.client]
                key = (client, item.share.component)
                wanted.setdefault(key, peer)
                if self.collection._opens(client, item.share, self.lists[client].hashes):
                    got = self.collector._received.setdefault(client, _Received())
                    got.shares.setdefault(item.share.component, item.share)
        for (client, component), peer in wanted.items():
            if component in self.collector.lacking(client):
                raise self._error(
                    peer, f"reported component {component} of client {client!r} and sent what does not open its hash"
                )

    def list_digest(self) -> bytes:
        return digest(
            _SIGN_LIST, self.collection.digest, *(lp(client, *self.lists[client].hashes) for client in self.ids)
        )

    def shares(self, signatures: tuple[bytes, ...]) -> ClientShares:
        received = self.collector._received
        held = components_of(self.collection.protocol, self.collector.me)
        bodies = {j: tuple(received[client].shares[j].body for client in self.ids) for j in held}
        return ClientShares(self.collection, self.collector.me, self.ids, dict(self.dropped), signatures, bodies)


async def agree(
    backend: Backend, collector: Collector, identity: Identity, journal: Journal, *, clients_min: int
) -> ClientShares:
    """Compare with the other servers what was received; returns this server's shares of the clients that all agree on.

    Every server calls this at the same point of its program. The module says what happens. A server signs one list per
    collection, for ever: aggregates over two lists would differ by the clients in which the lists differ.

    Args:
        backend: of a session among the collection's servers.
        collector: of this server; it takes no uploads from here on.
        identity: this server's signing key.
        journal: what this server has signed; must belong to `identity`.
        clients_min: fewer clients on the final list end the run.

    Raises:
        ParameterError: session, collection, identity do not belong together.
        RemoteError: a server lied, and is named.
        RoundAborted: the servers' lists differ, or have too few clients. Nothing was computed.
        JournalError: this server signed another list of this collection.
    """
    collection, me = collector.collection, collector.me
    if backend.session.parties != collection.ids or backend.session.protocol != collection.protocol:
        raise ParameterError("the session runs among other servers, or another protocol, than the collection names")
    if backend.me != me or not identity.public == journal.identity == collection.servers[me][1]:
        raise ParameterError(f"collector, identity, journal and backend are not all those of server {me}")
    state = _Agreement(collector, collection.ids)
    own = collector._close()
    peers = [p for p in range(backend.n) if p != me]
    limit = 64 + len(collection.clients) * _REPORT_BYTES
    reports = await _swap(backend, "clients-report", dict.fromkeys(peers, own.to_bytes()), lambda _: limit, limit)
    reports[me] = own.to_bytes()
    seen = b"".join(sha256(reports[p]).digest() for p in range(backend.n))
    echoes = await Exchange("clients-echo", dict.fromkeys(peers, seen), dict.fromkeys(peers, len(seen)))
    state.echo(seen, {p: bytes(echoes[p]) for p in peers})
    state.merge([own if p == me else state.report(p, reports[p]) for p in range(backend.n)])

    sends = {p: state.forward(p) for p in peers}
    most = max(state.pass_limit(a, b) for a in range(backend.n) for b in range(backend.n) if a != b)
    state.take(await _swap(backend, "clients-forward", sends, state.forward_limit, most))

    mine = state.list_digest()
    final = FinalList(me, mine, identity.sign(_SIGN_LIST, collection.digest, mine))
    encoded = final.to_bytes()
    _remember(journal, collection, encoded, mine)
    lists = await Exchange("clients-final", dict.fromkeys(peers, encoded), dict.fromkeys(peers, len(encoded)))
    signatures: list[bytes] = []
    for p in range(backend.n):
        signed = final if p == me else _final(bytes(lists[p]), p, collection)
        if signed.digest != mine:
            raise RoundAborted(
                collection.ids[p],
                _STAGE,
                "signed another list of clients than this server: one server left clients out, or told two servers two "
                "things; nothing was computed. Compare the servers' records",
            )
        signatures.append(signed.signature)
    if len(state.ids) < clients_min:
        raise RoundAborted(
            None, _STAGE, f"{len(state.ids)} clients are on the final list; the policy asks for {clients_min} or more"
        )
    return state.shares(tuple(signatures))


def _remember(journal: Journal, collection: Collection, final: bytes, digested: bytes) -> None:
    """Into the journal before it is sent; a list that differs from the one that is there is not signed."""
    with journal.locked():
        entry = journal.find(collection.digest, _LIST)
        if entry is None:
            journal.append(
                protocol=_PROTOCOL,
                session=collection.session,
                round=collection.round,
                purpose=collection.purpose,
                model_hash=collection.model_hash,
                round_digest=collection.digest,
                stage=_LIST,
                request=collection.digest,
                messages=[final],
                secrets=None,
                note=digested,
            )
        elif entry.note != digested:
            raise JournalError(
                "this server signed another list of clients for this collection: aggregates over both would differ by "
                "the clients in which the lists differ; begin a new collection"
            )


def _final(data: bytes, peer: int, collection: Collection) -> FinalList:
    name, public = collection.servers[peer]
    try:
        seen = FinalList.from_bytes(data, max_bytes=len(data))
    except CodecError as error:
        raise error.by(name, _STAGE) from None
    if seen.server != peer or not verify(public, seen.signature, _SIGN_LIST, collection.digest, seen.digest):
        raise RemoteError(name, _STAGE, "the signature over the final list does not verify")
    return seen

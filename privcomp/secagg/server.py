"""The server: collects the messages of a stage, then moves on.

The server holds no secret of its own. `receive` takes a client's message and raises a RemoteError that names the client
where the message is wrong (the caller drops it); `advance` closes the stage and returns the next messages. It knows no
clock: when to stop waiting is the caller's decision, `pending` says for whom.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp._core import lanes_add, unpack_add
from privcomp.codec import Message, decode_any
from privcomp.errors import CodecError, LocalError, ParameterError, PrivcompError, RemoteError, RoundAborted, StateError
from privcomp.keys import Roster
from privcomp.secagg import frozen
from privcomp.secagg.client import open_pair_extra
from privcomp.secagg.context import (
    KIND_B,
    KIND_ROOT,
    NO_ROSTER,
    Directory,
    RoundContext,
    block_leaf,
    block_ranges,
    check_advertise,
    check_share,
    pair_extra,
    pair_extra_hash,
    pair_secret,
    public_values,
    root_keys,
    segment_seeds,
    self_secret,
    signed_by,
    unsigned,
    upload_root,
    working_dtype,
)
from privcomp.secagg.leaves import pack_leaves
from privcomp.secagg.messages import (
    Advertise,
    Announce,
    Bundle,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    QuorumSignature,
    ReleasedShare,
    UnmaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
    bitmap,
)
from privcomp.secagg.params import MALICIOUS, Params
from privcomp.secagg.unmask import sum_of_masks
from privcomp.sharing.shamir import combine_bytes

__all__ = ["Aggregate", "Outbox", "Server"]

ADVERTISE, SHARE, MASK, CONSISTENCY, UNMASK, DONE = range(6)
_CLIENT_MESSAGES: Mapping[int, type[Message]] = {
    cls.TAG: cls for cls in (Advertise, BundleMessage, UploadBlock, UploadEnd, ConsistencySignature, UnmaskResponse)
}
_STAGE_OF: Mapping[int, int] = {
    Advertise.TAG: ADVERTISE,
    BundleMessage.TAG: SHARE,
    UploadBlock.TAG: MASK,
    UploadEnd.TAG: MASK,
    ConsistencySignature.TAG: CONSISTENCY,
    UnmaskResponse.TAG: UNMASK,
}


@dataclass(frozen=True)
class Aggregate:
    """The result of a round.

    Attributes:
        sums: per segment the sum modulo its modulus: u32 / u64 array, or uint8 (length, 32) residues.
        survivors: ids in U, ascending.
        u1, u2: ids of the earlier stages, ascending.
        faulty: id -> what was wrong, for clients whose shares had to be left out.
    """

    sums: tuple[NDArray[Any], ...]
    survivors: tuple[bytes, ...]
    u1: tuple[bytes, ...]
    u2: tuple[bytes, ...]
    faulty: Mapping[bytes, str]


class Outbox(Mapping[bytes, bytes]):
    """What the server sends next: id -> message, each built when it is asked for.

    All of them at once would be n times the model, or n times the key list. Send one and let go of it, or send its
    `parts`, of which the large one is the same object for all.
    """

    def __init__(self, ids: Iterable[bytes], build: Callable[[bytes], tuple[bytes, ...]]) -> None:
        self._ids = dict.fromkeys(ids)
        self._build = build

    def __getitem__(self, party: bytes) -> bytes:
        return b"".join(self.parts(party))

    def parts(self, party: bytes) -> tuple[bytes, ...]:
        """The message in pieces, without a copy of what all messages share: model, key list."""
        if party not in self._ids:
            raise KeyError(party)
        return self._build(party)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, party: object) -> bool:
        return party in self._ids

    def __repr__(self) -> str:
        return f"Outbox({len(self._ids)} messages)"


@dataclass
class _Upload:
    """An open upload: its blocks, in memory or in the server's temporary file, until its last message completes it."""

    leaves: dict[tuple[int, int], bytes] = field(default_factory=dict)
    payloads: dict[tuple[int, int], bytes] = field(default_factory=dict)
    spilled: dict[tuple[int, int], int] = field(default_factory=dict)  # block -> place in the temporary file
    end: UploadEnd | None = None
    added: bool = False

    @property
    def memory(self) -> int:
        return sum(len(payload) for payload in self.payloads.values())

    def drop_blocks(self) -> None:
        self.leaves.clear()
        self.payloads.clear()
        self.spilled.clear()


class Server:
    """One round of secure aggregation at the server.

    Args:
        params: the round's parameters.
        session: 32 bytes, the same for a whole training run.
        round: round number, growing per model.
        purpose: what the sum is for (clients hold a closed list).
        model: the bytes that the clients hash and train on.
        roster: who may take part; None only in semi-honest sessions.
        ledger_head: 32 bytes that the layer above binds.
        accept: called with (id, attachment) when an upload is complete; False or a PrivcompError keeps it out of U.
        executor: runs the unmasking units (an attribute, that may be replaced before `result` is called again);
            default: threads, one per core. What its workers learn: docs/secagg.md.
        memory_budget: bytes of open uploads that are held in memory; the rest goes to temporary files.

    Raises:
        ParameterError: the parameters do not fit together.
    """

    def __init__(
        self,
        params: Params,
        *,
        session: bytes,
        round: int,
        purpose: str,
        model: bytes,
        roster: Roster | None,
        ledger_head: bytes = bytes(32),
        accept: Callable[[bytes, bytes], bool] | None = None,
        executor: Executor | None = None,
        memory_budget: int = 1 << 28,
    ) -> None:
        if roster is None and params.adversary == MALICIOUS:
            raise ParameterError("a malicious-server session needs a roster; without one the session is semi_honest")
        if roster is not None and params.corrupt >= len(roster):
            raise ParameterError(f"c = {params.corrupt} corrupt clients of a roster of {len(roster)}")
        announce = Announce(
            params.to_bytes(),
            session,
            round,
            purpose,
            sha256(model).digest(),
            roster.hash if roster is not None else NO_ROSTER,
            ledger_head,
        )
        announce.to_bytes()  # ParameterError where session, round, purpose or ledger head is malformed
        self._set_up(announce, model, roster, accept, executor, memory_budget)

    def _set_up(
        self,
        announce: Announce,
        model: bytes,
        roster: Roster | None,
        accept: Callable[[bytes, bytes], bool] | None,
        executor: Executor | None,
        memory_budget: int,
    ) -> None:
        self.context = RoundContext.of(announce)
        self.params = params = self.context.params
        self.stage = ADVERTISE
        self._roster = roster
        self._model = model
        self._accept = accept
        self.executor = executor
        self._budget = memory_budget
        self._advertised: dict[bytes, tuple[Advertise, bytes]] = {}
        self._values: dict[bytes, bytes] = {}  # advertised key or hash -> id
        self._spill: IO[bytes] | None = None
        self._directory: Directory | None = None
        self._bundles: dict[int, dict[int, Bundle]] = {}
        self._seen: dict[tuple[int, bytes], bytes] = {}
        self._uploads: dict[int, _Upload] = {}
        self._u2_bits = b""
        self._u_bits = b""
        self._u2: frozenset[int] = frozenset()
        self._u: frozenset[int] = frozenset()
        self._survivors: set[int] = set()
        self._refused: dict[bytes, str] = {}
        self._refused_ends: dict[bytes, bytes] = {}
        self._quorum: dict[int, bytes] = {}
        self._answers: dict[int, UnmaskResponse] = {}
        self._acc: list[NDArray[Any]] = []
        self._layout = {(s, index): (start, count) for s, index, start, count in block_ranges(params)}

    # ---- across restarts ----

    def freeze(self) -> bytes:
        """What a restarted server needs: of a new round its announcement, after stage 3 all that the last stage needs.

        Raises:
            StateError: in between; such a round is lost with its server, and a new one may be announced.
        """
        announce = self.context.announce.to_bytes()
        if self.stage == ADVERTISE:
            return frozen.write(frozen.Frozen(announce, (), (), b"", b"", (), (), ()))
        if self.stage != UNMASK:
            raise StateError("a round is kept when it is announced, and again once its survivors are fixed")
        pairs = (
            frozen.FrozenPair(low, high, bundle.pair[0])
            for low, bundles in sorted(self._bundles.items())
            for high, bundle in sorted(bundles.items())
            if bundle.pair
        )
        return frozen.write(
            frozen.Frozen(
                announce,
                tuple(self._advertised[party][1] for party in self.directory.ids),
                tuple(pairs),
                self._u2_bits,
                self._u_bits,
                tuple(QuorumSignature(p, signature) for p, signature in sorted(self._quorum.items())),
                tuple(self._answers[p].to_bytes() for p in sorted(self._answers)),
                tuple(acc.astype(acc.dtype.newbyteorder("<")).tobytes() for acc in self._acc),
            )
        )

    @classmethod
    def thaw(
        cls,
        data: bytes,
        *,
        roster: Roster | None,
        accept: Callable[[bytes, bytes], bool] | None = None,
        executor: Executor | None = None,
    ) -> Server:
        """The round that `freeze` wrote. In a new one nobody has advertised yet, and its model is not known.

        Args:
            data: what `freeze` gave.
            roster, accept, executor: as for a new server; they are not stored.

        Raises:
            CodecError: not what `freeze` writes.
        """
        stored = frozen.read(data)
        server = cls.__new__(cls)
        announce = Announce.from_bytes(stored.announce, max_bytes=1 << 17)
        server._set_up(announce, b"", roster, accept, executor, 0)
        if not stored.u:
            return server
        for message in stored.advertisements:
            advertise = Advertise.from_bytes(message, max_bytes=1 << 13)
            server._advertised[advertise.id] = (advertise, message)
        server._list()
        for pair in stored.pairs:
            bundle = Bundle(pair.high, b"", b"", (pair.sent,))
            server._bundles.setdefault(pair.low, {})[pair.high] = bundle
        server._u2_bits, server._u_bits = stored.u2, stored.u
        server._u2 = frozenset(server.directory.members(stored.u2, "share"))
        server._u = frozenset(server.directory.members(stored.u, "mask"))
        server._survivors = set(server._u)
        server._quorum = {entry.signer: entry.signature for entry in stored.quorum}
        for segment, row in zip(server.params.segments, stored.sums, strict=True):
            dtype = np.dtype(working_dtype(segment)) if segment.is_ring else np.dtype(np.uint8)
            acc = np.frombuffer(row, dtype=dtype.newbyteorder("<")).astype(dtype)
            server._acc.append(acc if segment.is_ring else acc.reshape(-1, 32))
        server.stage = UNMASK
        for answer in stored.answers:
            server.receive(answer)
        return server

    # ---- what the caller asks ----

    @property
    def announcement(self) -> bytes:
        """Stage 0: the message for every client."""
        return self.context.announce.to_bytes()

    @property
    def directory(self) -> Directory:
        """The key list; StateError before stage 0 is closed."""
        if self._directory is None:
            raise StateError("the key list is fixed when stage 0 is closed; call advance() first")
        return self._directory

    @property
    def quorum_signatures(self) -> dict[bytes, bytes]:
        """id -> consistency signature over (U2, U)."""
        return {self.directory.ids[p]: signature for p, signature in sorted(self._quorum.items())}

    @property
    def advertisements(self) -> dict[bytes, bytes]:
        """id -> signed stage-0 message, verbatim."""
        return {party: data for party, (_, data) in sorted(self._advertised.items())}

    @property
    def refused(self) -> Mapping[bytes, str]:
        """id -> reason, for complete uploads that `accept` kept out."""
        return dict(self._refused)

    @property
    def refused_uploads(self) -> Mapping[bytes, bytes]:
        """id -> the signed last message of an upload that was kept out, attachment included: evidence for others."""
        return dict(self._refused_ends)

    @property
    def u2_bitmap(self) -> bytes:
        """Bitmap of U2 over the key list (empty before stage 1 is closed)."""
        return self._u2_bits

    @property
    def u_bitmap(self) -> bytes:
        """Bitmap of U over the key list (empty before stage 2 is closed)."""
        return self._u_bits

    @property
    def pending(self) -> frozenset[bytes]:
        """Ids whose message of this stage has not come (unknown, hence empty, in stage 0)."""
        if self._directory is None:
            return frozenset()
        ids, u2, u = self._directory.ids, self._u2, self._u
        if self.stage == SHARE:
            return frozenset(ids) - {ids[p] for p in self._bundles}
        if self.stage == MASK:
            return frozenset(ids[p] for p in u2 - self._survivors if ids[p] not in self._refused)
        if self.stage == CONSISTENCY:
            return frozenset(ids[p] for p in u - set(self._quorum))
        if self.stage == UNMASK:
            return frozenset(ids[p] for p in u - set(self._answers))
        return frozenset()

    # ---- receiving ----

    def receive(self, data: bytes, sender: bytes | None = None) -> None:
        """Take one message of a client. A verbatim repeat changes nothing.

        Args:
            data: the bytes.
            sender: id that the transport has authenticated; a message in another name is refused. Blocks of an upload
                carry no signature of their own: without `sender` anybody can hold up another client's upload.

        Raises:
            RemoteError: the message is wrong (the client is named) or comes for another stage.
        """
        stage = ("advertise", "share", "mask", "consistency", "unmask", "done")[self.stage]
        try:
            message = decode_any(data, _CLIENT_MESSAGES, max_bytes=(1 << 28) + 4096)
        except CodecError as error:
            raise error.by(sender, stage) from None
        who: bytes = message.id  # type: ignore[attr-defined]
        if sender is not None and who != sender:
            raise RemoteError(sender, stage, f"a message in the name of {who!r}")
        if message.round_digest != self.context.digest:  # type: ignore[attr-defined]
            raise RemoteError(who, stage, "the message belongs to another round")
        at = _STAGE_OF[message.TAG]
        if not isinstance(message, UploadBlock) and (at, who) in self._seen:
            if self._seen[at, who] == sha256(data).digest():
                return
            raise RemoteError(who, stage, "a second, different message for one stage")
        if at != self.stage:
            raise RemoteError(who, stage, "the message is for a stage that is closed or has not begun")
        if who in self._refused:
            raise RemoteError(who, stage, f"its upload was refused in this round: {self._refused[who]}")
        if isinstance(message, Advertise):
            check_advertise(self.context, message, self._roster)
            if len(self._advertised) >= self.params.clients:
                raise RemoteError(
                    who, stage, f"the round is full: its encoding is safe for {self.params.clients} clients"
                )
            clash = next((self._values[v] for v in public_values(message) if v in self._values), None)
            if clash is not None:
                raise RemoteError(who, stage, f"it advertises a key or hash that {clash!r} advertised before")
            self._values.update(dict.fromkeys(public_values(message), who))
            self._advertised[who] = (message, data)
        elif isinstance(message, UploadBlock):
            self._receive_block(message, self._place(who, stage), stage)
            return
        elif isinstance(message, BundleMessage):
            self._receive_bundles(message, self._place(who, stage))
        elif isinstance(message, UploadEnd):
            self._receive_end(message, self._place(who, stage))
        elif isinstance(message, ConsistencySignature):
            self._receive_signature(message, self._place(who, stage))
        elif isinstance(message, UnmaskResponse):
            self._receive_answer(message, self._place(who, stage))
        self._seen[at, who] = sha256(data).digest()

    def _place(self, who: bytes, stage: str) -> int:
        place = self.directory.place.get(who)
        if place is None:
            raise RemoteError(who, stage, "this client is not in the key list")
        return place

    def _verify(self, message: Any, stage: str) -> None:
        entry = self._advertised[message.id][0]
        if message.list_hash != self.directory.hash or not signed_by(
            entry.identity, message.signature, stage, self.context, self.directory.hash, unsigned(message)
        ):
            raise RemoteError(message.id, stage, "the signature does not verify over this round and key list")

    def _receive_bundles(self, message: BundleMessage, place: int) -> None:
        self._verify(message, "share")
        if [b.peer for b in message.bundles] != sorted(self.directory.neighbours(place)):
            raise RemoteError(message.id, "share", "the bundles are not exactly those for its neighbours")
        hybrid = self.params.hybrid
        for bundle in message.bundles:
            if len(bundle.pair) != (hybrid and place < bundle.peer) or len(bundle.ciphertext) != 1088 * hybrid:
                raise RemoteError(message.id, "share", "the KEM parts of a bundle are not those of this session")
        self._bundles[place] = {b.peer: b for b in message.bundles}

    def _receive_block(self, message: UploadBlock, place: int, stage: str) -> None:
        if place not in self._u2:
            raise RemoteError(message.id, stage, "this client is not in U2")
        key = (message.segment, message.index)
        if key not in self._layout:
            raise RemoteError(message.id, stage, f"block {key} does not exist in this round")
        needed = self.params.segments[message.segment].packed_bytes(self._layout[key][1])
        if len(message.payload) != needed:
            raise RemoteError(message.id, stage, f"block {key} has {len(message.payload)} bytes, needed are {needed}")
        upload = self._uploads.setdefault(place, _Upload())
        leaf = block_leaf(message.segment, message.index, message.payload)
        if upload.added or upload.leaves.get(key) == leaf:
            return  # a late repeat
        # A block carries no signature: until the signed root has decided, the last one that came stands.
        self._budget += len(upload.payloads.pop(key, b""))
        if self._budget >= needed:
            self._budget -= needed
            upload.payloads[key] = message.payload
            upload.spilled.pop(key, None)
        else:
            upload.spilled[key] = self._spilled(message.payload, upload.spilled.get(key))
        upload.leaves[key] = leaf
        self._complete(place, upload)

    def _spilled(self, payload: bytes, place: int | None) -> int:
        """Write a block to the temporary file, over the one that it replaces."""
        try:
            if self._spill is None:
                self._spill = tempfile.TemporaryFile(prefix="privcomp-")  # noqa: SIM115 (closed with stage 2)
            if place is None:
                place = self._spill.seek(0, os.SEEK_END)
            else:
                self._spill.seek(place)
            self._spill.write(payload)
            self._spill.flush()  # a full disk shows here, with the block that it concerns
        except OSError as error:
            raise LocalError(
                f"an upload cannot be staged on disk ({error}); free space or raise memory_budget"
            ) from None
        return place

    def _payload(self, upload: _Upload, key: tuple[int, int]) -> bytes:
        if key in upload.payloads:
            return upload.payloads[key]
        if self._spill is None:
            raise StateError("a block of an upload is neither in memory nor on disk")
        try:
            self._spill.seek(upload.spilled[key])
            payload = self._spill.read(self.params.segments[key[0]].packed_bytes(self._layout[key][1]))
        except OSError as error:
            raise LocalError(f"a staged upload cannot be read back ({error}); it is left out") from None
        if block_leaf(*key, payload) != upload.leaves[key]:
            raise LocalError("a staged upload was changed on disk; it is left out")
        return payload

    def _receive_end(self, message: UploadEnd, place: int) -> None:
        self._verify(message, "mask")
        directory = self.directory
        expected = bitmap(directory.neighbours(place) & self._u2, directory.n)
        if (
            place not in self._u2
            or message.u2_digest != directory.u2_digest(self._u2_bits)
            or message.peers != expected
        ):
            raise RemoteError(message.id, "mask", "the upload was masked for other peers than the announced U2")
        if len(message.attachment) > self.params.attachment_bytes:
            raise RemoteError(message.id, "mask", f"an attachment of {len(message.attachment)} bytes is too large")
        upload = self._uploads.setdefault(place, _Upload())
        upload.end = message
        self._complete(place, upload)

    def _complete(self, place: int, upload: _Upload) -> None:
        """Add an upload whose last message and blocks are all here; until then it leaves no trace in the sum."""
        end = upload.end
        if end is None or upload.added or len(upload.leaves) < len(self._layout):
            return
        if upload_root(upload.leaves[key] for key in self._layout) != end.root:
            # The blocks may be a stranger's: they go, the signed end stays, and the right blocks may still come.
            self._budget += upload.memory
            upload.drop_blocks()
            raise RemoteError(None, "mask", f"the blocks in the name of {end.id!r} do not have the root that it signed")
        reason = "the upload could not be added"
        try:
            if self._accept is not None and not self._accept(end.id, end.attachment):
                raise RemoteError(end.id, "mask", "the upload was refused")
            self._check_payloads(end.id, upload)
            for key, (start, count) in self._layout.items():
                self._add(key[0], start, count, self._payload(upload, key))
            self._survivors.add(place)
        except PrivcompError as error:
            reason = str(error)
            raise
        finally:
            if place not in self._survivors:
                self._refused[end.id] = reason
                self._refused_ends[end.id] = end.to_bytes()
            upload.added = True
            self._budget += upload.memory
            upload.drop_blocks()

    def _check_payloads(self, who: bytes, upload: _Upload) -> None:
        """Every block is canonical before the first one is added, so that a bad upload is left out as a whole."""
        for key, (_, count) in self._layout.items():
            segment, payload = self.params.segments[key[0]], self._payload(upload, key)
            if segment.is_ring:
                spare = -(count * segment.bits) % 8
                good = not spare or payload[-1] >> (8 - spare) == 0
            else:
                rows = np.frombuffer(payload, dtype=np.uint8).reshape(count, 32)
                good = _below(rows, segment.modulus)
            if not good:
                raise RemoteError(who, "mask", "a block of the upload is not canonical")

    def _add(self, s: int, start: int, count: int, payload: bytes) -> None:
        segment = self.params.segments[s]
        if segment.is_ring:
            unpack_add(self._acc[s][start : start + count], payload, segment.bits)
        else:
            rows = np.frombuffer(payload, dtype=np.uint8).reshape(count, 32)
            lanes_add(self._acc[s][start : start + count], rows, int.from_bytes(segment.modulus, "little"))

    def _receive_signature(self, message: ConsistencySignature, place: int) -> None:
        body = self.directory.u_digest(self._u2_bits, self._u_bits)
        public = self._advertised[message.id][0].identity
        if place not in self._u or not signed_by(
            public, message.signature, "consistency", self.context, self.directory.hash, body
        ):
            raise RemoteError(message.id, "consistency", "the signature over the survivors does not verify")
        self._quorum[place] = message.signature

    def _receive_answer(self, message: UnmaskResponse, place: int) -> None:
        self._verify(message, "unmask")
        directory, u = self.directory, self._u
        wanted = [(j, KIND_B if j in u else KIND_ROOT) for j in sorted(directory.neighbours(place) & self._u2)]
        if place not in u or message.u_digest != directory.u_digest(self._u2_bits, self._u_bits):
            raise RemoteError(message.id, "unmask", "the answer is for another survivor set")
        if [(share.owner, share.kind) for share in message.shares] != wanted:
            raise RemoteError(message.id, "unmask", "the shares are not exactly those that were asked for")
        self._answers[place] = message

    # ---- moving on ----

    def advance(self) -> Outbox:
        """Close the stage: id -> next message, built when it is asked for. After stage 4 use `result`.

        Raises:
            RoundAborted: too few clients are left. Nothing was opened; in stages 3 and 4 more answers may still come
            in.
        """
        if self.stage == ADVERTISE:
            return self._close_advertise()
        if self.stage == SHARE:
            return self._close_share()
        if self.stage == MASK:
            return self._close_mask()
        if self.stage == CONSISTENCY:
            return self._close_consistency()
        raise StateError("there is no stage to close; call result()")

    def _close_advertise(self) -> Outbox:
        try:
            directory = self._list()
        except ParameterError as error:
            raise RoundAborted(None, "advertise", f"{len(self._advertised)} clients advertised keys: {error}") from None
        self.stage, ids = SHARE, directory.ids
        whole = tuple(self._advertised[party][1] for party in ids)
        if directory.thresholds.complete:
            data = KeyList(self.context.digest, b"", whole).to_bytes()
            return Outbox(ids, lambda _: (data,))
        leaves = pack_leaves((party, sha256(data).digest()) for party, data in zip(ids, whole, strict=True))

        empty = KeyList(self.context.digest, b"", ()).to_bytes()  # ends with the length of leaves and that of entries
        head = empty[:-8] + struct.pack("<I", len(leaves))

        def key_list(party: bytes) -> tuple[bytes, ...]:
            p = directory.place[party]
            near = tuple(whole[j] for j in sorted(directory.neighbours(p) | {p}))
            return head, leaves, KeyList(self.context.digest, b"", near).to_bytes()[len(empty) - 4 :]

        return Outbox(ids, key_list)

    def _list(self) -> Directory:
        """Fix the key list from what was advertised."""
        self._directory = Directory.of_all(
            self.context, [self._advertised[party] for party in sorted(self._advertised)]
        )
        return self._directory

    def _close_share(self) -> Outbox:
        directory = self.directory
        # Who has fewer than t neighbours left would refuse to mask; leaving it out may starve the next one.
        u2, t = set(self._bundles), directory.thresholds.threshold
        while starved := {p for p in u2 if len(directory.neighbours(p) & u2) < t}:
            u2 -= starved
        self._need(len(u2) > t, "share", f"{len(u2)} clients sent bundles, {t + 1} are needed")
        self._u2, self._u2_bits = frozenset(u2), bitmap(u2, directory.n)
        self._acc = [
            np.zeros(s.length, dtype=working_dtype(s)) if s.is_ring else np.zeros((s.length, 32), dtype=np.uint8)
            for s in self.params.segments
        ]
        self.stage = MASK
        return Outbox((directory.ids[p] for p in sorted(u2)), self._mask_request)

    def _mask_request(self, party: bytes) -> tuple[bytes, ...]:
        p = self.directory.place[party]
        bundles = tuple(
            Bundle(j, b.sealed, b.ciphertext, b.pair)
            for j in sorted(self.directory.neighbours(p) & self._u2)
            for b in (self._bundles[j][p],)
        )
        empty = MaskRequest(self.context.digest, self._u2_bits, bundles, b"").to_bytes()  # ends with the model's length
        return empty[:-4] + struct.pack("<I", len(self._model)), self._model

    def _close_mask(self) -> Outbox:
        directory, u = self.directory, self._survivors
        t, c, least = directory.thresholds.threshold, self.params.corrupt, self.params.honest_survivors
        self._need(len(u) > t, "mask", f"{len(u)} complete uploads, {t + 1} are needed")
        self._need(len(u) - c >= least, "mask", f"{len(u)} uploads with c = {c}: fewer than {least} honest ones")
        u_bits = bitmap(u, directory.n)
        apart = directory.may_fall_apart(u_bits, self.params.gamma_ppm)
        self._need(not apart, "mask", "the survivors leave gaps in the ring; clients would refuse")
        self._uploads.clear()
        if self._spill is not None:
            self._spill.close()
            self._spill = None
        self._u, self._u_bits = frozenset(u), u_bits
        if self.params.adversary == MALICIOUS:
            self.stage = CONSISTENCY
            data = ConsistencyRequest(self.context.digest, self._u_bits).to_bytes()
            return Outbox((directory.ids[p] for p in sorted(u)), lambda _: (data,))
        self.stage = UNMASK
        return self.unmask_requests()

    def _close_consistency(self) -> Outbox:
        q = self.directory.thresholds.quorum
        self._need(len(self._quorum) >= q, "consistency", f"{len(self._quorum)} signatures, {q} are needed")
        self.stage = UNMASK
        return self.unmask_requests()

    def unmask_requests(self) -> Outbox:
        """Stage 4: id -> request, for the survivors that have not answered. May be sent again for the same U."""
        if self.stage != UNMASK:
            raise StateError("the survivor set is fixed when stages 2 and 3 are closed")
        quorum = tuple(QuorumSignature(p, signature) for p, signature in sorted(self._quorum.items()))
        data = UnmaskRequest(self.context.digest, self._u_bits, quorum).to_bytes()
        ids = self.directory.ids
        return Outbox((ids[p] for p in sorted(self._u - set(self._answers))), lambda _: (data,))

    def _need(self, condition: bool, stage: str, text: str) -> None:
        if not condition:
            raise RoundAborted(None, stage, text + "; nothing was opened")

    # ---- the result ----

    def result(self) -> Aggregate:
        """Reconstruct the secrets that are needed, remove all masks.

        Raises:
            RoundAborted: too few shares came; more answers may still be received, then call again.
            RemoteError: an owner's secret does not match what it advertised; nothing is decoded.
            ExecutorError: the executor did not do its work; set another one and call again.
        """
        if self.stage not in (UNMASK, DONE):
            raise StateError("the sum can be opened after stage 4")
        directory, u, u2 = self.directory, self._u, self._u2
        faulty: dict[bytes, str] = {}
        secrets = {p: self._reconstruct(p, KIND_B if p in u else KIND_ROOT, faulty) for p in sorted(u2)}
        ring_secrets: list[bytes] = []
        negate: list[bool] = []
        for p in sorted(u):
            ring_secrets.append(self_secret(directory, self._u2_bits, p, secrets[p]))
            negate.append(True)
        for p in sorted(u2 - u):
            for i, secret in self._pair_secrets_of_dropped(p, secrets[p]):
                # y_i holds +G for p > i and -G for p < i: take it out.
                ring_secrets.append(secret)
                negate.append(p > i)
        sums = [self._removed(s, ring_secrets, np.array(negate)) for s in range(len(self.params.segments))]
        self.stage = DONE
        name = directory.ids
        return Aggregate(
            tuple(sums),
            tuple(name[p] for p in sorted(u)),
            tuple(name),
            tuple(name[p] for p in sorted(u2)),
            faulty,
        )

    def _removed(self, s: int, secrets: list[bytes], negate: NDArray[np.bool_]) -> NDArray[Any]:
        segment, params = self.params.segments[s], self.params
        total = self._acc[s].copy()
        seeds = segment_seeds(params, secrets, s)
        executor = self.executor or ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
        try:
            for start, block in sum_of_masks(segment, seeds, negate, cipher=params.cipher, executor=executor):
                if segment.is_ring:
                    total[start : start + len(block)] += block
                else:
                    lanes_add(total[start : start + len(block)], block, int.from_bytes(segment.modulus, "little"))
        finally:
            if self.executor is None:
                executor.shutdown(cancel_futures=True)
        if segment.is_ring and segment.bits not in (32, 64):
            total &= total.dtype.type((1 << segment.bits) - 1)
        return total

    def _reconstruct(self, owner: int, kind: int, faulty: dict[bytes, str]) -> bytes:
        """b or mask root of an owner, verified against what it advertised."""
        directory, t = self.directory, self.directory.thresholds.threshold
        found: dict[int, ReleasedShare] = {}
        for holder in sorted(directory.neighbours(owner)):
            share = self._share_of(holder, owner)
            if share is not None:
                found[holder] = share
        who = directory.ids[owner]
        self._need(len(found) >= t, "unmask", f"{len(found)} shares of {who!r}, {t} are needed")
        secret = self._combine(found, t)
        if secret is not None and self._matches(owner, kind, secret):
            return secret
        # Somebody's share is wrong. The owner's signature tells whose.
        valid: dict[int, ReleasedShare] = {}
        for holder, share in found.items():
            leaf = directory.leaf(kind, owner, holder, share.share)
            leaves = (leaf, share.other_leaf) if kind == KIND_B else (share.other_leaf, leaf)
            body = directory.shares_body(owner, holder, *leaves)
            public = directory.entries[owner].identity
            if check_share(share.share) and signed_by(
                public, share.signature, "pair", self.context, directory.hash, body
            ):
                valid[holder] = share
            else:
                faulty[directory.ids[holder]] = f"released a share of {who!r} that its owner did not sign"
        if len(valid) < t:
            liar = next(iter(sorted(faulty)), None)
            raise RoundAborted(liar, "unmask", f"{len(valid)} valid shares of {who!r}, {t} are needed")
        secret = self._combine(valid, t)
        if secret is None or not self._matches(owner, kind, secret):
            raise RemoteError(who, "unmask", "its shares do not give the secret that it advertised; nothing is decoded")
        return secret

    def _share_of(self, holder: int, owner: int) -> ReleasedShare | None:
        index = self._share_index.get(holder)
        if index is None:
            answer = self._answers.get(holder)
            if answer is None:
                return None
            index = self._share_index[holder] = {share.owner: share for share in answer.shares}
        return index.get(owner)

    @property
    def _share_index(self) -> dict[int, dict[int, ReleasedShare]]:
        cache: dict[int, dict[int, ReleasedShare]] = self.__dict__.setdefault("_shares_by_owner", {})
        return cache

    @staticmethod
    def _combine(shares: Mapping[int, ReleasedShare], t: int) -> bytes | None:
        points = np.array([holder + 1 for holder in shares], dtype=np.uint64)
        try:
            return combine_bytes(points, [share.share for share in shares.values()], t)
        except PrivcompError:
            return None

    def _matches(self, owner: int, kind: int, secret: bytes) -> bool:
        """H(secret) is the advertised one; a root also reproduces every mask key that its owner advertised."""
        entry = self.directory.entries[owner]
        expected = entry.b_hash if kind == KIND_B else entry.root_hash
        if not keys.constant_time_equal(self.context.secret_hash(kind, entry.id, secret), expected):
            return False
        if kind == KIND_B:
            return True
        derived = root_keys(self.context, secret)
        return (derived.public, derived.kem_public) == (entry.mask_key, entry.mask_kem)

    def _pair_secrets_of_dropped(self, dropped: int, root: bytes) -> Iterable[tuple[int, bytes]]:
        """(survivor, s_ij) for every survivor that masked with a client that vanished after stage 1."""
        directory, hybrid = self.directory, self.params.hybrid
        mask = root_keys(self.context, root)
        for i in sorted(directory.neighbours(dropped) & self._u):
            low, high = min(i, dropped), max(i, dropped)
            extra = b""
            if hybrid:
                sent = self._bundles[low][high].pair[0]
                if low == dropped:
                    extra = pair_extra(self.context, root, directory.ids[high])
                    if pair_extra_hash(directory, low, high, extra) != sent.hash:
                        raise RemoteError(
                            directory.ids[low], "unmask", "its root does not give the pair secret that it sent"
                        )
                else:
                    extra = open_pair_extra(directory, mask.kem_seed, low, high, sent)
            try:
                shared = mask.key.exchange(directory.entries[i].mask_key)
            except ParameterError as error:
                raise RemoteError(directory.ids[i], "unmask", str(error)) from None
            yield i, pair_secret(directory, self._u2_bits, low, high, shared, extra)


def _below(rows: NDArray[np.uint8], modulus: bytes) -> bool:
    """Whether every 32-byte little-endian row is below the modulus (compared as four 64-bit words)."""
    words = rows.reshape(-1, 32).copy().view("<u8")
    limit = np.frombuffer(modulus, dtype="<u8")
    less = np.zeros(len(words), dtype=np.bool_)
    equal = np.ones(len(words), dtype=np.bool_)
    for k in (3, 2, 1, 0):
        less |= equal & (words[:, k] < limit[k])
        equal &= words[:, k] == limit[k]
    return bool(less.all())

"""The server: announces, collects uploads and members' answers, and opens one sum.

It holds no secret. `receive` takes a message of a client or a member and raises a RemoteError that names the sender
where it is wrong; `advance` closes the stage and returns the next messages. It knows no clock: when to stop waiting is
the caller's decision, `pending` says for whom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp._core import rlwe_add, rlwe_check
from privcomp.codec import Message, decode_any
from privcomp.errors import CodecError, JournalError, ParameterError, RemoteError, RoundAborted, StateError
from privcomp.he import Decryptor
from privcomp.journal import Journal, MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.oneshot import frozen
from privcomp.oneshot.closing import Closing
from privcomp.oneshot.context import (
    BOX_OVERHEAD,
    NO_ROOT,
    RoundContext,
    box_key_parts,
    box_key_request,
    ciphertext_hash,
    set_hash,
    upload_body,
    upload_digest,
)
from privcomp.oneshot.keyshares import merkle_paths, merkle_root
from privcomp.oneshot.messages import (
    MAX_ANNOUNCE,
    Accept,
    Announce,
    Answer,
    BoxKey,
    Certificate,
    Close,
    CloseCertificate,
    Propose,
    Seat,
    SharedKey,
    Shares,
    UploadBlock,
    UploadEnd,
    UploadRequest,
    Vote,
)
from privcomp.oneshot.params import ONESHOT, Params
from privcomp.oneshot.rules import PROPOSE
from privcomp.oneshot.staging import Staging, Upload
from privcomp.secagg.server import Outbox
from privcomp.typing import I64Array, U64Array

__all__ = ["ACCEPT", "ANSWER", "BOXKEYS", "CLOSING", "DONE", "UPLOAD", "VOTE", "Aggregate", "Server"]

BOXKEYS, UPLOAD, ACCEPT, VOTE, ANSWER, DONE, CLOSING = range(7)
_NAMES: Final = ("boxkeys", "upload", "accept", "vote", "answer", "done", "close")
_MESSAGES: Mapping[int, type[Message]] = {
    cls.TAG: cls for cls in (BoxKey, UploadBlock, UploadEnd, Accept, Vote, Answer, Close)
}
_STAGE_OF: Mapping[int, int] = {
    BoxKey.TAG: BOXKEYS,
    UploadBlock.TAG: UPLOAD,
    UploadEnd.TAG: UPLOAD,
    Accept.TAG: ACCEPT,
    Vote.TAG: VOTE,
    Answer.TAG: ANSWER,
    Close.TAG: CLOSING,
}
_PPM = 1_000_000


@dataclass(frozen=True)
class Aggregate:
    """The result of a round.

    Attributes:
        sums: one int64 array of shape (length,): the exact sum, centred.
        survivors: ids in U, ascending.
        uploaded: ids whose complete upload came, ascending.
        members: ids of the members whose answers were used, in the committee's order.
        votes: (place, signature) of the certificate; empty where there is none.
        faulty: id -> what was wrong, for members that were left out.
    """

    sums: tuple[I64Array]
    survivors: tuple[bytes, ...]
    uploaded: tuple[bytes, ...]
    members: tuple[bytes, ...]
    votes: tuple[tuple[int, bytes], ...]
    faulty: Mapping[bytes, str]


@dataclass
class _Told:
    """What one member was given and has answered."""

    shares: bytes = b""
    accepted: frozenset[bytes] | None = None
    accept: bytes = b""
    answer: NDArray[np.int64] | None = None
    answer_data: bytes = b""
    seen: dict[int, bytes] = field(default_factory=dict)


class Server:
    """One round of one-shot aggregation at the server.

    Args:
        params: the round's parameters.
        session: 32 bytes, the same for a whole training run.
        round: round number.
        purpose: what the sum is for (clients hold a closed list).
        model: the bytes that the clients hash and train on.
        roster: the clients.
        identity: signs the announcement and the proposal.
        journal: of this identity: which set was proposed on a model, so that no second one ever is; None: nothing is
            remembered beyond this object, and members refuse a second one alone.
        ledger_head: 32 bytes that the layer above binds.
        closes: close certificates of committees to which clients uploaded on this model before.
        memory_budget: bytes of uploads that are held in memory; the rest goes to a temporary file.

    Raises:
        ParameterError: the parameters do not fit together, or fewer clients are in the roster than a sum needs.
        JournalError: a set was proposed on this model and committee: no other sum on it can be had.
    """

    #: With these bytes begins what `freeze` writes.
    FROZEN: ClassVar[bytes] = frozen.PREFIX

    def __init__(
        self,
        params: Params,
        *,
        session: bytes,
        round: int,
        purpose: str,
        model: bytes,
        roster: Roster,
        identity: Identity,
        journal: Journal | None = None,
        ledger_head: bytes = bytes(32),
        closes: Iterable[CloseCertificate] = (),
        memory_budget: int = 1 << 28,
    ) -> None:
        if len(roster) < params.survivors_min:
            raise ParameterError(f"a roster of {len(roster)} for sums of at least {params.survivors_min} clients")
        draft = Announce(
            params.to_bytes(),
            session,
            round,
            purpose,
            sha256(model).digest(),
            roster.hash,
            ledger_head,
            identity.public,
            tuple(Seat(b"", b"", b"") for _ in params.committee.members),
            tuple(closes),
            bytes(64),
        )
        draft.to_bytes()  # ParameterError where session, round, purpose or ledger head is malformed
        self._set_up(draft, params, model, roster, identity, journal, memory_budget)
        self._refuse_used_model()

    def _set_up(
        self,
        announce: Announce,
        params: Params,
        model: bytes,
        roster: Roster,
        identity: Identity,
        journal: Journal | None,
        memory_budget: int,
    ) -> None:
        self.params = params
        self.stage = BOXKEYS
        self._draft = announce
        self._model = model
        self._roster = roster
        self._identity = identity
        self._journal = journal if journal is not None else MemoryJournal(identity.public)
        if self._journal.identity != identity.public:
            raise ParameterError("the journal belongs to another identity; create journal and identity together")
        if announce.server != identity.public:
            raise ParameterError("the round was announced by another identity")
        self._staging = Staging(memory_budget)
        self._context: RoundContext | None = None
        self._seats: dict[int, Seat] = {}
        self._uploads: dict[bytes, Upload] = {}
        self._refused: dict[bytes, str] = {}
        self._given: tuple[bytes, ...] = ()
        self._digests: dict[bytes, bytes] = {}
        self._paths: dict[bytes, list[tuple[bytes, ...]]] = {}
        self._told: dict[int, _Told] = {place: _Told() for place in range(params.committee.size)}
        self._aside: dict[bytes, str] = {}
        self._survivors: tuple[tuple[bytes, bytes], ...] = ()
        self._votes: dict[int, bytes] = {}
        self._closing: Closing | None = None
        self._total: U64Array = np.zeros(0, np.uint64)

    def _refuse_used_model(self, own: bytes = b"") -> None:
        """One set per model and committee, also for an honest server: a second one would only be refused by members.

        The entry of round `own` is no other one: `_write_down` sees to it that its set stays the same.
        """
        a, committee = self._draft, self.params.committee
        with self._journal.locked():
            for entry in self._journal.of_model(a.model_hash):
                if entry.stage == PROPOSE and entry.note[:32] == committee.hash and entry.round_digest != own:
                    raise JournalError(
                        f"a survivor set was proposed to this committee on this very model in round {entry.round}: "
                        "finish that round, or go on with another model"
                    )

    # ---- across restarts ----

    def freeze(self) -> bytes:
        """What a restarted server needs: of an announced round its announcement, after the proposal all of it.

        Raises:
            StateError: in between (members were given shares, no set is proposed yet): such a round is lost with its
                server, and may be announced again on the same model and committee, under a new round number.
        """
        if self.stage not in (UPLOAD, VOTE, ANSWER):
            raise StateError("a round is kept when it is announced, and again once its survivors are fixed")
        announce = self.context.announce.to_bytes()
        if self.stage == UPLOAD:
            return frozen.write(frozen.Frozen(UPLOAD, announce, (), (), (), (), (), b""))
        told = [self._told[place] for place in sorted(self._told)]
        return frozen.write(
            frozen.Frozen(
                self.stage,
                announce,
                tuple(self._end(party).to_bytes() for party in self._given),
                tuple(each.accept for each in told if each.accept),
                self._survivors,
                tuple(sorted(self._votes.items())),
                tuple(each.answer_data for each in told if each.answer_data),
                self._total.astype("<u8").tobytes(),
            )
        )

    @classmethod
    def thaw(
        cls, data: bytes, *, model: bytes | None, roster: Roster, identity: Identity, journal: Journal | None = None
    ) -> Server:
        """The round that `freeze` wrote.

        Args:
            data: what `freeze` gave.
            model: the model bytes, only looked at where clients may still be asked; None: nobody will be.
            roster, identity, journal: as for a new server; they are not stored.

        Raises:
            CodecError: not what `freeze` writes, or not of one round.
            ParameterError: another identity's round.
            JournalError: the journal has another survivor set of this round, or the model was used in another one.
        """
        stored = frozen.read(data)
        if stored.stage not in (UPLOAD, VOTE, ANSWER):
            raise CodecError(f"a round is stored in the stages of uploads, votes and answers, not in {stored.stage}")
        announce = Announce.from_bytes(stored.announce, max_bytes=MAX_ANNOUNCE)
        context = RoundContext.of(announce)
        server = cls.__new__(cls)
        server._set_up(announce, context.params, model or b"", roster, identity, journal, 1 << 28)
        server._context, server.stage = context, UPLOAD
        server._seats = dict(enumerate(announce.seats))
        if stored.stage == UPLOAD:
            if model is not None and sha256(model).digest() != announce.model_hash:
                raise ParameterError("the model bytes are not those that were announced")
            server._refuse_used_model(context.digest)
            return server
        try:
            server._take_back(stored)
        except RemoteError as error:
            raise CodecError(f"what is stored of the round contradicts itself: {error}") from None
        with server._journal.locked():  # as far as the journal is concerned, a round that came back was never away
            server._write_down(server._survivors)
        return server

    def _take_back(self, stored: frozen.Frozen) -> None:
        """A round whose survivors are fixed, from what was stored of it.

        Raises:
            CodecError, RemoteError: its parts do not fit together.
        """
        for message in stored.uploads:
            end = UploadEnd.from_bytes(message, max_bytes=len(message))
            if end.ctx != self.context.digest or end.id in self._uploads:
                raise CodecError("a stored upload is another round's, or comes twice")
            self._check_parts(end)  # what is in them is in the hash that the members signed
            self._uploads[end.id] = Upload(end=end, complete=True)
        self._fix_given()
        self.stage = ACCEPT
        for message in stored.accepts:
            self.receive(message)
        aside, survivors = self._chosen()
        self._survivors = tuple((party, self._digests[party]) for party in survivors)
        if self._survivors != stored.survivors or len(survivors) < self.params.survivors_min:
            raise CodecError("the stored survivors are not those whom the members accepted")
        self._set_aside(aside)
        committee, certified = self.params.committee, self.params.certified
        if len(self._kept) < committee.needed:
            raise CodecError("too few members accepted the stored survivors")
        if certified and stored.stage == ANSWER and len(dict(stored.votes)) < committee.quorum:
            raise CodecError("too few votes are stored for answers")
        hashed = set_hash(self.context.digest, self._survivors)
        for place, signature in stored.votes:
            vote = place < committee.size and self.context.signed_by(
                self._public(place), signature, "vote", committee.ids[place], hashed
            )
            if not vote:
                raise CodecError("a stored vote is not one for the stored survivors")
        self._votes = dict(stored.votes)
        total = np.frombuffer(stored.total, dtype="<u8") if len(stored.total) == 8 * self._total_size else None
        if total is None:
            raise CodecError("the stored sum is not one of this round")
        self._total = total.astype(np.uint64)
        self.stage = ANSWER
        for message in stored.answers:
            self.receive(message)
        self.stage = stored.stage

    # ---- what the caller asks ----

    @property
    def context(self) -> RoundContext:
        """The announced round; StateError before stage 0 is closed."""
        if self._context is None:
            raise StateError("the round is announced when the members' box keys are here; call advance() first")
        return self._context

    @property
    def is_announced(self) -> bool:
        """Whether the round is announced: the members' box keys are here."""
        return self._context is not None

    @property
    def announced(self) -> Announce:
        """The announcement; before the box keys are here what is known of it."""
        return self._draft if self._context is None else self._context.announce

    @property
    def ends(self) -> Mapping[bytes, UploadEnd]:
        """id -> the signed last message, of the uploads that are complete."""
        return {party: self._end(party) for party in self.uploaded}

    @property
    def announcement(self) -> bytes:
        """Row 1 without the model; StateError before stage 0 is closed."""
        return self.context.announce.to_bytes()

    @property
    def pending(self) -> frozenset[bytes]:
        """Ids of the clients or members whose message of this stage has not come."""
        ids = self.params.committee.ids
        if self.stage == BOXKEYS:
            return frozenset(ids[p] for p in self._told if p not in self._seats)
        if self.stage == UPLOAD:
            gone = {party for party, upload in self._uploads.items() if upload.complete} | set(self._refused)
            return frozenset(self._roster.ids) - gone
        if self.stage == ACCEPT:
            return frozenset(ids[p] for p in self.context.present if self._told[p].accepted is None)
        if self.stage == VOTE:
            return frozenset(ids[p] for p in self._kept if p not in self._votes)
        if self.stage == ANSWER:
            return frozenset(ids[p] for p in self._kept if self._told[p].answer is None)
        if self.stage == CLOSING:
            return self.closing.pending
        return frozenset()

    @property
    def refused(self) -> Mapping[bytes, str]:
        """id -> reason: complete uploads that are no uploads of this round, and clients that members refused."""
        return dict(self._refused)

    @property
    def faulty(self) -> Mapping[bytes, str]:
        """id -> reason: members that were set aside."""
        return dict(self._aside)

    @property
    def uploaded(self) -> tuple[bytes, ...]:
        """Ids whose upload is complete, ascending."""
        return self._given or tuple(sorted(p for p, upload in self._uploads.items() if upload.complete))

    @property
    def survivors(self) -> tuple[bytes, ...]:
        """U, ascending; empty before it is proposed."""
        return tuple(party for party, _ in self._survivors)

    @property
    def certificate(self) -> tuple[tuple[int, bytes], ...]:
        """(place, signature) of the votes that came."""
        return tuple(sorted(self._votes.items()))

    @property
    def _kept(self) -> tuple[int, ...]:
        """Places of the members that accepted and were not set aside."""
        ids = self.params.committee.ids
        return tuple(p for p, told in self._told.items() if told.accepted is not None and ids[p] not in self._aside)

    # ---- receiving ----

    def receive(self, data: bytes, sender: bytes | None = None) -> None:
        """Take one message of a client or a member. A verbatim repeat changes nothing.

        Args:
            data: the bytes.
            sender: id that the transport has authenticated; a message in another name is refused. Blocks of an upload
                carry no signature of their own: without `sender` anybody can hold up another client's upload.

        Raises:
            RemoteError: the message is wrong (the sender is named) or comes for another stage.
        """
        stage = _NAMES[self.stage]
        try:
            message: Any = decode_any(data, _MESSAGES, max_bytes=(1 << 28) + (1 << 20))
        except CodecError as error:
            raise error.by(sender, stage) from None
        if sender is not None and message.id != sender:
            raise RemoteError(sender, stage, f"a message in the name of {message.id!r}")
        if not isinstance(message, (BoxKey, Close)) and (self._context is None or message.ctx != self.context.digest):
            raise RemoteError(message.id, stage, "the message belongs to another round")
        if isinstance(message, (UploadBlock, UploadEnd)):
            self._from_client(message, data, stage)
        else:
            self._from_member(message, data, stage)

    def _from_client(self, message: UploadBlock | UploadEnd, data: bytes, stage: str) -> None:
        who = message.id
        if who not in self._roster:
            raise RemoteError(who, stage, "this client is not in the roster")
        known = self._uploads.get(who)
        if known is not None and known.end is not None and isinstance(message, UploadEnd):
            if known.end.to_bytes() == data:
                return
            # Boxes are not signed (their keys follow from E_i, which is): like blocks, the last that came stand.
            if self.stage != UPLOAD or replace(known.end, boxes=message.boxes, kems=message.kems) != message:
                raise RemoteError(who, stage, "a second, different upload in one round")
        if self.stage != UPLOAD:
            raise RemoteError(who, stage, "uploads are closed, or have not begun")
        if who in self._refused:
            raise RemoteError(who, stage, f"its upload was refused in this round: {self._refused[who]}")
        if isinstance(message, UploadBlock):
            self._receive_block(message)
        else:
            self._receive_end(message)

    def _receive_block(self, message: UploadBlock) -> None:
        if message.index >= self.params.blocks:
            raise RemoteError(message.id, "upload", f"block {message.index} does not exist in this round")
        _, count, size = self.params.block(message.index)
        if len(message.payload) != size:
            raise RemoteError(
                message.id, "upload", f"block {message.index} has {len(message.payload)} bytes, needed are {size}"
            )
        upload = self._uploads.get(message.id, Upload())
        hashed = sha256(message.payload).digest()
        if upload.complete or upload.hashes.get(message.index) == hashed:
            return  # a late repeat
        try:
            rlwe_check(self.params.ring.tables, message.payload, count)
        except CodecError as error:
            raise RemoteError(message.id, "upload", f"block {message.index}: {error.message}") from None
        # A block carries no signature: until the signed hash has decided, the last one that came stands.
        self._staging.put(upload, message.index, message.payload, hashed)
        self._uploads[message.id] = upload
        self._complete(message.id, upload)

    def _receive_end(self, message: UploadEnd) -> None:
        self._check_parts(message)
        body = upload_body(message, _root(message))
        if not self.context.signed_by(self._roster.public(message.id), message.signature, "upload", *body):
            raise RemoteError(message.id, "upload", "the signature of the upload does not verify")
        upload = self._uploads.setdefault(message.id, Upload())
        upload.end = message
        self._complete(message.id, upload)

    def _check_parts(self, message: UploadEnd) -> None:
        """The key part has the shape of this round's.

        Raises:
            RemoteError: it has not.
        """
        params = self.params
        sharing, seats = params.sharing, self.context.announce.seats
        leaves = 32 * params.committee.size if params.certified else 0
        boxes = [0 if seat.is_empty else sharing.box_bytes(place) + BOX_OVERHEAD for place, seat in enumerate(seats)]
        kems = [0 if seat.is_empty else keys.MLKEM_CIPHERTEXT_BYTES for seat in seats] if params.hybrid else []
        if (
            len(message.leaves) != leaves
            or len(message.test) != sharing.test_bytes
            or [len(box) for box in message.boxes] != boxes
            or [len(kem) for kem in message.kems] != kems
        ):
            raise RemoteError(message.id, "upload", "the key part is not one of this round")

    def _complete(self, who: bytes, upload: Upload) -> None:
        if upload.end is None or len(upload.hashes) < self.params.blocks:
            return
        hashes = (upload.hashes[index] for index in range(self.params.blocks))
        if ciphertext_hash(self.context.digest, hashes) != upload.end.ciphertext_hash:
            # The blocks may be a stranger's: they go, the signed end stays, and the right blocks may still come.
            self._staging.clear(upload)
            raise RemoteError(None, "upload", f"the blocks in the name of {who!r} do not have the hash that it signed")
        upload.complete = True

    def _from_member(self, message: BoxKey | Accept | Vote | Answer | Close, data: bytes, stage: str) -> None:
        who, at = message.id, _STAGE_OF[message.TAG]
        place = self.params.committee.place(who)
        if place is None:
            raise RemoteError(who, stage, "this party is not in the committee")
        told, hashed = self._told[place], sha256(data).digest()
        if at in told.seen:
            if told.seen[at] == hashed:
                return
            raise RemoteError(who, stage, "a second, different message for one stage")
        late_vote = at == VOTE and self.stage == ANSWER
        if at != self.stage and not late_vote:
            raise RemoteError(who, stage, "the message is for a stage that is closed or has not begun")
        if isinstance(message, BoxKey):
            self._receive_box_key(message, place)
        elif isinstance(message, Accept):
            self._receive_accept(message, place, data)
        elif isinstance(message, Vote):
            self._receive_vote(message, place)
        elif isinstance(message, Answer):
            self._receive_answer(message, place, data)
        else:
            self.closing.receive(message)
        told.seen[at] = hashed

    def _public(self, place: int) -> bytes:
        return self.params.committee.members[place][1]

    def _receive_box_key(self, message: BoxKey, place: int) -> None:
        a = self._draft
        if (message.roster_hash, message.session, message.round) != (a.roster_hash, a.session, a.round):
            raise RemoteError(message.id, "boxkeys", "the box key belongs to another round")
        if bool(message.kem) != self.params.hybrid:
            raise RemoteError(message.id, "boxkeys", "the KEM key is not what this round asks for")
        try:
            keys.x25519_check_public(message.key)
            if message.kem:
                keys.mlkem_check_public(message.kem)
        except ParameterError as error:
            raise RemoteError(message.id, "boxkeys", str(error)) from None
        if not keys.verify(
            self._public(place), message.signature, "privcomp-oneshot-1/boxkey", *box_key_parts(message)
        ):
            raise RemoteError(message.id, "boxkeys", "the signature of the box key does not verify")
        if any(seat.key == message.key for seat in self._seats.values()):
            raise RemoteError(message.id, "boxkeys", "another member sent this box key before")
        self._seats[place] = Seat(message.key, message.kem, message.signature)

    def _receive_accept(self, message: Accept, place: int, data: bytes) -> None:
        context, given = self.context, self._given
        if message.given != sha256(self._shares(place)).digest():
            raise RemoteError(message.id, "accept", "the answer is about other shares than those that were sent")
        if len(message.accepted) != (len(given) + 7) // 8 or (
            len(given) % 8 and message.accepted[-1] >> len(given) % 8
        ):
            raise RemoteError(message.id, "accept", "the bitmap is not one over the delivered clients")
        parts = (message.id, message.given, message.accepted)
        if not context.signed_by(self._public(place), message.signature, "accept", *parts):
            raise RemoteError(message.id, "accept", "the signature does not verify")
        good = (party for k, party in enumerate(given) if message.accepted[k >> 3] >> (k & 7) & 1)
        self._told[place].accepted = frozenset(good)
        self._told[place].accept = data

    def _receive_vote(self, message: Vote, place: int) -> None:
        context = self.context
        hashed = set_hash(context.digest, self._survivors)
        if message.set_hash != hashed:
            raise RemoteError(message.id, "vote", "a vote for another set")
        if not context.signed_by(self._public(place), message.signature, "vote", message.id, hashed):
            raise RemoteError(message.id, "vote", "the signature of the vote does not verify")
        self._votes[place] = message.signature

    def _receive_answer(self, message: Answer, place: int, data: bytes) -> None:
        context = self.context
        hashed = set_hash(context.digest, self._survivors)
        if message.set_hash != hashed:
            raise RemoteError(message.id, "answer", "an answer for another set")
        if not context.signed_by(self._public(place), message.signature, "answer", message.id, hashed, message.sum):
            raise RemoteError(message.id, "answer", "the signature of the answer does not verify")
        try:
            self._told[place].answer = self.params.sharing.parse_answer(message.sum)
        except CodecError as error:
            raise error.by(message.id, "answer") from None
        self._told[place].answer_data = data

    # ---- moving on ----

    def requests(self) -> Outbox:
        """What the parties of `pending` are asked in this stage; may be sent again."""
        if self.stage == BOXKEYS:
            a = self._draft
            committee, hybrid = self.params.committee.hash, self.params.hybrid
            data = box_key_request(self._identity, a.roster_hash, a.session, a.round, committee, hybrid).to_bytes()
            return Outbox(self._in_order(), lambda _: (data,))
        if self.stage == UPLOAD:
            # The model is the large part, and the same object in every message.
            head = UploadRequest(self.announcement, b"").to_bytes()[:-4] + struct.pack("<I", len(self._model))
            return Outbox(sorted(self.pending), lambda _: (head, self._model))
        if self.stage == ACCEPT:
            return Outbox(self._in_order(), lambda party: (self._shares(self._place(party)),))
        if self.stage == VOTE:
            data = self._propose()
            return Outbox(self._in_order(), lambda _: (data,))
        if self.stage == ANSWER:
            data = self._certify() if self.params.certified else self._propose()
            return Outbox(self._in_order(), lambda _: (data,))
        if self.stage == CLOSING:
            data = self.closing.request
            return Outbox(self._in_order(), lambda _: (data,))
        return Outbox((), lambda _: ())

    def catch_up(self, party: bytes) -> tuple[bytes, ...]:
        """What a member that restarted is sent, in order: its shares again, then what is asked of it now."""
        place = self._place(party)
        asked = self.requests()
        out = [self._shares(place)] if self.stage in (VOTE, ANSWER) and place in self._kept else []
        if party in asked:
            out.append(asked[party])
        return tuple(out)

    def _in_order(self) -> tuple[bytes, ...]:
        pending = self.pending
        return tuple(party for party in self.params.committee.ids if party in pending)

    def _place(self, party: bytes) -> int:
        place = self.params.committee.place(party)
        if place is None:
            raise ParameterError(f"{party!r} is not in the committee")
        return place

    def advance(self) -> Outbox:
        """Close the stage: id -> next message, built when it is asked for. After the last stage use `result`.

        Raises:
            RoundAborted: too few box keys, uploads, members or votes. Nothing was opened; more may still come in, then
                call it again.
        """
        if self.stage == BOXKEYS:
            self._announce()
        elif self.stage == UPLOAD:
            self._deliver()
        elif self.stage == ACCEPT:
            self._fix_survivors()
        elif self.stage == VOTE:
            q = self.params.committee.quorum
            self._need(len(self._votes) >= q, "vote", f"{len(self._votes)} votes, {q} are needed")
            self.stage = ANSWER
        else:
            raise StateError("there is no stage to close; call result()")
        return self.requests()

    def _announce(self) -> None:
        committee = self.params.committee
        here, need = len(self._seats), committee.needed
        self._need(here >= need, "boxkeys", f"{here} members sent box keys, {need} are needed")
        empty = Seat(b"", b"", b"")
        a = self._draft
        values = {name: getattr(a, name) for name, _ in Announce.FIELDS}
        values["seats"] = tuple(self._seats.get(place, empty) for place in range(committee.size))
        context = RoundContext.of(Announce(**values))
        values["signature"] = context.sign(self._identity, "announce", context.announce_body)
        self._context = RoundContext.of(Announce(**values))
        self.stage = UPLOAD

    def _deliver(self) -> None:
        here, least = len(self.uploaded), self.params.survivors_min
        self._need(here >= least, "upload", f"{here} complete uploads, {least} are needed")
        for party in [party for party, upload in self._uploads.items() if not upload.complete]:
            self._staging.clear(self._uploads.pop(party))
        self._fix_given()
        self.stage = ACCEPT

    def _fix_given(self) -> None:
        """From here on the uploads that members check are fixed."""
        complete = sorted(party for party, upload in self._uploads.items() if upload.complete)
        self._given = tuple(complete[: self.params.clients])
        for party in complete[self.params.clients :]:
            self._refused[party] = f"the round is full: its sum is safe for {self.params.clients} clients"
        for party in self._given:
            end = self._end(party)
            self._digests[party] = upload_digest(self.context, upload_body(end, _root(end)))
            if self.params.certified:
                self._paths[party] = merkle_paths(_leaves(end))

    def _end(self, party: bytes) -> UploadEnd:
        end = self._uploads[party].end
        if end is None:
            raise StateError(f"the upload of {party!r} is not complete")
        return end

    def _shares(self, place: int) -> bytes:
        """Row 3 for one member."""
        entries = []
        for party in self._given:
            end = self._end(party)
            path = self._paths[party][place] if self.params.certified else ()
            kem = end.kems[place] if self.params.hybrid else b""
            entries.append(
                SharedKey(party, end.key, end.ciphertext_hash, end.test, path, end.boxes[place], kem, end.signature)
            )
        unsigned = Shares(self.announcement, tuple(entries), bytes(64)).to_bytes()[:-64]
        return unsigned + self.context.sign(self._identity, "shares", sha256(unsigned).digest())

    def _fix_survivors(self) -> None:
        """Row 5a: fix U, write it down, add its ciphertexts."""
        committee = self.params.committee
        aside, survivors = self._chosen()
        kept = len(self._kept) - len(aside)
        self._need(kept >= committee.needed, "accept", f"{kept} members accepted, {committee.needed} are needed")
        least = self.params.survivors_min
        self._need(
            len(survivors) >= least, "accept", f"{len(survivors)} uploads pass the members' checks, {least} are needed"
        )
        # First what may fail: once the set is written down, this model gets no other one.
        total = np.zeros(self._total_size, np.uint64)
        for party in survivors:
            self._add(total, self._uploads[party])
        fixed = tuple((party, self._digests[party]) for party in survivors)
        with self._journal.locked():
            self._refuse_used_model(self.context.digest)
            self._write_down(fixed)
        self._set_aside(aside)
        self._survivors, self._total = fixed, total
        for party in self._given:
            if party not in survivors:
                self._refused[party] = "a member could not accept its share or its signature"
        for upload in self._uploads.values():
            self._staging.clear(upload)
        self._staging.close()
        self.stage = VOTE if self.params.certified else ANSWER

    def _write_down(self, survivors: tuple[tuple[bytes, bytes], ...]) -> None:
        """Enter the proposal into the journal, unless it is there.

        Raises:
            JournalError: another set of this round is there.
        """
        a, committee = self.context.announce, self.params.committee
        hashed = set_hash(self.context.digest, survivors)
        entry = self._journal.find(self.context.digest, PROPOSE)
        if entry is not None:
            if entry.request != hashed:
                raise JournalError(
                    "another survivor set of this round is in the journal: the stored round is not it, or other "
                    "clients have uploaded; go on with another model"
                )
            return
        self._journal.append(
            protocol=ONESHOT,
            session=a.session,
            round=a.round,
            purpose=a.purpose,
            model_hash=a.model_hash,
            round_digest=self.context.digest,
            stage=PROPOSE,
            request=hashed,
            messages=[self._proposal(survivors)],
            secrets=None,
            note=committee.hash + hashed,
        )

    @property
    def _total_size(self) -> int:
        ring = self.params.ring
        return len(ring.ring.primes) * -(-self.params.length // ring.digits)

    def _add(self, total: U64Array, upload: Upload) -> None:
        for index, payload in enumerate(self._staging.blocks(upload)):
            first, count, _ = self.params.block(index)
            rlwe_add(self.params.ring.tables, total, payload, first, count)

    def _chosen(self) -> tuple[dict[bytes, str], tuple[bytes, ...]]:
        """(members to set aside, U).

        Members that refuse more than floor(gamma n) clients, n the size of the roster, go first, most refusals first,
        while enough others remain; then every client that a remaining member refuses goes.
        """
        ids, limit = self.params.committee.ids, self.params.gamma_ppm * len(self._roster) // _PPM
        refusals = {
            place: len(self._given) - len(told.accepted)
            for place, told in self._told.items()
            if told.accepted is not None
        }
        spare = len(refusals) - self.params.committee.needed
        aside: dict[bytes, str] = {}
        for place in sorted(refusals, key=lambda p: (-refusals[p], p)):
            if spare <= len(aside) or refusals[place] <= limit:
                break
            aside[ids[place]] = f"refused {refusals[place]} clients, more than {limit}"
        good = [
            told.accepted for place, told in self._told.items() if told.accepted is not None and ids[place] not in aside
        ]
        left = frozenset(self._given).intersection(*good) if good else frozenset()
        return aside, tuple(party for party in self._given if party in left)

    def _set_aside(self, aside: Mapping[bytes, str]) -> None:
        self._aside = dict(aside)

    def _propose(self) -> bytes:
        return self._proposal(self._survivors)

    def _proposal(self, survivors: tuple[tuple[bytes, bytes], ...]) -> bytes:
        context = self.context
        hashed = set_hash(context.digest, survivors)
        return Propose(context.digest, survivors, context.sign(self._identity, "propose", hashed)).to_bytes()

    def _certify(self) -> bytes:
        return Certificate(self.context.digest, self._survivors, self.certificate).to_bytes()

    def close(self) -> Outbox:
        """Give the round up for good: ask the members to close this model for this committee, so that clients may go to
        another one. Not once a set is proposed: it may be certified, and nothing can close it.

        Raises:
            StateError: a set was proposed, or nothing was announced.
        """
        if self.stage not in (UPLOAD, ACCEPT, CLOSING):
            raise StateError("only a round that was announced, and has no proposal, can be given up")
        self._closing = self._closing or Closing(self.context)
        self.stage = CLOSING
        return self.requests()

    def close_certificate(self) -> CloseCertificate:
        """K close signatures, for `closes=` of the next server on this model.

        Raises:
            RoundAborted: too few came; more may still come in.
        """
        return self.closing.certificate()

    @property
    def closing(self) -> Closing:
        """The closes of this round's model; StateError before `close`."""
        if self._closing is None:
            raise StateError("this round is not being given up; call close() first")
        return self._closing

    def _need(self, condition: bool, stage: str, text: str) -> None:
        if not condition:
            raise RoundAborted(None, stage, text + "; nothing was opened")

    # ---- the result ----

    def result(self) -> Aggregate:
        """Reconstruct the sum of the keys, decode.

        Raises:
            RoundAborted: too few or too many wrong answers (more may still come, then call again), or the sum does not
                decode: then this model gets no sum, as its one set is certified.
        """
        if self.stage not in (ANSWER, DONE):
            raise StateError("the sum can be opened once the survivors are certified")
        params, ids = self.params, self.params.committee.ids
        answers = {p: told.answer for p, told in self._told.items() if told.answer is not None}
        key_sum, wrong = params.sharing.reconstruct(answers)
        faulty = {**self._aside, **{ids[p]: "its answer is not on the polynomials of the others" for p in wrong}}
        decryptor = Decryptor(params.ring, self.context.digest, params.length)
        total = decryptor.decode(self._total, key_sum.astype(np.int32), len(self._survivors))
        self.stage = DONE
        return Aggregate(
            (total,),
            self.survivors,
            self.uploaded,
            tuple(ids[p] for p in sorted(answers) if p not in wrong),
            self.certificate,
            faulty,
        )


def _leaves(end: UploadEnd) -> list[bytes]:
    return [end.leaves[k : k + 32] for k in range(0, len(end.leaves), 32)]


def _root(end: UploadEnd) -> bytes:
    return merkle_root(_leaves(end)) if end.leaves else NO_ROOT

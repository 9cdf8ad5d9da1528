"""A member of the committee: it holds shares of keys, signs one survivor set, and answers with one sum of shares.

All that it ever did lies in its journal, written before it is sent; a repeat gets the same bytes, anything else is
refused. What it was given lies in memory only: a member that restarted is given the same shares again, and goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp.codec import Blob, Codec, Fixed, Message, decode_any
from privcomp.errors import CodecError, JournalError, LedgerError, ParameterError, PolicyError, RemoteError, StateError
from privcomp.journal import Entry, Journal
from privcomp.keys import Identity, Roster
from privcomp.oneshot.context import (
    NO_ROOT,
    SERVER,
    BoxSecret,
    RoundContext,
    box_key_parts,
    close_parts,
    open_box,
    request_is_signed,
    set_hash,
    upload_body,
    upload_digest,
)
from privcomp.oneshot.messages import (
    MAX_ANNOUNCE,
    Accept,
    Announce,
    Answer,
    BoxKey,
    BoxKeyRequest,
    Certificate,
    Close,
    CloseRequest,
    Propose,
    SharedKey,
    Shares,
    Vote,
)
from privcomp.oneshot.params import ONESHOT
from privcomp.oneshot.rules import ACCEPT, ANSWER, BOXKEY, CLOSE, VOTE, Rules, close_digest, row0_digest
from privcomp.policy import Policy

__all__ = ["KeyHolder", "Member"]

_REQUESTS: Mapping[int, type[Message]] = {
    cls.TAG: cls for cls in (BoxKeyRequest, Shares, Propose, Certificate, CloseRequest)
}
_NO_MODEL = bytes(32)  # row 0 is signed before a model is announced


@dataclass(frozen=True)
class _Secrets(Message):
    """The private box key of one round. Never sent."""

    TAG: ClassVar[int] = 0x0930
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("key", Fixed(32)), ("kem", Blob(64)))
    key: bytes
    kem: bytes

    def __repr__(self) -> str:
        return "_Secrets(<redacted>)"


@dataclass(frozen=True)
class _Given:
    """What this member holds in a round: of each accepted client the upload digest and the rows, u16 (L,)."""

    context: RoundContext
    place: int
    digests: Mapping[bytes, bytes]
    rows: Mapping[bytes, NDArray[np.uint16]]

    def __repr__(self) -> str:
        return f"_Given({len(self.rows)} clients, <redacted>)"


class Member:
    """One member of a committee, across rounds.

    Args:
        id: 1..64 bytes, as in the committee.
        identity: long-term signing key, as in the committee.
        policy: this node's limits; `policy.committee` has the committees that it is a member of.
        journal: what this identity has sent; must belong to `identity`. May be that of the same node as a client.
        roster: the clients, id -> long-term key, given out of band.
        rng: entropy of the operating system, `os.urandom`.

    Raises:
        ParameterError: the journal belongs to another identity.
        PolicyError: the policy pins another roster.
    """

    #: Whether this role is alone: see `KeyHolder`.
    holds_whole_keys: ClassVar[bool] = False

    def __init__(
        self,
        id: bytes,
        identity: Identity,
        policy: Policy,
        journal: Journal,
        roster: Roster,
        *,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.id = keys.check_id(id)
        self.policy = policy
        self.roster = roster
        self._identity = identity
        self._journal = journal
        self._rng = rng
        self._rules = Rules(policy, roster, journal)
        self._given: dict[bytes, _Given] = {}  # ctx -> shares
        #: Key of the server whose ledger this node follows, where somebody keeps that in mind; None: the policy decides
        #: alone.
        self.follows: bytes | None = None
        if journal.identity != identity.public:
            raise ParameterError("the journal belongs to another identity; create journal and identity together")
        if policy.roster_hash not in (None, roster.hash):
            raise PolicyError("the roster is not the one that this node's policy pins")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def receive(self, data: bytes) -> Iterable[bytes]:
        """Take any message of the server and return the messages to send: new, or the stored bytes of a repeat.

        Raises:
            LocalError: the policy or the journal forbids it; nothing was sent, and nothing changed.
            RemoteError: the message is not what an honest server sends.
        """
        try:
            message = decode_any(data, _REQUESTS, max_bytes=self.policy.committee.delivery_bytes_max + MAX_ANNOUNCE)
        except CodecError as error:
            raise error.by(SERVER, "decode") from None
        with self._journal.locked():
            if isinstance(message, BoxKeyRequest):
                return self._box_key(message)
            if isinstance(message, Shares):
                return self._accept(message, data)
            if isinstance(message, CloseRequest):
                return self._close(message)
            if isinstance(message, Propose):
                return self._proposed(message)
            if isinstance(message, Certificate):
                return self._certified(message)
        raise RemoteError(SERVER, "decode", f"a {type(message).__name__} is no request to a member")

    # ---- row 0 ----

    def _box_key(self, request: BoxKeyRequest) -> Iterable[bytes]:
        """A fresh box key for one (session, round); asked again, the same one, as long as it opens anything."""
        self._of_own_server(request.server)
        if not request_is_signed(request):
            raise RemoteError(SERVER, "boxkeys", "the server's signature over the request does not verify")
        self.policy.require(ONESHOT in self.policy.protocols, f"protocol {ONESHOT!r}", f"{self.policy.protocols}")
        self.policy.require(
            request.roster_hash == self.roster.hash, "another roster", "the roster that this node holds"
        )
        r = request
        own = row0_digest(r.roster_hash, r.session, r.round, r.committee_hash, r.hybrid)
        entry = self._journal.find(own, BOXKEY)
        if entry is not None:
            if self._journal.find(own, ANSWER) is None and self._journal.secrets(own) is None:
                # Clients would seal to a key that opens nothing, and the server count on this member.
                raise JournalError("the box key of this round is erased: it was given up for newer rounds")
            return self._journal.answer(entry)
        self._rules.box_key(r.session, r.round, r.server)
        secret, seed = self._draw(32), self._draw(64) if request.hybrid else b""
        message = BoxKey(
            request.roster_hash,
            request.session,
            request.round,
            self.id,
            keys.x25519_public(secret),
            keys.mlkem_public(seed) if seed else b"",
            bytes(64),
        )
        signature = self._identity.sign("privcomp-oneshot-1/boxkey", *box_key_parts(message))
        entry = self._journal.append(
            protocol=ONESHOT,
            session=request.session,
            round=request.round,
            purpose="",
            model_hash=_NO_MODEL,
            round_digest=own,
            stage=BOXKEY,
            request=own,
            messages=[_with(message, signature)],
            secrets=_Secrets(secret, seed).to_bytes(),
            note=request.committee_hash + request.server,
        )
        self._expire(own)
        return self._journal.answer(entry)

    def _of_own_server(self, server: bytes) -> None:
        """Whoever else could have box keys drawn, shares accepted or models closed would cost the server its rounds.

        Raises:
            PolicyError, LedgerError: it is another server than this member's.
        """
        pinned = self.policy.ledger_key
        self.policy.require(pinned in (None, server), "another server's round", "the server that is pinned")
        if self.follows not in (None, server):
            raise LedgerError("another server than that of the ledger which this node follows asks for this")

    def _expire(self, newest: bytes) -> None:
        """Box keys of rounds that never ended would open them for a thief. Too many: those of the rounds that came
        least far go first, the oldest of them, as what was accepted may be proposed and what was voted on certified."""
        own = [rd for rd in self._journal.open_rounds() if self._journal.find(rd, BOXKEY) is not None and rd != newest]
        spare = len(own) + 1 - self.policy.open_rounds_max
        for rd in sorted(own, key=self._reached)[: max(spare, 0)]:
            self._journal.erase(rd)

    def _reached(self, own: bytes) -> int:
        """How far a round came here: 0 it has a box key, 1 its shares were accepted, 2 its set was voted on."""
        return sum(self._journal.find(own, stage) is not None for stage in (ACCEPT, VOTE))

    # ---- rows 3 and 4 ----

    def _accept(self, message: Shares, data: bytes) -> Iterable[bytes]:
        context, own, place = self._mine(message.announce)
        entry = self._journal.find(own, ACCEPT)
        if entry is not None and (entry.note[32:], entry.request) != (context.digest, sha256(data).digest()):
            raise JournalError("this member was given other shares in this session and round before")
        if entry is not None and (context.digest in self._given or self._journal.find(own, ANSWER) is not None):
            return self._journal.answer(entry)
        self._of_own_server(context.announce.server)
        self._rules.announcement(context)
        self.policy.require(
            len(data) <= self.policy.committee.delivery_bytes_max,
            f"{len(data)} bytes of shares",
            f"at most {self.policy.committee.delivery_bytes_max}",
        )
        if not context.signed_by(context.announce.server, message.signature, "shares", sha256(data[:-64]).digest()):
            raise RemoteError(SERVER, "accept", "the server's signature over the shares does not verify")
        stored = self._journal.secrets(own)
        if stored is None:
            raise JournalError("the box key of this round is erased: it was answered, or given up for newer rounds")
        secrets = _Secrets.from_bytes(stored, max_bytes=256)
        given = self._opened(context, place, message.entries, BoxSecret(keys.X25519Key(secrets.key), secrets.kem))
        if entry is None:
            bits = bytearray((len(message.entries) + 7) // 8)
            for k, client in enumerate(message.entries):
                bits[k >> 3] |= (client.id in given.rows) << (k & 7)
            hashed = sha256(data).digest()
            signature = context.sign(self._identity, "accept", self.id, hashed, bytes(bits))
            answer = Accept(context.digest, self.id, hashed, bytes(bits), signature).to_bytes()
            # What was given is remembered by its hash: the same is given again after a restart, or nothing goes on.
            entry = self._append(context, own, ACCEPT, hashed, answer, stored, context.digest)
        self._given[context.digest] = given
        while len(self._given) > self.policy.open_rounds_max:
            del self._given[next(iter(self._given))]
        return self._journal.answer(entry)

    def _mine(self, announce: bytes) -> tuple[RoundContext, bytes, int]:
        """The round of an announcement in which this member has a seat with the box key that its journal holds.

        Raises:
            RemoteError, PolicyError: not an announcement, or without this member.
            JournalError: the journal does not hold this member's row 0 of it.
        """
        try:
            parsed = Announce.from_bytes(announce, max_bytes=MAX_ANNOUNCE)
        except CodecError as error:
            raise error.by(SERVER, "announce") from None
        context = self._rules.context(parsed)
        committee = context.params.committee
        if committee.is_single != self.holds_whole_keys:
            raise PolicyError(
                "a single key-holder is a role of its own, as it could open every single update together with the "
                "server: KeyHolder takes part in such rounds, and Member in all others"
            )
        place = committee.place(self.id)
        if place is None or committee.members[place][1] != self._identity.public:
            raise RemoteError(SERVER, "announce", "this member, with its identity, is not in the committee")
        own = row0_digest(parsed.roster_hash, parsed.session, parsed.round, committee.hash, context.params.hybrid)
        row0 = self._journal.find(own, BOXKEY)
        if row0 is None:
            raise JournalError("this member's journal does not hold its box key of this round: it signs nothing for it")
        sent = BoxKey.from_bytes(b"".join(self._journal.answer(row0)), max_bytes=1 << 13)
        seat = parsed.seats[place]
        if (seat.key, seat.kem, seat.signature) != (sent.key, sent.kem, sent.signature):
            raise RemoteError(SERVER, "announce", "this member's box key is not the one that it signed for")
        return context, own, place

    def _opened(self, context: RoundContext, place: int, entries: Iterable[SharedKey], secret: BoxSecret) -> _Given:
        """Open every box; keep the clients whose signature, box, leaf and test pass."""
        digests: dict[bytes, bytes] = {}
        rows: dict[bytes, NDArray[np.uint16]] = {}
        for entry in entries:
            try:
                digests[entry.id], rows[entry.id] = self._checked(context, place, entry, secret)
            except RemoteError:
                continue  # named by the bitmap of Accept
        return _Given(context, place, digests, rows)

    def _checked(
        self, context: RoundContext, place: int, entry: SharedKey, secret: BoxSecret
    ) -> tuple[bytes, NDArray[np.uint16]]:
        """One client's upload digest and rows.

        Raises:
            RemoteError: its box, its share or its signature does not hold.
        """
        params = context.params
        if entry.id not in self.roster:
            raise RemoteError(entry.id, "accept", "not in the roster")
        sharing, root = params.sharing, NO_ROOT
        try:
            plain, salt = open_box(context, place, entry, secret)
            share = sharing.open(place, plain)
        except CodecError as error:
            raise error.by(entry.id, "accept") from None
        if params.certified:
            found = sharing.check(
                place, share, ctx=context.digest, client=entry.id, salt=salt, path=entry.path, test=entry.test
            )
            if found is None:
                raise RemoteError(entry.id, "accept", "its share is not one of a sharing of degree T - 1")
            root = found
        elif entry.path or entry.test:
            raise RemoteError(entry.id, "accept", "a test in a round that has none")
        body = upload_body(entry, root)
        if not context.signed_by(self.roster.public(entry.id), entry.signature, "upload", *body):
            raise RemoteError(entry.id, "accept", "its signature does not verify over what this member was given")
        return upload_digest(context, body), share.rows.astype(np.uint16)

    # ---- rows 5 and 6 ----

    def _proposed(self, message: Propose) -> Iterable[bytes]:
        hashed = set_hash(message.ctx, message.survivors)
        told, given = self._round(message.ctx)
        own = told.round_digest
        done = self._repeated(told, hashed, VOTE) or self._repeated(told, hashed, ANSWER)
        if done is not None:
            return self._journal.answer(done)
        given = self._held(given)
        context = given.context
        if not context.signed_by(context.announce.server, message.signature, "propose", hashed):
            raise RemoteError(SERVER, "propose", "the server's signature over the survivors does not verify")
        self._survivors(given, message.survivors, "propose")
        if not context.params.certified:
            return self._answer(given, own, message.survivors, hashed)
        self._rules.opens(context, own, hashed, VOTE)
        signature = context.sign(self._identity, "vote", self.id, hashed)
        data = Vote(context.digest, self.id, hashed, signature).to_bytes()
        entry = self._append(context, own, VOTE, hashed, data, self._journal.secrets(own), hashed)
        return self._journal.answer(entry)

    def _certified(self, message: Certificate) -> Iterable[bytes]:
        hashed = set_hash(message.ctx, message.survivors)
        told, given = self._round(message.ctx)
        own = told.round_digest
        done = self._repeated(told, hashed, ANSWER)
        if done is not None:
            return self._journal.answer(done)
        given = self._held(given)
        context = given.context
        if not context.params.certified:
            raise RemoteError(SERVER, "answer", "a certificate in a round that has none")
        self._survivors(given, message.survivors, "answer")
        self._quorum(context, message, hashed)
        return self._answer(given, own, message.survivors, hashed)

    def _round(self, ctx: bytes) -> tuple[Entry, _Given | None]:
        """(entry of the acceptance, shares) of a round that this member was given shares of; the shares are None after
        a restart, and after the answer.

        Raises:
            JournalError: the journal does not know this round.
        """
        for entry in reversed(self._journal.entries()):
            if entry.protocol == ONESHOT and entry.stage == ACCEPT and entry.note[32:] == ctx:
                return entry, self._given.get(ctx)
        raise JournalError(
            "this member's journal does not hold that it was given shares of this round: it opens nothing"
        )

    def _repeated(self, told: Entry, hashed: bytes, stage: int) -> Entry | None:
        """See `Rules.repeated`."""
        done = self._rules.repeated(told.session, told.round, told.round_digest, hashed, stage)
        if done is not None and stage == ANSWER:
            self._journal.erase(told.round_digest)  # a crash after the answer, before its box key was erased
        return done

    def _held(self, given: _Given | None) -> _Given:
        if given is None:
            raise StateError("this member does not hold the shares of this round any more: deliver the same ones again")
        return given

    def _survivors(self, given: _Given, survivors: tuple[tuple[bytes, bytes], ...], stage: str) -> None:
        """U is within what this member accepted, with the same digests, and large enough.

        Raises:
            RemoteError: it is not.
        """
        params = given.context.params
        if not params.survivors_min <= len(survivors) <= params.clients:
            raise RemoteError(
                SERVER, stage, f"{len(survivors)} survivors; the round opens {params.survivors_min}..{params.clients}"
            )
        ids = [party for party, _ in survivors]
        if any(a >= b for a, b in pairwise(ids)):
            raise RemoteError(SERVER, stage, "a survivor comes twice, or the survivors are out of order")
        for party, hashed in survivors:
            if given.digests.get(party) != hashed:
                raise RemoteError(
                    SERVER, stage, f"{party!r} with this upload is not among those whom this member accepted"
                )

    def _quorum(self, context: RoundContext, message: Certificate, hashed: bytes) -> None:
        """Q votes of different members on exactly this set.

        Raises:
            RemoteError: too few, or one that does not verify.
        """
        committee, last = context.params.committee, -1
        for place, signature in message.votes:
            if not last < place < committee.size:
                raise RemoteError(SERVER, "answer", "the votes are not by increasing place, or not of this committee")
            last = place
            party, public = committee.members[place]
            if not context.signed_by(public, signature, "vote", party, hashed):
                raise RemoteError(SERVER, "answer", f"the vote of {party!r} does not verify over this set")
        if len(message.votes) < committee.quorum:
            raise RemoteError(SERVER, "answer", f"{len(message.votes)} votes, {committee.quorum} are needed")

    def _answer(
        self, given: _Given, own: bytes, survivors: tuple[tuple[bytes, bytes], ...], hashed: bytes
    ) -> Iterable[bytes]:
        context = given.context
        self._rules.opens(context, own, hashed, ANSWER)
        total = context.params.sharing.add(given.rows[party] for party, _ in survivors)
        signature = context.sign(self._identity, "answer", self.id, hashed, total)
        data = Answer(context.digest, self.id, hashed, total, signature).to_bytes()
        entry = self._append(context, own, ANSWER, hashed, data, None, hashed)
        self._journal.erase(own)  # boxes of this round open no more
        self._given.pop(context.digest, None)
        return self._journal.answer(entry)

    # ---- row 5c ----

    def _close(self, message: CloseRequest) -> Iterable[bytes]:
        context, own, _ = self._mine(message.announce)
        a, committee = context.announce, context.params.committee
        self._of_own_server(a.server)
        if not context.signed_by(a.server, a.signature, "announce", context.announce_body):
            raise RemoteError(SERVER, "close", "the server's signature does not verify")
        closed = close_digest(a.model_hash, committee.hash)
        entry = self._journal.find(closed, CLOSE)
        if entry is None:
            self._rules.close(context, own)
            signature = self._identity.sign("privcomp-oneshot-1/close", *close_parts(a.model_hash, committee.hash))
            data = Close(self.id, a.model_hash, committee.hash, signature).to_bytes()
            entry = self._append(context, closed, CLOSE, closed, data, None, b"")
        return self._journal.answer(entry)

    # ---- helpers ----

    def _append(
        self,
        context: RoundContext,
        own: bytes,
        stage: int,
        request: bytes,
        message: bytes,
        secrets: bytes | None,
        what: bytes,
    ) -> Entry:
        """Into the journal first; what is sent comes out of it. The note has the committee, and the set (or ctx)."""
        a = context.announce
        return self._journal.append(
            protocol=ONESHOT,
            session=a.session,
            round=a.round,
            purpose=a.purpose,
            model_hash=a.model_hash,
            round_digest=own,
            stage=stage,
            request=request,
            messages=[message],
            secrets=secrets,
            note=context.params.committee.hash + what,
        )

    def _draw(self, size: int) -> bytes:
        data = self._rng(size)
        if type(data) is not bytes or len(data) != size:
            raise ParameterError(f"rng({size}) must return exactly {size} bytes; use os.urandom")
        return data


class KeyHolder(Member):
    """The committee of one. **Together with the server it could open every single update**: it holds every client's
    whole key, and the server every ciphertext. By itself it learns the survivors and nothing else, as ciphertexts never
    reach it. It returns the sum of the keys once per round, and once per model.

    Args: see `Member`.
    """

    holds_whole_keys: ClassVar[bool] = True

    @property
    def could_open(self) -> str:
        """In words, for reports and logs."""
        return "the key-holder and the server together could open every single update"


def _with(message: Any, signature: bytes) -> bytes:
    """The bytes of a message with its signature filled in."""
    values = {name: getattr(message, name) for name, _ in message.FIELDS}
    data: bytes = type(message)(**{**values, "signature": signature}).to_bytes()
    return data

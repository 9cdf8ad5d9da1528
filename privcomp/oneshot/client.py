"""The client: one message in, one upload out, and it may vanish.

It checks the announcement against its own policy, encrypts its update under a fresh key, deals the key to the
committee, writes all of it to its journal, and sends what the journal holds. Asked again it sends the same bytes;
nothing is ever encrypted twice in a round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from privcomp import keys
from privcomp.codec import decode_any, digest
from privcomp.errors import (
    CodecError,
    EncodingError,
    JournalError,
    ParameterError,
    PolicyError,
    RemoteError,
    StateError,
)
from privcomp.he import Encryptor, Secret
from privcomp.journal import Journal
from privcomp.keys import Identity, Roster
from privcomp.oneshot.context import (
    NO_ROOT,
    SERVER,
    RoundContext,
    box_keys,
    ciphertext_hash,
    seal_box,
    upload_body,
    upload_digest,
)
from privcomp.oneshot.keyshares import Dealt, leaf, merkle_root
from privcomp.oneshot.messages import MAX_ANNOUNCE, MAX_MODEL, Announce, UploadBlock, UploadEnd, UploadRequest
from privcomp.oneshot.params import ONESHOT
from privcomp.oneshot.rules import UPLOAD, Rules
from privcomp.policy import Policy

__all__ = ["Client", "Contribution", "Update", "Uploaded"]


@dataclass(frozen=True)
class Contribution:
    """What a client adds to the sum: int64 or int32 (length,), |entry| <= ring.value_bound, its weight inside."""

    values: NDArray[Any]

    def __repr__(self) -> str:
        return "Contribution(<redacted>)"


#: The update, or a function of the verified model bytes that computes it.
Update = Contribution | Callable[[bytes], Contribution]


@dataclass(frozen=True)
class Uploaded:
    """The one state of a client in a round: its upload is in the journal, and nothing else of the round is kept."""

    context: RoundContext

    @property
    def round_digest(self) -> bytes:
        """ctx, 32 bytes."""
        return self.context.digest


class Client:
    """One client of one-shot aggregation, across rounds.

    Args:
        id: 1..64 bytes, as in the roster.
        identity: long-term signing key.
        policy: this node's limits; `policy.committee` says who may hold shares of its keys.
        journal: what this identity has sent; must belong to `identity`.
        roster: id -> long-term key, given out of band.
        rng: entropy of the operating system, `os.urandom`; called afresh for every secret.

    Raises:
        ParameterError: id and identity do not match the roster, or the journal belongs to another identity.
        PolicyError: the policy pins another roster.
    """

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
        if journal.identity != identity.public:
            raise ParameterError("the journal belongs to another identity; create journal and identity together")
        if id not in roster or roster.public(id) != identity.public:
            raise ParameterError(f"{id!r} with this identity is not in the roster; fetch the right roster or key")
        if policy.roster_hash not in (None, roster.hash):
            raise PolicyError("the roster is not the one that this node's policy pins")

    def __repr__(self) -> str:
        return f"Client(id={self.id!r})"

    def check_announcement(self, announce: bytes) -> RoundContext:
        """All refusals that need no model bytes, without writing or sending anything.

        Raises:
            PolicyError, JournalError: this node does not take part.
            RemoteError: not what an honest server sends.
        """
        context = self._context(announce)
        with self._journal.locked():
            if self._journal.find(context.digest, UPLOAD) is None:
                self._checked(context)
        return context

    def receive(
        self, state: Uploaded | None, message: bytes, update: Update | None = None
    ) -> tuple[Uploaded, Iterable[bytes]]:
        """Take the server's only message, and return the upload: new, or the stored bytes where it is a repeat.

        Args:
            state: not needed; what the last call returned, or None.
            message: an `UploadRequest`.
            update: a `Contribution`, or a function that computes it from the model bytes.

        Returns:
            The state and the messages to send, in order; they may be large, and come from the journal one by one.

        Raises:
            LocalError: policy, journal or encoding forbid it; nothing was sent.
            RemoteError: the message is not what an honest server sends.
        """
        try:
            request = decode_any(message, {UploadRequest.TAG: UploadRequest}, max_bytes=MAX_MODEL + MAX_ANNOUNCE)
        except CodecError as error:
            raise error.by(SERVER, "decode") from None
        if not isinstance(request, UploadRequest):
            raise RemoteError(SERVER, "upload", f"expected an UploadRequest, not a {type(request).__name__}")
        context = self._context(request.announce)
        with self._journal.locked():
            entry = self._journal.find(context.digest, UPLOAD)
            if entry is not None:  # what was sent for this ctx is sent again, byte for byte
                return Uploaded(context), self._journal.answer(entry)
            self._checked(context)
            if sha256(request.model).digest() != context.announce.model_hash:
                raise RemoteError(SERVER, "upload", "the model bytes do not have the announced hash")
            if update is None:
                raise StateError("the upload needs the update; pass update=")
            contribution = update(request.model) if callable(update) else update
            return Uploaded(context), self._commit(context, contribution)

    def _context(self, announce: bytes) -> RoundContext:
        try:
            parsed = Announce.from_bytes(announce, max_bytes=MAX_ANNOUNCE)
        except CodecError as error:
            raise error.by(SERVER, "announce") from None
        return self._rules.context(parsed)

    def _checked(self, context: RoundContext) -> None:
        self._rules.announcement(context)
        self._rules.upload(context)

    def _commit(self, context: RoundContext, contribution: Contribution) -> Iterable[bytes]:
        """Into the journal first; what is sent comes out of it."""
        a, params = context.announce, context.params
        if not isinstance(contribution, Contribution):
            raise EncodingError(f"the update is a {type(contribution).__name__}; return a Contribution")
        secret = Secret.draw(params.ring, self._rng)
        try:
            made = _Upload(context, self.id, self._identity, self._rng)
            blocks = Encryptor(params.ring, context.digest, params.length).payload_blocks(
                contribution.values, secret, self._rng
            )
            dealt = params.sharing.deal(secret.coefficients, self._rng)
            entry = self._journal.append(
                protocol=ONESHOT,
                session=a.session,
                round=a.round,
                purpose=a.purpose,
                model_hash=a.model_hash,
                round_digest=context.digest,
                stage=UPLOAD,
                request=context.digest,
                messages=made.messages(blocks, dealt),
                secrets=None,
                # Which committee this model is bound to.
                note=params.committee.hash,
            )
        finally:
            secret.wipe()
        self._give_up()
        return self._journal.answer(entry)

    def _give_up(self) -> None:
        """Uploads are megabytes: those of the newest rounds can be sent again, of older ones it stays written down that
        they were sent. Two at a time, for the crash before the last time."""
        own = [e.round_digest for e in self._journal.entries() if (e.protocol, e.stage) == (ONESHOT, UPLOAD)]
        for old in own[: -self.policy.open_rounds_max][-2:]:
            self._journal.erase(old)


class _Upload:
    """Row 2 of one client, block by block."""

    def __init__(self, context: RoundContext, client: bytes, identity: Identity, rng: Callable[[int], bytes]) -> None:
        self._context, self._id, self._identity, self._rng = context, client, identity, rng

    def messages(self, payload: Iterable[bytes], dealt: Dealt) -> Iterator[bytes]:
        """The blocks, then the key part with the signature over all of it."""
        context, hashes = self._context, []
        for index, block in enumerate(_blocks(context, payload)):
            hashes.append(sha256(block).digest())
            yield UploadBlock(context.digest, self._id, index, block).to_bytes()
        yield self._end(ciphertext_hash(context.digest, hashes), dealt).to_bytes()

    def _end(self, hashed: bytes, dealt: Dealt) -> UploadEnd:
        context, params = self._context, self._context.params
        # The key of E_i depends on all that is sealed under it as well: broken entropy cannot repeat a (key, nonce).
        content = digest("privcomp-oneshot-1/sealed", *dealt.plain)
        private = keys.hkdf(self._draw(32) + content, context.digest, hashed, label="privcomp-oneshot-1/ephemeral")
        ephemeral = keys.X25519Key(private)
        public = ephemeral.public
        boxes, kems, leaves = [], [], []
        for place in range(params.committee.size):
            seat = context.announce.seats[place]
            if seat.is_empty:
                # Its leaf commits to values that nobody opens.
                salt, box, kem = self._draw(32), b"", b""
            else:
                secret, kem = ephemeral.exchange(seat.key), b""
                if params.hybrid:
                    encapsulated, kem = keys.mlkem_encapsulate(seat.kem)
                    secret += encapsulated
                key = box_keys(context, self._id, place, public, secret, kem)
                salt = key.salt
                box = seal_box(context, key, self._id, place, public, hashed, dealt.plain[place])
            boxes.append(box)
            kems.append(kem)
            if params.certified:
                leaves.append(leaf(context.digest, self._id, place + 1, salt, dealt.values[place]))
        root, test = NO_ROOT, b""
        if params.certified:
            root = merkle_root(leaves)
            test = params.sharing.test_values(dealt.values, context.digest, self._id, root)
        unsigned = UploadEnd(
            context.digest,
            self._id,
            public,
            hashed,
            b"".join(leaves),
            test,
            tuple(boxes),
            tuple(kems) if params.hybrid else (),
            bytes(64),
        )
        signature = context.sign(self._identity, "upload", *upload_body(unsigned, root))
        values = {name: getattr(unsigned, name) for name, _ in UploadEnd.FIELDS}
        return UploadEnd(**{**values, "signature": signature})

    def _draw(self, size: int) -> bytes:
        data = self._rng(size)
        if type(data) is not bytes or len(data) != size:
            raise ParameterError(f"rng({size}) must return exactly {size} bytes; use os.urandom")
        return data


def _blocks(context: RoundContext, payload: Iterable[bytes]) -> Iterator[bytes]:
    """The ciphertext in blocks of the announced size, from pieces of any size: one block is held at a time."""
    params, index, held = context.params, 0, bytearray()
    for piece in payload:
        held += piece
        while index < params.blocks and len(held) >= (size := params.block(index)[2]):
            yield bytes(memoryview(held)[:size])
            del held[:size]
            index += 1
    if held or index != params.blocks:
        raise JournalError("the ciphertext does not have the announced length; nothing was sent")


def own_upload_digest(context: RoundContext, end: UploadEnd) -> bytes:
    """The digest of row 2's signed body, as the server computes it from the whole message."""
    leaves = [end.leaves[k : k + 32] for k in range(0, len(end.leaves), 32)]
    return upload_digest(context, upload_body(end, merkle_root(leaves) if leaves else NO_ROOT))

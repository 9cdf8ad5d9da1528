"""The client: its states, and what it enforces itself (the server chooses everything else).

A step takes a state and a message and returns the next state and the messages to send. A state is used once. Before
anything leaves, the step is in the journal; a repeated request is answered with the stored bytes.

The comments "rule n" refer to docs/secagg.md, which states the eight rules and the attack that each of them stops.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp.codec import U8, U32, Blob, Codec, Fixed, Message, Nested, Seq, decode_any, digest
from privcomp.errors import (
    CodecError,
    EncodingError,
    JournalError,
    ParameterError,
    PolicyError,
    RemoteError,
    StateError,
)
from privcomp.journal import Entry, Journal
from privcomp.keys import Identity, Roster
from privcomp.policy import Policy
from privcomp.secagg.context import (
    KIND_B,
    KIND_ROOT,
    NO_ROSTER,
    SERVER,
    Directory,
    RootKeys,
    RoundContext,
    block_leaf,
    check_share,
    masked_blocks,
    pair_extra,
    pair_extra_hash,
    pair_secret,
    root_keys,
    segment_seeds,
    self_secret,
    sign,
    signed_by,
    unsigned,
    upload_root,
)
from privcomp.secagg.messages import (
    MAX_CLIENTS,
    STAGES,
    Advertise,
    Announce,
    Bundle,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    PairSecret,
    Places,
    ReleasedShare,
    SharePair,
    UnmaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
    bitmap,
)
from privcomp.secagg.params import MALICIOUS
from privcomp.secagg.rules import Rules
from privcomp.sharing.shamir import share_many

__all__ = ["Advertised", "Client", "ClientState", "Contribution", "Finished", "Masked", "Shared", "Signed"]

ADVERTISE, SHARE, MASK, CONSISTENCY, UNMASK = range(5)
_S = TypeVar("_S", bound="ClientState")
_M = TypeVar("_M", bound=Message)
_MAX_MESSAGE = (1 << 32) + (1 << 20)


@dataclass(frozen=True)
class Contribution:
    """What a client adds to the sum.

    Args:
        vectors: one array per segment: 1-D integers (int64, uint32, uint64) taken modulo 2^bits, or uint8 (length, 32)
            canonical little-endian residues for a prime segment.
        attachment: opaque bytes for the server's `accept` (at most the announced size).
    """

    vectors: tuple[NDArray[Any], ...]
    attachment: bytes = b""

    def __repr__(self) -> str:
        return f"Contribution({len(self.vectors)} segments, <redacted>)"


#: The update, or a function of the verified model bytes that computes it.
Update = Contribution | Callable[[bytes], Contribution]


@dataclass(frozen=True)
class _Secrets(Message):
    """Secrets of one round, and what must be remembered to go on after a restart. Never sent.

    Of the key list these are its hash, its length, this client's place and the entries of itself and its neighbours:
    what it has verified, and a size that does not grow with the number of clients on a sparse graph.
    """

    TAG: ClassVar[int] = 0x38
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("announce", Blob(1 << 17)),
        ("advertise", Blob(1 << 13)),
        ("channel", Fixed(32)),
        ("channel_kem", Blob(64)),
        ("root", Fixed(32)),
        ("b", Fixed(32)),
        ("stage", U8),
        ("list_hash", Blob(32)),
        ("clients", U32),
        ("place", U32),
        ("entries", Seq(Blob(1 << 13), MAX_CLIENTS)),
        ("u2", Blob(MAX_CLIENTS // 8)),
        ("held", Seq(U32, MAX_CLIENTS)),
        ("pairs", Seq(Nested(SharePair), MAX_CLIENTS)),
        ("signed", Blob(MAX_CLIENTS // 8)),
    )
    EXPANSION: ClassVar[int] = 8
    announce: bytes
    advertise: bytes
    channel: bytes
    channel_kem: bytes
    root: bytes
    b: bytes
    stage: int
    list_hash: bytes
    clients: int
    place: int
    entries: tuple[bytes, ...]
    u2: bytes
    held: tuple[int, ...]
    pairs: tuple[SharePair, ...]
    signed: bytes

    def __repr__(self) -> str:
        return f"_Secrets(stage={self.stage}, <redacted>)"


@dataclass(frozen=True)
class ClientState:
    """A state of one client in one round; used once. Never printed with its secrets."""

    context: RoundContext
    _secrets: _Secrets = field(repr=False)
    _spent: list[bool] = field(default_factory=lambda: [False], repr=False, compare=False)

    @property
    def round_digest(self) -> bytes:
        """The 32 bytes that everything in this round binds."""
        return self.context.digest

    def _spend(self) -> None:
        if self._spent[0]:
            raise StateError(
                f"this {type(self).__name__} state was used already; using it again would leak: go on with the state "
                "that the last step returned, or repeat the request through receive()"
            )


class Advertised(ClientState):
    """Stage 0 is done: keys are advertised."""


class _Listed(ClientState):
    @property
    def directory(self) -> Directory:
        """The key list."""
        cached: Directory = self.__dict__.get("_directory") or self._load_directory()
        return cached

    def _load_directory(self) -> Directory:
        s = self._secrets
        directory = Directory.restored(self.context, s.list_hash, s.clients, s.place, s.entries)
        self.__dict__["_directory"] = directory
        return directory


class Shared(_Listed):
    """Stage 1 is done: the bundles are out."""


class Masked(_Listed):
    """Stage 2 is done: the masked input is out."""


class Signed(_Listed):
    """Stage 3 is done: the survivor set is signed."""


class Finished(ClientState):
    """The round is over for this client; its secrets are erased."""


_STATES: tuple[type[ClientState], ...] = (Advertised, Shared, Masked, Signed)
_REQUESTS: dict[int, tuple[int, type[Message]]] = {
    Announce.TAG: (ADVERTISE, Announce),
    KeyList.TAG: (SHARE, KeyList),
    MaskRequest.TAG: (MASK, MaskRequest),
    ConsistencyRequest.TAG: (CONSISTENCY, ConsistencyRequest),
    UnmaskRequest.TAG: (UNMASK, UnmaskRequest),
}


@dataclass(frozen=True)
class _Own:
    """This client's side of every pair in a round; kept from stage 1 to stage 2 by a process that goes on."""

    directory: Directory
    secrets: _Secrets
    place: int
    channel: keys.X25519Key
    mask: RootKeys
    agreed: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, directory: Directory, secrets: _Secrets, place: int) -> _Own:
        mask = root_keys(directory.context, secrets.root)
        return cls(directory, secrets, place, keys.X25519Key(secrets.channel), mask)

    def agree(self, j: int) -> bytes:
        """X25519 of the channel keys of this pair, computed once.

        Raises:
            ParameterError: the peer's key is a point of low order.
        """
        if j not in self.agreed:
            self.agreed[j] = self.channel.exchange(self.directory.entries[j].channel_key)
        return self.agreed[j]

    def __repr__(self) -> str:
        return "_Own(<redacted>)"


class Client:
    """One client of secure aggregation, across rounds.

    Args:
        id: 1..64 bytes, as in the roster.
        identity: long-term signing key.
        policy: this node's limits.
        journal: what this identity has sent; must belong to `identity`.
        roster: id -> long-term key, given out of band; None: sessions are semi-honest, and the policy must allow that.
        rng: entropy, `os.urandom`; called afresh for every secret.

    Raises:
        ParameterError: id and identity do not match the roster, or the journal belongs to another identity.
    """

    def __init__(
        self,
        id: bytes,
        identity: Identity,
        policy: Policy,
        journal: Journal,
        roster: Roster | None = None,
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
        if roster is not None and (id not in roster or roster.public(id) != identity.public):
            raise ParameterError(f"{id!r} with this identity is not in the roster; fetch the right roster or key")
        if policy.roster_hash not in (None, roster.hash if roster is not None else NO_ROSTER):
            raise PolicyError("the roster is not the one that this node's policy pins")

    def __repr__(self) -> str:
        return f"Client(id={self.id!r})"

    # ---- one entry for a driver ----

    def receive(
        self, state: ClientState | None, message: bytes, update: Update | None = None
    ) -> tuple[ClientState | None, Iterable[bytes]]:
        """Take any message of the server: the step that it asks for, or the stored answer where it is a repeat.

        Args:
            state: the current state, or None before stage 0 or after a restart (then it is restored from the journal).
            message: the server's bytes.
            update: for stage 2.

        Returns:
            The new state and the messages to send, in order.

        Raises:
            LocalError: the policy, the journal or the order of stages forbids it; nothing was sent, the state is
            unspent.
            RemoteError: the message is not what an honest server sends.
        """
        request = _parse(message)
        stage = _REQUESTS[request.TAG][0]
        with self._journal.locked():
            round_digest = self._digest_of(request)
            entry = self._journal.find(round_digest, stage)
            if entry is not None:
                if entry.request != _request_hash(request, message):
                    raise JournalError(
                        f"stage {STAGES[stage]!r} of this round was answered for another request; "
                        "a second, different answer would leak"
                    )
                behind = state is not None and not isinstance(state, Finished) and state._secrets.stage < stage
                if state is None or state.round_digest != round_digest or behind:  # behind: a step that failed late
                    state = self.restore(round_digest)
                return state, self._journal.answer(entry)
            if isinstance(request, Announce):
                return self._advertise(request, message)
            if state is None or state.round_digest != round_digest:
                state = self.restore(round_digest)
            if state is None and self._journal.find(round_digest, ADVERTISE) is not None:
                raise JournalError("this round is over for this client: it was answered, or closed by a newer round")
            if state is None:
                raise StateError(f"stage {STAGES[stage]!r} of a round that this client is not in; begin with stage 0")
            if isinstance(request, KeyList):
                return self._share(_expect(state, Advertised), request, message)
            if isinstance(request, MaskRequest):
                if update is None:
                    raise StateError("stage 2 needs the update; pass update=")
                return self._mask(_expect(state, Shared), request, message, update)
            if isinstance(request, ConsistencyRequest):
                return self._sign(_expect(state, Masked), request, message)
            last = state if isinstance(state, Signed) else _expect(state, Masked)
            return self._unmask(last, _request(message, UnmaskRequest, "unmask", request))

    def _digest_of(self, request: Any) -> bytes:
        found: bytes = self._context(request).digest if isinstance(request, Announce) else request.round_digest
        return found

    def restore(self, round_digest: bytes) -> ClientState | None:
        """The state of a round after a restart, or None where there is none.

        Raises:
            JournalError: journal and secrets do not match (one was rolled back): this client sits the round out.
        """
        with self._journal.locked():
            if self._journal.find(round_digest, UNMASK) is not None:
                self._journal.erase(round_digest)  # a crash after the answer, before the secrets were erased
                return None
            stored = self._journal.secrets(round_digest)
        if stored is None:
            return None
        secrets = _Secrets.from_bytes(stored, max_bytes=_MAX_MESSAGE)
        context = RoundContext.of(Announce.from_bytes(secrets.announce, max_bytes=1 << 17))
        return _STATES[secrets.stage](context, secrets)

    # ---- stage 0 ----

    def advertise(self, announce: bytes) -> tuple[Advertised, Iterable[bytes]]:
        """Stage 0: check the announcement against the policy, draw fresh keys.

        Raises:
            PolicyError: the round is not what this node allows.
            JournalError: this (session, round) was announced differently before, or the model is used up (rule 6).
        """
        return self._advertise(_request(announce, Announce, "advertise"), announce)

    def check_announcement(self, announce: bytes) -> None:
        """All refusals of stage 0, without drawing, writing or sending anything; errors as for `advertise`."""
        message = _request(announce, Announce, "advertise")
        with self._journal.locked():
            if self._journal.find(self._context(message).digest, ADVERTISE) is None:
                self._checked(message)

    def _checked(self, message: Announce) -> RoundContext:
        context = self._context(message)
        self._rules.announcement(context)
        for entry in self._journal.of_round(message.session, message.round):
            if entry.round_digest != context.digest:
                raise JournalError("this session and round number was announced with other parameters before")
        self._rules.model(context)
        self._journal.secrets(
            context.digest
        )  # JournalError where the journal alone was rolled back to before the round
        return context

    def _advertise(self, message: Announce, announce: bytes) -> tuple[Advertised, Iterable[bytes]]:
        with self._journal.locked():
            context = self._checked(message)
            channel, root, b = self._rng(32), self._rng(32), self._rng(32)
            kem_seed = self._rng(64) if context.params.hybrid else b""
            mask = root_keys(context, root)
            unsigned_message = Advertise(
                context.digest,
                self.id,
                self._identity.public,
                keys.x25519_public(channel),
                mask.public,
                keys.mlkem_public(kem_seed) if kem_seed else b"",
                mask.kem_public,
                context.secret_hash(KIND_B, self.id, b),
                context.secret_hash(KIND_ROOT, self.id, root),
                bytes(64),
            )
            own = self._signed(unsigned_message, "advertise", context, b"")
            data = own.to_bytes()
            secrets = _Secrets(announce, data, channel, kem_seed, root, b, ADVERTISE, b"", 0, 0, (), b"", (), (), b"")
            out = self._commit(context, ADVERTISE, announce, [data], secrets)
            # Rounds that never ended leave secrets that only a thief could use; the oldest go first. Another protocol's
            # in the same journal are not counted: a committee may wait for its member's box key.
            mine = [rd for rd in self._journal.open_rounds() if self._journal.find(rd, ADVERTISE) is not None]
            for stale in mine[: -self.policy.open_rounds_max]:
                self._journal.erase(stale)
            return Advertised(context, secrets), out

    def _context(self, announce: Announce) -> RoundContext:
        try:
            return RoundContext.of(announce)
        except CodecError as error:
            raise PolicyError(f"the announced parameters are refused: {error.message}") from None

    # ---- stage 1 ----

    def share(self, state: Advertised, key_list: bytes) -> tuple[Shared, Iterable[bytes]]:
        """Stage 1: check the key list, share b and the mask root among the neighbours.

        Raises:
            RemoteError: the key list is not authentic, or this client's entry is missing or changed (rule 8).
            PolicyError: too few clients or too low a threshold for this node's policy (rule 2).
        """
        return self._share(state, _request(key_list, KeyList, "share"), key_list)

    def _share(self, state: Advertised, request: KeyList, key_list: bytes) -> tuple[Shared, Iterable[bytes]]:
        with self._journal.locked():
            state._spend()
            context, s = state.context, state._secrets
            own = Advertise.from_bytes(s.advertise, max_bytes=1 << 13)
            directory = Directory.from_key_list(context, request, own, self.roster)
            self._rules.thresholds(directory)
            me = directory.place[self.id]
            mine = _Own.of(directory, s, me)
            holders = sorted(directory.neighbours(me))
            points = np.array([j + 1 for j in holders], dtype=np.uint64)
            b_shares, root_shares = share_many([s.b, s.root], directory.thresholds.threshold, points, rng=self._rng)
            bundles = [
                self._bundle(mine, j, b_share, root_share)
                for j, b_share, root_share in zip(holders, b_shares, root_shares, strict=True)
            ]
            message = BundleMessage(context.digest, self.id, directory.hash, tuple(bundles), bytes(64))
            data = self._signed(message, "share", context, directory.hash).to_bytes()
            secrets = _evolve(
                s, stage=SHARE, list_hash=directory.hash, clients=directory.n, place=me, entries=request.entries
            )
            out = self._commit(context, SHARE, key_list, [data], secrets)
            state._spent[0] = True
            following = Shared(context, secrets)
            following.__dict__.update(_directory=directory, _own=mine)
            return following, out

    def _bundle(self, own: _Own, j: int, b_share: bytes, root_share: bytes) -> Bundle:
        directory, me = own.directory, own.place
        context, peer = directory.context, directory.entries[j]
        leaf_b = directory.leaf(KIND_B, me, j, b_share)
        leaf_root = directory.leaf(KIND_ROOT, me, j, root_share)
        body = directory.shares_body(me, j, leaf_b, leaf_root)
        pair = SharePair(b_share, root_share, sign(self._identity, "pair", context, directory.hash, body))
        try:
            secret, ciphertext = own.agree(j), b""
            if context.params.hybrid:
                encapsulated, ciphertext = keys.mlkem_encapsulate(peer.channel_kem)
                secret += encapsulated
            extra = (self._pair_secret_message(own, j),) if context.params.hybrid and me < j else ()
        except ParameterError as error:
            raise RemoteError(peer.id, "share", str(error)) from None
        ad = directory.channel_context(me, j)
        key = keys.hkdf(secret, *ad, label="privcomp-secagg-channel")
        sealed = keys.seal(key, pair.to_bytes(), *ad, label="privcomp-secagg-bundle", rng=self._rng)
        return Bundle(j, sealed, ciphertext, extra)

    def _pair_secret_message(self, own: _Own, j: int) -> PairSecret:
        directory, me = own.directory, own.place
        context, peer = directory.context, directory.entries[j]
        extra = pair_extra(context, own.secrets.root, peer.id)
        secret, ciphertext = keys.mlkem_encapsulate(peer.mask_kem)
        ad = directory.channel_context(me, j)
        sealed = keys.seal(secret, extra, *ad, label="privcomp-secagg-pair-extra", rng=self._rng)
        hashed = pair_extra_hash(directory, me, j, extra)
        body = digest("privcomp-secagg-pair-message", self.id, peer.id, ciphertext, sealed, hashed)
        return PairSecret(ciphertext, sealed, hashed, sign(self._identity, "pair-extra", context, directory.hash, body))

    # ---- stage 2 ----

    def mask(self, state: Shared, request: bytes, update: Update) -> tuple[Masked, Iterable[bytes]]:
        """Stage 2: open the bundles, mask the update, send it in blocks.

        The messages may be large: they come from the journal one by one.

        Args:
            update: a `Contribution`, or a function that computes it from the verified model bytes.

        Raises:
            RemoteError: a bundle is missing or not authentic, or the model is not the announced one (rule 3).
            JournalError: this model is used up (rule 6).
            EncodingError: the contribution does not have the announced shape.
        """
        return self._mask(state, _request(request, MaskRequest, "mask"), request, update)

    def _mask(
        self, state: Shared, message: MaskRequest, request: bytes, update: Update
    ) -> tuple[Masked, Iterable[bytes]]:
        with self._journal.locked():
            state._spend()
            context, s, directory = state.context, state._secrets, state.directory
            if message.round_digest != context.digest:
                raise RemoteError(SERVER, "mask", "the request belongs to another round")
            if sha256(message.model).digest() != context.announce.model_hash:
                raise RemoteError(SERVER, "mask", "the model bytes do not have the announced hash")
            me = directory.place[self.id]
            u2 = directory.members(message.u2, "mask")
            if me not in u2:
                raise RemoteError(SERVER, "mask", "this client is not in U2 although it sent its bundles")
            peers = sorted(directory.neighbours(me) & u2)
            # Rule 3: an authentic bundle from every neighbour in U2, at least t of them, and masks with exactly these;
            # otherwise the server could withhold the honest ones and let this client mask with colluders only.
            if len(peers) < directory.thresholds.threshold:
                raise RemoteError(
                    SERVER, "mask", f"{len(peers)} neighbours are in U2, {directory.thresholds.threshold} are needed"
                )
            if [b.peer for b in message.bundles] != peers:
                raise RemoteError(SERVER, "mask", "the bundles are not exactly those of this client's neighbours in U2")
            mine: _Own = state.__dict__.get("_own") or _Own.of(directory, s, me)
            opened = [self._open(mine, bundle) for bundle in message.bundles]
            self._rules.model(context)
            contribution = update(message.model) if callable(update) else update
            _check_contribution(context, contribution)
            secrets_by_peer = [
                pair_secret(directory, message.u2, min(me, j), max(me, j), shared, extra)
                for j, (_, shared, extra) in zip(peers, opened, strict=True)
            ]
            own = self_secret(directory, message.u2, me, s.b)
            seeds = [
                segment_seeds(context.params, [*secrets_by_peer, own], k) for k in range(len(context.params.segments))
            ]
            # y_i = x_i + G(b_i) + sum over j > i of G(s_ij) - sum over j < i of G(s_ij)
            negate = np.array([j < me for j in peers] + [False])
            secrets = _evolve(
                s, stage=MASK, u2=message.u2, held=tuple(peers), pairs=tuple(pair for pair, _, _ in opened)
            )
            upload = self._upload(directory, message.u2, peers, contribution, seeds, negate)
            out = self._commit(context, MASK, request, upload, secrets)
            self._close_older(context)
            state._spent[0] = True
            following = Masked(context, secrets)
            following.__dict__["_directory"] = directory
            return following, out

    def _close_older(self, context: RoundContext) -> None:
        """Erase the secrets of the rounds that rule 6 has closed: they will never be answered."""
        a = context.announce
        for entry in self._journal.of_model(a.model_hash):
            if entry.round_digest != context.digest and entry.round <= a.round:
                self._journal.erase(entry.round_digest)

    def _open(self, own: _Own, bundle: Bundle) -> tuple[SharePair, bytes, bytes]:
        """Open one bundle: (shares, X25519 secret of the mask keys, r_ij)."""
        directory, me = own.directory, own.place
        context, j = directory.context, bundle.peer
        peer = directory.entries[j]
        ad = directory.channel_context(j, me)
        try:
            secret = own.agree(j)
            if context.params.hybrid:
                secret += keys.mlkem_decapsulate(own.secrets.channel_kem, bundle.ciphertext)
            elif bundle.ciphertext:
                raise RemoteError(peer.id, "mask", "a KEM ciphertext in a session without ML-KEM")
            key = keys.hkdf(secret, *ad, label="privcomp-secagg-channel")
            opened = keys.open_sealed(key, bundle.sealed, *ad, label="privcomp-secagg-bundle")
            pair = SharePair.from_bytes(opened, max_bytes=512)
            shared = own.mask.key.exchange(peer.mask_key)
        except (ParameterError, CodecError) as error:
            text = error.message if isinstance(error, CodecError) else str(error)
            raise RemoteError(peer.id, "mask", f"its bundle cannot be opened: {text}") from None
        body = directory.shares_body(
            j, me, directory.leaf(KIND_B, j, me, pair.b), directory.leaf(KIND_ROOT, j, me, pair.root)
        )
        if not signed_by(peer.identity, pair.signature, "pair", context, directory.hash, body):
            raise RemoteError(peer.id, "mask", "the signature of its shares does not verify")
        if not check_share(pair.b) or not check_share(pair.root):
            raise RemoteError(peer.id, "mask", "one of its shares is not canonical")
        return pair, shared, self._pair_extra(own, bundle)

    def _pair_extra(self, own: _Own, bundle: Bundle) -> bytes:
        directory, me = own.directory, own.place
        context, j = directory.context, bundle.peer
        peer = directory.entries[j]
        if not context.params.hybrid or me < j:
            if bundle.pair:
                raise RemoteError(peer.id, "mask", "a pair secret that this side of the pair does not send")
            return pair_extra(context, own.secrets.root, peer.id) if context.params.hybrid else b""
        if len(bundle.pair) != 1:
            raise RemoteError(peer.id, "mask", "the pair secret of the lower id is missing")
        sent = bundle.pair[0]
        body = digest("privcomp-secagg-pair-message", peer.id, self.id, sent.ciphertext, sent.sealed, sent.hash)
        if not signed_by(peer.identity, sent.signature, "pair-extra", context, directory.hash, body):
            raise RemoteError(peer.id, "mask", "the signature of its pair secret does not verify")
        return open_pair_extra(directory, own.mask.kem_seed, j, me, sent)

    def _upload(
        self,
        directory: Directory,
        u2: bytes,
        peers: Sequence[int],
        contribution: Contribution,
        seeds: Sequence[NDArray[np.uint8]],
        negate: NDArray[np.bool_],
    ) -> Iterable[bytes]:
        context, leaves = directory.context, []
        for segment, index, payload in masked_blocks(context.params, contribution.vectors, seeds, negate):
            leaves.append(block_leaf(segment, index, payload))
            yield UploadBlock(context.digest, self.id, segment, index, payload).to_bytes()
        end = UploadEnd(
            context.digest,
            self.id,
            directory.hash,
            directory.u2_digest(u2),
            bitmap(set(peers), directory.n),
            upload_root(leaves),
            contribution.attachment,
            bytes(64),
        )
        yield self._signed(end, "mask", context, directory.hash).to_bytes()

    # ---- stage 3 ----

    def sign(self, state: Masked, request: bytes) -> tuple[Signed, Iterable[bytes]]:
        """Stage 3, malicious server: sign (U2, U), once.

        Raises:
            RemoteError: U breaks rule 4.
            PolicyError: too few survivors for this node's policy.
        """
        return self._sign(state, _request(request, ConsistencyRequest, "consistency"), request)

    def _sign(self, state: Masked, message: ConsistencyRequest, request: bytes) -> tuple[Signed, Iterable[bytes]]:
        with self._journal.locked():
            state._spend()
            context, s, directory = state.context, state._secrets, state.directory
            if context.params.adversary != MALICIOUS:
                raise RemoteError(SERVER, "consistency", "there is no consistency stage in a semi-honest session")
            self._survivors(state, message, "consistency")
            body = directory.u_digest(s.u2, message.u)
            signature = sign(self._identity, "consistency", context, directory.hash, body)
            data = ConsistencySignature(context.digest, self.id, signature).to_bytes()
            secrets = _evolve(s, stage=CONSISTENCY, signed=message.u)
            out = self._commit(context, CONSISTENCY, request, [data], secrets, note=body)
            state._spent[0] = True
            following = Signed(context, secrets)
            following.__dict__["_directory"] = directory
            return following, out

    # ---- stage 4 ----

    def unmask(self, state: Masked | Signed, request: bytes) -> tuple[Finished, Iterable[bytes]]:
        """Stage 4: release one share per neighbour in U2: of b for survivors, of the mask root for the others.

        Raises:
            RemoteError: U breaks rule 4, or the quorum of signatures is not there.
            PolicyError, JournalError: policy or rule 6 forbids it.
        """
        return self._unmask(state, _request(request, UnmaskRequest, "unmask"))

    def _unmask(self, state: Masked | Signed, message: UnmaskRequest) -> tuple[Finished, Iterable[bytes]]:
        with self._journal.locked():
            state._spend()
            context, s, directory = state.context, state._secrets, state.directory
            u = self._survivors(state, message, "unmask")
            if s.signed and s.signed != message.u:
                raise RemoteError(SERVER, "unmask", "this client signed another survivor set in this round")
            if context.params.adversary == MALICIOUS:
                self._rules.quorum(directory, s.u2, message)
            elif message.quorum:
                raise RemoteError(SERVER, "unmask", "signatures in a semi-honest session, which has none")
            self._rules.model(context, answering=True)
            me = directory.place[self.id]
            released = []
            # Rule 5: one kind of share per peer, and one answer per round: the journal sees to that.
            for j, pair in zip(s.held, s.pairs, strict=True):
                leaf_b, leaf_root = directory.leaf(KIND_B, j, me, pair.b), directory.leaf(KIND_ROOT, j, me, pair.root)
                if j in u:
                    released.append(ReleasedShare(j, KIND_B, pair.b, leaf_root, pair.signature))
                else:
                    released.append(ReleasedShare(j, KIND_ROOT, pair.root, leaf_b, pair.signature))
            u_digest = directory.u_digest(s.u2, message.u)
            answer = UnmaskResponse(context.digest, self.id, directory.hash, u_digest, tuple(released), bytes(64))
            data = self._signed(answer, "unmask", context, directory.hash).to_bytes()
            out = self._commit(context, UNMASK, _unmask_request(message), [data], None, note=u_digest)
            state._spent[0] = True
            self._journal.erase(context.digest)
            return Finished(
                context, _evolve(s, channel=bytes(32), channel_kem=b"", root=bytes(32), b=bytes(32), held=(), pairs=())
            ), out

    # ---- helpers ----

    def _survivors(self, state: Masked | Signed, message: ConsistencyRequest | UnmaskRequest, stage: str) -> Places:
        """U of a request of stage 3 or 4, after rule 4."""
        if message.round_digest != state.context.digest:
            raise RemoteError(SERVER, stage, "the request belongs to another round")
        directory = state.directory
        return self._rules.survivors(directory, directory.place[self.id], state._secrets.u2, message.u, stage)

    def _signed(self, message: Any, stage: str, context: RoundContext, list_hash: bytes) -> Any:
        """The message with its signature filled in."""
        signature = sign(self._identity, stage, context, list_hash, unsigned(message))
        values = {name: getattr(message, name) for name, _ in message.FIELDS}
        return type(message)(**{**values, "signature": signature})

    def _commit(
        self,
        context: RoundContext,
        stage: int,
        request: bytes,
        messages: Iterable[bytes],
        secrets: _Secrets | None,
        *,
        note: bytes = b"",
    ) -> Iterable[bytes]:
        """Rule 7: into the journal first; what is sent comes out of it."""
        a = context.announce
        entry: Entry = self._journal.append(
            protocol=context.params.protocol,
            session=a.session,
            round=a.round,
            purpose=a.purpose,
            model_hash=a.model_hash,
            round_digest=context.digest,
            stage=stage,
            request=sha256(request).digest(),
            messages=messages,
            secrets=secrets.to_bytes() if secrets is not None else None,
            note=note,
        )
        return self._journal.answer(entry)


def open_pair_extra(directory: Directory, kem_seed: bytes, low: int, high: int, sent: PairSecret) -> bytes:
    """Open r_ij with the higher id's mask KEM key and check it against the hash that the lower id published.

    Raises:
        RemoteError: naming the lower id.
    """
    who = directory.entries[low].id
    try:
        secret = keys.mlkem_decapsulate(kem_seed, sent.ciphertext)
        ad = directory.channel_context(low, high)
        extra = keys.open_sealed(secret, sent.sealed, *ad, label="privcomp-secagg-pair-extra")
    except (ParameterError, CodecError):
        raise RemoteError(who, "mask", "its pair secret cannot be opened") from None
    if not keys.constant_time_equal(pair_extra_hash(directory, low, high, extra), sent.hash):
        raise RemoteError(who, "mask", "its pair secret does not have the published hash")
    return extra


def _request(data: bytes, kind: type[_M], stage: str, parsed: Message | None = None) -> _M:
    """A message of the server as the kind that a step takes."""
    message = _parse(data) if parsed is None else parsed
    if not isinstance(message, kind):
        raise RemoteError(SERVER, stage, f"expected a {kind.__name__}, not a {type(message).__name__}")
    return message


def _parse(data: bytes) -> Message:
    try:
        return decode_any(data, {tag: cls for tag, (_, cls) in _REQUESTS.items()}, max_bytes=_MAX_MESSAGE)
    except CodecError as error:
        raise error.by(SERVER, "decode") from None


def _unmask_request(message: UnmaskRequest) -> bytes:
    """What identifies an unmask request: U. More signatures over the same U are the same request."""
    return digest("privcomp-secagg-unmask-request", message.round_digest, message.u)


def _request_hash(message: Message, data: bytes) -> bytes:
    return sha256(_unmask_request(message) if isinstance(message, UnmaskRequest) else data).digest()


def _expect(state: ClientState, kind: type[_S]) -> _S:
    if isinstance(state, kind):
        return state
    raise RemoteError(SERVER, "order", f"the server asks for a stage that does not follow {type(state).__name__}")


def _evolve(secrets: _Secrets, **changes: Any) -> _Secrets:
    values = {name: getattr(secrets, name) for name, _ in secrets.FIELDS}
    return _Secrets(**{**values, **changes})


def _check_contribution(context: RoundContext, contribution: Contribution) -> None:
    segments = context.params.segments
    if len(contribution.vectors) != len(segments):
        raise EncodingError(f"{len(contribution.vectors)} vectors for {len(segments)} announced segments")
    if len(contribution.attachment) > context.params.attachment_bytes:
        raise EncodingError(
            f"an attachment of {len(contribution.attachment)} bytes; announced are {context.params.attachment_bytes}"
        )
    for segment, vector in zip(segments, contribution.vectors, strict=True):
        if not isinstance(vector, np.ndarray):
            raise EncodingError(f"a vector is a {type(vector).__name__}; NumPy arrays are needed")
        if segment.is_ring:
            good = vector.ndim == 1 and vector.dtype in (np.int64, np.uint32, np.uint64) and vector.dtype.isnative
            shape: tuple[int, ...] = (segment.length,)
        else:
            good, shape = vector.ndim == 2 and vector.dtype == np.uint8, (segment.length, 32)
        if not good or vector.shape != shape:
            raise EncodingError(
                f"a vector of dtype {vector.dtype} and shape {vector.shape}; needed is shape {shape} of "
                + ("int64, uint32 or uint64" if segment.is_ring else "uint8 residues")
            )

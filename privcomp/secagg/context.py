"""What both roles derive alike: round digest, key directory, mask secrets, what is signed.

Every derivation binds the round digest, and from stage 1 on the key-list hash, so that nothing of another round,
session or parameter set verifies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp._core import lanes_mask, mask_add, pack
from privcomp.codec import Message, digest
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.keys import Identity, Roster
from privcomp.secagg import graph
from privcomp.secagg.leaves import Leaves, pack_leaves
from privcomp.secagg.messages import Advertise, Announce, KeyList, Places, members
from privcomp.secagg.params import Params, Segment, Thresholds
from privcomp.xof import mask_seeds

__all__ = [
    "Directory",
    "RoundContext",
    "masked_blocks",
    "pair_secret",
    "root_keys",
    "segment_seeds",
    "self_secret",
    "sign",
    "signed_by",
]

SERVER = b"server"
NO_ROSTER = bytes(32)
_M61 = (1 << 61) - 1
KIND_B, KIND_ROOT = 0, 1


@dataclass(frozen=True)
class RoundContext:
    """An announced round: its params and what the digest covers."""

    announce: Announce
    params: Params
    digest: bytes

    @classmethod
    def of(cls, announce: Announce) -> RoundContext:
        """Derive the round digest.

        Raises:
            CodecError: the params are not canonical or do not add up.
        """
        a = announce
        params = Params.from_bytes(a.params, max_bytes=1 << 16)
        round_digest = digest(
            "privcomp-secagg-round",
            a.params,
            a.session,
            a.round.to_bytes(8, "little"),
            a.purpose.encode(),
            a.model_hash,
            a.roster_hash,
            a.ledger_head,
        )
        return cls(a, params, round_digest)

    def secret_hash(self, kind: int, owner: bytes, secret: bytes) -> bytes:
        """H(b_i, context) or H(root_i, context): pins a shared secret of 32 uniform bytes without revealing it."""
        return digest("privcomp-secagg-secret", self.digest, bytes([kind]), owner, secret)


@dataclass(frozen=True)
class RootKeys:
    """Everything that follows from a mask root: X25519 key and, in hybrid mode, the ML-KEM-768 seed."""

    key: keys.X25519Key
    public: bytes
    kem_seed: bytes
    kem_public: bytes

    def __repr__(self) -> str:
        return "RootKeys(<redacted>)"


def root_keys(context: RoundContext, root: bytes) -> RootKeys:
    """Derive all mask keys from a root."""
    key = keys.X25519Key(keys.hkdf(root, context.digest, label="privcomp-secagg-mask-x25519"))
    if not context.params.hybrid:
        return RootKeys(key, key.public, b"", b"")
    seed = keys.hkdf(root, context.digest, label="privcomp-secagg-mask-mlkem", length=64)
    return RootKeys(key, key.public, seed, keys.mlkem_public(seed))


def unsigned(message: Message) -> bytes:
    """The bytes of a message up to its signature, which is always its last field (64 bytes)."""
    return message.to_bytes()[:-64]


def sign(identity: Identity, stage: str, context: RoundContext, list_hash: bytes, body: bytes) -> bytes:
    """Sign a message body for a stage; the body begins with round digest and id."""
    return identity.sign("privcomp-secagg/" + stage, context.digest, list_hash, body)


def signed_by(
    public: bytes, signature: bytes, stage: str, context: RoundContext, list_hash: bytes, body: bytes
) -> bool:
    """Whether `sign` made this signature."""
    return keys.verify(public, signature, "privcomp-secagg/" + stage, context.digest, list_hash, body)


def check_share(share: bytes) -> bool:
    """Whether 40 bytes are five canonical limbs below 2^61 - 1."""
    return len(share) == 40 and max(struct.unpack("<5Q", share)) < _M61


class Directory:
    """The key list U1 as one party sees it: its hash, how many are listed, the signed stage-0 messages that this party
    holds, the graph.

    A client on a sparse graph keeps its neighbours' messages only: everything else that it needs later follows from the
    hash and the number of clients.

    Args:
        context: the round.
        list_hash: hash over the whole list.
        n: clients in the list.
        entries: place -> stage-0 message, verified; all of them at the server and on the complete graph.

    Raises:
        ParameterError: too few clients for the round's parameters.
    """

    def __init__(self, context: RoundContext, list_hash: bytes, n: int, entries: Mapping[int, Advertise]) -> None:
        self.context = context
        self.hash = list_hash
        self.n = n
        self.entries = dict(entries)
        self.place = {entry.id: p for p, entry in self.entries.items()}
        self.thresholds: Thresholds = context.params.thresholds(n)
        self._last_u2: tuple[bytes | None, bytes] = (None, b"")

    @classmethod
    def of_all(cls, context: RoundContext, messages: Sequence[tuple[Advertise, bytes]]) -> Directory:
        """The list as the server has it: all stage-0 messages, parsed and verbatim, ascending by id."""
        leaves = pack_leaves((message.id, sha256(data).digest()) for message, data in messages)
        return cls(
            context, key_list_hash(context, leaves), len(messages), dict(enumerate(message for message, _ in messages))
        )

    @cached_property
    def ids(self) -> tuple[bytes, ...]:
        """All ids, ascending; only where all entries are held."""
        return tuple(self.entries[p].id for p in range(self.n))

    @property
    def cycle(self) -> graph.Cycle:
        """The cyclic order of the graph, u32 (n,)."""
        return self._order[0]

    @property
    def _order(self) -> tuple[graph.Cycle, graph.Cycle]:
        return graph.natural_order(self.n) if self.thresholds.complete else graph.order(self.hash, self.n)

    def neighbours(self, place: int) -> frozenset[int]:
        """N(i): the places that i masks with."""
        cycle, position = self._order
        return graph.neighbours(cycle, int(position[place]), self.thresholds.neighbours)

    def may_fall_apart(self, u: bytes, gamma_ppm: int) -> bool:
        """Whether the honest survivors (bitmap of U) may stand in two parts of the ring, with more than 2^-40."""
        if self.thresholds.complete:
            return False
        inside = Places(u).flags(self.n)
        return graph.window_cut_probability(self.cycle, self.thresholds.neighbours, inside, gamma_ppm) > 2.0**-40

    def u2_digest(self, u2: bytes) -> bytes:
        """Digest of the bitmap of U2; every mask of a round asks for the same one."""
        if self._last_u2[0] != u2:
            self._last_u2 = (u2, digest("privcomp-secagg-u2", self.context.digest, self.hash, u2))
        return self._last_u2[1]

    def u_digest(self, u2: bytes, u: bytes) -> bytes:
        """Digest of the bitmaps of U2 and U: what the consistency signature covers and the journal notes."""
        return digest("privcomp-secagg-u", self.context.digest, self.hash, u2, u)

    def members(self, bits: bytes, what: str) -> Places:
        """The places in a bitmap that the server sent.

        Raises:
            RemoteError: not the canonical bitmap of a subset of U1.
        """
        found = members(bits, self.n)
        if found is None:
            raise RemoteError(
                SERVER, what, f"the set is not a bitmap of {(self.n + 7) // 8} bytes over {self.n} clients"
            )
        return found

    def leaf(self, kind: int, owner: int, holder: int, share: bytes) -> bytes:
        """Leaf of a share under its owner's signature (a share has 305 uniform bits: the hash hides it)."""
        owner_id, holder_id = self.entries[owner].id, self.entries[holder].id
        return digest(
            "privcomp-secagg-share", self.context.digest, self.hash, owner_id, holder_id, bytes([kind]), share
        )

    def shares_body(self, owner: int, holder: int, leaf_b: bytes, leaf_root: bytes) -> bytes:
        """What an owner signs for one holder."""
        owner_id, holder_id = self.entries[owner].id, self.entries[holder].id
        return digest("privcomp-secagg-pair-of-shares", owner_id, holder_id, leaf_b, leaf_root)

    def channel_context(self, sender: int, recipient: int) -> tuple[bytes, ...]:
        """What the AEAD key of an ordered pair binds."""
        return (self.context.digest, self.hash, b"share", self.entries[sender].id, self.entries[recipient].id)

    @classmethod
    def from_key_list(cls, context: RoundContext, message: KeyList, own: Advertise, roster: Roster | None) -> Directory:
        """Check a key list as client `own.id` sees it.

        Signatures, identities, ids and keys of every entry are checked (on a sparse graph: of the neighbours), own
        entry and own keys must be there unchanged, and nothing may be listed twice.

        Raises:
            RemoteError: the list is not what an honest server sends; the party is named where it can be.
        """
        if message.round_digest != context.digest:
            raise RemoteError(SERVER, "share", "the key list belongs to another round")
        try:
            entries = [Advertise.from_bytes(data, max_bytes=1 << 13) for data in message.entries]
            hashes = [sha256(data).digest() for data in message.entries]
            packed = message.leaves or pack_leaves(zip((entry.id for entry in entries), hashes, strict=True))
            leaves = Leaves(packed, context.params.clients)
        except CodecError as error:
            raise error.by(SERVER, "share") from None
        places = [leaves.place(entry.id) for entry in entries]
        found = {p: entry for p, entry in zip(places, entries, strict=True) if p is not None}
        if len(found) != len(entries) or [leaves.hash(p) for p in found] != hashes:
            raise RemoteError(SERVER, "share", "an entry of the key list does not match the list's hashes")
        try:
            directory = cls(context, key_list_hash(context, packed), leaves.n, found)
        except ParameterError as error:
            raise RemoteError(SERVER, "share", f"the key list has {leaves.n} clients: {error}") from None
        mine = directory.place.get(own.id)
        if mine is None or directory.entries[mine] != own:
            raise RemoteError(SERVER, "share", "this client's own entry is missing from the key list, or was changed")
        if list(directory.entries) != sorted(directory.neighbours(mine) | {mine}):
            raise RemoteError(SERVER, "share", "the entries are not those of this client and its neighbours")
        if bool(message.leaves) == directory.thresholds.complete:
            raise RemoteError(SERVER, "share", "hashes are listed on a complete graph, or missing on a sparse one")
        seen: dict[bytes, bytes] = {}
        for entry in entries:
            check_advertise(context, entry, roster)
            for value in public_values(entry):
                if value in seen:
                    raise RemoteError(entry.id, "share", f"a key or hash is listed twice (also by {seen[value]!r})")
                seen[value] = entry.id
        return directory

    @classmethod
    def restored(
        cls, context: RoundContext, list_hash: bytes, n: int, place: int, entries: Sequence[bytes]
    ) -> Directory:
        """The list from this node's own round secrets: what `from_key_list` checked, for the client at `place`.

        Args:
            entries: its own message and its neighbours', ascending by id.
        """
        listed = cls(context, list_hash, n, {})
        places = sorted(listed.neighbours(place) | {place})
        messages = [Advertise.from_bytes(data, max_bytes=1 << 13) for data in entries]
        return cls(context, list_hash, n, dict(zip(places, messages, strict=True)))


def key_list_hash(context: RoundContext, leaves: bytes) -> bytes:
    """Hash of the packed list of all ids and hashes of stage-0 messages, bound to the round."""
    return digest("privcomp-secagg-keylist", context.digest, leaves)


def public_values(message: Advertise) -> tuple[bytes, ...]:
    """What nobody else may advertise, and what must not come twice in one message: keys and hashes."""
    values = (message.identity, message.channel_key, message.mask_key, message.b_hash, message.root_hash)
    return values + tuple(kem for kem in (message.channel_kem, message.mask_kem) if kem)


def check_advertise(context: RoundContext, message: Advertise, roster: Roster | None) -> None:
    """Check a stage-0 message: identity, signature, lengths and order of keys.

    Raises:
        RemoteError: naming the client.
    """
    who = message.id
    if message.round_digest != context.digest:
        raise RemoteError(who, "advertise", "the message belongs to another round")
    if roster is not None:
        if who not in roster:
            raise RemoteError(who, "advertise", "this id is not in the roster")
        if roster.public(who) != message.identity:
            raise RemoteError(who, "advertise", "the identity key is not the one in the roster")
    expected = 1184 if context.params.hybrid else 0
    if len(message.channel_kem) != expected or len(message.mask_kem) != expected:
        raise RemoteError(who, "advertise", f"the ML-KEM keys must have {expected} bytes in this round")
    try:
        keys.check_id(who)
        keys.x25519_check_public(message.channel_key)
        keys.x25519_check_public(message.mask_key)
        for kem in (message.channel_kem, message.mask_kem):
            if kem:
                keys.mlkem_check_public(kem)
    except ParameterError as error:
        raise RemoteError(who, "advertise", str(error)) from None
    values = public_values(message)
    if len(set(values)) != len(values):
        raise RemoteError(who, "advertise", "a key or hash is listed twice")
    if not signed_by(message.identity, message.signature, "advertise", context, b"", unsigned(message)):
        raise RemoteError(who, "advertise", "the signature does not verify")


def pair_secret(directory: Directory, u2: bytes, low: int, high: int, shared: bytes, extra: bytes) -> bytes:
    """s_ij = HKDF(X25519(mask keys) || r_ij, round digest, key-list hash, U2 digest, both ids, purpose)."""
    return keys.hkdf(
        shared + extra,
        directory.context.digest,
        directory.hash,
        directory.u2_digest(u2),
        directory.entries[low].id,
        directory.entries[high].id,
        directory.context.announce.purpose.encode(),
        label="privcomp-secagg-pair",
    )


def self_secret(directory: Directory, u2: bytes, owner: int, b: bytes) -> bytes:
    """The secret of a self-mask, bound to the same context as the pairwise ones."""
    return keys.hkdf(
        b,
        directory.context.digest,
        directory.hash,
        directory.u2_digest(u2),
        directory.entries[owner].id,
        label="privcomp-secagg-self",
    )


def pair_extra(context: RoundContext, root_low: bytes, high_id: bytes) -> bytes:
    """Hybrid mode: r_ij = PRF(root of the lower id, higher id, context), 32 bytes."""
    return keys.hkdf(root_low, context.digest, high_id, label="privcomp-secagg-pair-extra")


def pair_extra_hash(directory: Directory, low: int, high: int, extra: bytes) -> bytes:
    """H(r_ij, context), published by the lower id."""
    context, low_id, high_id = directory.context, directory.entries[low].id, directory.entries[high].id
    return digest("privcomp-secagg-pair-extra-hash", context.digest, directory.hash, low_id, high_id, extra)


def segment_seeds(params: Params, secrets: Iterable[bytes], segment: int) -> NDArray[np.uint8]:
    """Keystream seeds of a segment: u8 array (k, seed bytes), one row per secret."""
    label = "privcomp-secagg-ring" if params.segments[segment].is_ring else "privcomp-secagg-lanes"
    index = segment.to_bytes(4, "little")
    rows = [mask_seeds(secret, label, index, cipher=params.cipher) for secret in secrets]
    return np.frombuffer(bytearray(b"".join(rows)), dtype=np.uint8).reshape(len(rows), -1)


def block_leaf(segment: int, index: int, payload: bytes) -> bytes:
    """Leaf of an upload block."""
    leaf = sha256(b"privcomp-secagg-block" + struct.pack("<HIQ", segment, index, len(payload)))
    leaf.update(payload)
    return leaf.digest()


def upload_root(leaves: Iterable[bytes]) -> bytes:
    """Root of an upload: hash over the leaves of all blocks in order."""
    return sha256(b"privcomp-secagg-upload" + b"".join(leaves)).digest()


def block_ranges(params: Params) -> Iterator[tuple[int, int, int, int]]:
    """(segment, block index, first entry, entries) of every block, in order."""
    for s, segment in enumerate(params.segments):
        for index, start in enumerate(range(0, segment.length, params.block_entries)):
            yield s, index, start, min(params.block_entries, segment.length - start)


def working_dtype(segment: Segment) -> type[np.uint32] | type[np.uint64]:
    """Accumulator type of a ring segment."""
    return np.uint32 if segment.bits <= 32 else np.uint64


def masked_blocks(
    params: Params,
    vectors: Sequence[NDArray[Any]],
    seeds: Sequence[NDArray[np.uint8]],
    negate: NDArray[np.bool_],
) -> Iterator[tuple[int, int, bytes]]:
    """Mask and pack the vector block by block: (segment, block index, payload). Memory: one block.

    y = x + sum over seeds of (+/-) keystream, each segment modulo its own modulus.
    """
    for s, index, start, count in block_ranges(params):
        segment, source = params.segments[s], vectors[s][start : start + count]
        if segment.is_ring:
            acc: NDArray[Any] = source.astype(working_dtype(segment), casting="unsafe")
            mask_add(acc, seeds[s], negate, offset=start, cipher=params.cipher)
            yield s, index, pack(acc, segment.bits)
        else:
            lanes = np.array(source, dtype=np.uint8, order="C")
            modulus = int.from_bytes(segment.modulus, "little")
            lanes_mask(lanes, modulus, seeds[s], negate, offset=start, cipher=params.cipher)
            yield s, index, lanes.tobytes()

"""What all roles derive alike: the context ctx, what is signed, the boxes.

ctx covers the round digest (params, session, round, purpose, model, roster, ledger head), the committee, the box keys
in order, and the server's key. Every signature, box and leaf binds it, so that nothing of another round, session,
committee or parameter set verifies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from privcomp import keys
from privcomp.codec import digest, lp
from privcomp.errors import CodecError, ParameterError
from privcomp.keys import Identity
from privcomp.oneshot.messages import Announce, BoxKey, BoxKeyRequest, CloseCertificate, SharedKey, UploadEnd
from privcomp.oneshot.params import Params

__all__ = [
    "SERVER",
    "BoxSecret",
    "RoundContext",
    "SealedBox",
    "box_key_request",
    "ciphertext_hash",
    "close_parts",
    "open_box",
    "request_is_signed",
    "seal_box",
    "set_hash",
    "upload_body",
    "upload_digest",
]

SERVER = b"server"
BOX_OVERHEAD = 16
_LABEL = "privcomp-oneshot-1/"
NO_ROOT = bytes(32)


@dataclass(frozen=True)
class RoundContext:
    """An announced round.

    Attributes:
        announce: the announcement.
        params: its parameters.
        round_digest: over what the layers above bind, as in interactive rounds.
        digest: ctx.
    """

    announce: Announce
    params: Params
    round_digest: bytes
    digest: bytes

    @classmethod
    def of(cls, announce: Announce) -> RoundContext:
        """Derive the round digest and ctx.

        Raises:
            CodecError: the params are not canonical or do not add up, or the seats are not those of the committee.
        """
        a = announce
        params = Params.from_bytes(a.params, max_bytes=1 << 17)
        if len(a.seats) != params.committee.size:
            raise CodecError(f"{len(a.seats)} seats for a committee of {params.committee.size}")
        round_digest = digest(
            _LABEL + "round",
            a.params,
            a.session,
            a.round.to_bytes(8, "little"),
            a.purpose.encode(),
            a.model_hash,
            a.roster_hash,
            a.ledger_head,
        )
        keys_in_order = (part for seat in a.seats for part in (seat.key, seat.kem))
        ctx = digest(_LABEL + "ctx", round_digest, params.committee.hash, a.server, *keys_in_order)
        return cls(a, params, round_digest, ctx)

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Places of the members that sent a box key."""
        return tuple(place for place, seat in enumerate(self.announce.seats) if not seat.is_empty)

    @property
    def announce_body(self) -> bytes:
        """What the server signs: everything but its signature."""
        return self.announce.to_bytes()[:-64]

    def sign(self, identity: Identity, what: str, *parts: bytes) -> bytes:
        """Sign a message of this round."""
        return identity.sign(_LABEL + what, self.digest, *parts)

    def signed_by(self, public: bytes, signature: bytes, what: str, *parts: bytes) -> bool:
        """Whether `sign` made this signature."""
        return keys.verify(public, signature, _LABEL + what, self.digest, *parts)


# ---- row 0, what asks for it, and row 5c: signed without ctx ----


def box_key_request(
    identity: Identity, roster_hash: bytes, session: bytes, round: int, committee_hash: bytes, hybrid: bool
) -> BoxKeyRequest:
    """What a server asks members for row 0 with."""
    unsigned = BoxKeyRequest(roster_hash, session, round, committee_hash, hybrid, identity.public, bytes(64))
    return replace(unsigned, signature=identity.sign(_LABEL + "boxkeys", *_request_parts(unsigned)))


def request_is_signed(request: BoxKeyRequest) -> bool:
    """Whether the server that the request names has signed it."""
    return keys.verify(request.server, request.signature, _LABEL + "boxkeys", *_request_parts(request))


def _request_parts(request: BoxKeyRequest) -> tuple[bytes, ...]:
    r = request
    return r.roster_hash, r.session, r.round.to_bytes(8, "little"), r.committee_hash, bytes([r.hybrid]), r.server


def box_key_parts(message: BoxKey) -> tuple[bytes, ...]:
    """What a member signs in row 0."""
    m = message
    return m.roster_hash, m.session, m.round.to_bytes(8, "little"), m.id, m.key, m.kem


def seat_signed_by(context: RoundContext, place: int, party: bytes, public: bytes) -> bool:
    """Whether the member made the row-0 signature at its seat of this round."""
    a = context.announce
    seat = a.seats[place]
    message = BoxKey(a.roster_hash, a.session, a.round, party, seat.key, seat.kem, bytes(64))
    return keys.verify(public, seat.signature, _LABEL + "boxkey", *box_key_parts(message))


def close_parts(model_hash: bytes, committee_hash: bytes) -> tuple[bytes, ...]:
    """What a member signs in row 5c: the model and the committee, no round."""
    return model_hash, committee_hash


def closes(certificate: CloseCertificate) -> bool:
    """Whether K members of the certificate's committee signed its close."""
    committee, good = certificate.committee, 0
    parts = close_parts(certificate.model_hash, committee.hash)
    last = -1
    for place, signature in certificate.signatures:
        if not last < place < committee.size:
            return False
        last = place
        if not keys.verify(committee.members[place][1], signature, _LABEL + "close", *parts):
            return False
        good += 1
    return good >= committee.release


# ---- uploads and sets ----


def ciphertext_hash(ctx: bytes, block_hashes: Iterable[bytes]) -> bytes:
    """SHA-256 over the SHA-256 hashes of a ciphertext's blocks, in order."""
    return digest(_LABEL + "ciphertext", ctx, *block_hashes)


def upload_body(upload: UploadEnd | SharedKey, root: bytes) -> tuple[bytes, ...]:
    """The parts of row 2 that a client signs; `root` is over the leaves, which bind what each box must contain.

    Boxes and ML-KEM ciphertexts are not signed: their keys follow from the private half of E_i, which is.
    """
    return upload.id, upload.key, upload.ciphertext_hash, root, upload.test


def upload_digest(context: RoundContext, body: tuple[bytes, ...]) -> bytes:
    """SHA-256 of row 2's signed body."""
    return digest(_LABEL + "upload", context.digest, *body)


def set_hash(ctx: bytes, survivors: Iterable[tuple[bytes, bytes]]) -> bytes:
    """SHA-256 over (U, digests), which is what members vote on."""
    return digest(_LABEL + "set", ctx, *(part for entry in survivors for part in entry))


# ---- boxes ----


@dataclass(frozen=True)
class BoxSecret:
    """A member's private box key of one round: X25519, imported once for all clients, and an ML-KEM-768 seed or
    nothing."""

    key: keys.X25519Key
    kem: bytes

    def __repr__(self) -> str:
        return "BoxSecret(<redacted>)"


@dataclass(frozen=True)
class SealedBox:
    """A box's key material: the AEAD key and nonce, and the salt of the leaf."""

    key: bytes
    nonce: bytes
    salt: bytes

    def __repr__(self) -> str:
        return "SealedBox(<redacted>)"


def box_keys(
    context: RoundContext, client: bytes, place: int, ephemeral: bytes, secret: bytes, kem_ciphertext: bytes
) -> SealedBox:
    """key (32), nonce (12) and salt (32) of the box from a client to the member at a place.

    HKDF-SHA256 over the X25519 secret (and the ML-KEM secret behind it); the info has ctx, both parties, E_i and the
    member's public keys, and the ML-KEM ciphertext. E_i is fresh in every upload, so no (key, nonce) repeats.
    """
    seat = context.announce.seats[place]
    at = (place + 1).to_bytes(4, "little")
    info = (context.digest, client, at, ephemeral, seat.key, seat.kem, kem_ciphertext)
    out = keys.hkdf(secret, *info, length=76, label=_LABEL + "box")
    return SealedBox(out[:32], out[32:44], out[44:])


def _associated(context: RoundContext, client: bytes, place: int, ephemeral: bytes, hashed: bytes) -> bytes:
    at = (place + 1).to_bytes(4, "little")
    return lp(b"privcomp-oneshot-1/box", context.digest, client, at, ephemeral, hashed)


def seal_box(
    context: RoundContext, box: SealedBox, client: bytes, place: int, ephemeral: bytes, hashed: bytes, plain: bytes
) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439) of a share; 16 bytes longer. `hashed` is the ciphertext's hash."""
    return ChaCha20Poly1305(box.key).encrypt(box.nonce, plain, _associated(context, client, place, ephemeral, hashed))


def open_box(context: RoundContext, place: int, entry: SharedKey, secret: BoxSecret) -> tuple[bytes, bytes]:
    """(plaintext, salt) of the box in a delivered entry.

    Raises:
        CodecError: E_i is no sound public key, or the box does not authenticate.
    """
    try:
        keys.x25519_check_public(entry.key)
        shared = secret.key.exchange(entry.key)
        if secret.kem:
            shared += keys.mlkem_decapsulate(secret.kem, entry.kem)
        elif entry.kem:
            raise CodecError("a KEM ciphertext in a round without ML-KEM")
    except ParameterError as error:
        raise CodecError(str(error)) from None
    box = box_keys(context, entry.id, place, entry.key, shared, entry.kem)
    associated = _associated(context, entry.id, place, entry.key, entry.ciphertext_hash)
    try:
        return ChaCha20Poly1305(box.key).decrypt(box.nonce, entry.box, associated), box.salt
    except InvalidTag:
        raise CodecError("a box does not authenticate: changed, or sealed for another member or round") from None

"""Identities, rosters, key agreement, key derivation and authenticated encryption, all over `cryptography`.

Every function binds its context: signatures, derived keys and associated data cover `lp(label, *parts)`, which is
injective in the list of parts, so that nothing made for one purpose verifies or opens under another.

What Python cannot wipe: the key objects of `cryptography` and immutable `bytes` stay in memory until they are freed.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn, Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privcomp.codec import Blob, Codec, Fixed, Message, Nested, Seq, Tup, digest, lp
from privcomp.errors import CodecError, ParameterError, RemoteError

__all__ = [
    "ID_MAX_BYTES",
    "MLKEM_CIPHERTEXT_BYTES",
    "MLKEM_PUBLIC_BYTES",
    "SEAL_OVERHEAD_BYTES",
    "Identity",
    "Roster",
    "SignedRoster",
    "X25519Key",
    "check_id",
    "constant_time_equal",
    "hkdf",
    "mlkem_check_public",
    "mlkem_decapsulate",
    "mlkem_encapsulate",
    "mlkem_public",
    "open_sealed",
    "seal",
    "verify",
    "x25519",
    "x25519_check_public",
    "x25519_public",
]

Rng = Callable[[int], bytes]

ID_MAX_BYTES: Final = 64
MLKEM_PUBLIC_BYTES: Final = 1184
MLKEM_CIPHERTEXT_BYTES: Final = 1088
SEAL_OVERHEAD_BYTES: Final = 48  # 32 bytes of salt, 16 of tag
_SALT_BYTES: Final = 32
_P25519: Final = 2**255 - 19

# u-coordinates of the points of order 1, 2, 4 and 8 on Curve25519 and its twist (RFC 7748 section 6.1 asks for the
# check of the shared secret; on the public key it names the culprit before any secret is used).
_X25519_LOW_ORDER: Final = frozenset(
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P25519 - 1,
    )
)
# y-coordinates of the eight torsion points of edwards25519: a signature "by" such a key can be made by anybody.
_ED25519_LOW_ORDER_Y: Final = frozenset(
    (
        0,
        1,
        _P25519 - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    )
)


def _seen(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"


def _need(value: bytes, size: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise ParameterError(f"{what} must be exactly {size} bytes; got {_seen(value)}")
    return value


def _draw(rng: Rng, size: int) -> bytes:
    data = rng(size)
    if type(data) is not bytes or len(data) != size:
        raise ParameterError(f"rng({size}) must return exactly {size} bytes; use os.urandom")
    return data


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Compare two byte strings in time that depends on their lengths only."""
    return hmac.compare_digest(a, b)


def check_id(party: bytes) -> bytes:
    """Return `party` if it is an id: 1 to 64 bytes, compared exactly, never normalised.

    Raises:
        ParameterError: it is not.
    """
    if type(party) is not bytes or not 1 <= len(party) <= ID_MAX_BYTES:
        raise ParameterError(
            f"an id is 1 to {ID_MAX_BYTES} bytes, got {_seen(party)}; encode names once, e.g. as UTF-8"
        )
    return party


# ---- signatures ----


class Identity:
    """A long-term Ed25519 signing key (RFC 8032).

    Example:
        >>> identity = Identity.from_seed(bytes(32))
        >>> signature = identity.sign("greeting", b"hello")
        >>> verify(identity.public, signature, "greeting", b"hello")
        True
        >>> verify(identity.public, signature, "greeting", b"hel", b"lo")
        False
        >>> identity
        Identity(public=3b6a27bc..., secret=<redacted>)
    """

    __slots__ = ("_key", "public")

    public: bytes

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, rng: Rng = os.urandom) -> Self:
        """Draw a new identity; `rng(32)` must come from a CSPRNG."""
        return cls.from_seed(_draw(rng, 32))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Rebuild an identity from its 32 secret bytes; ParameterError for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(_need(seed, 32, "seed of an identity")))

    def seed_bytes(self) -> bytes:
        """The 32 secret bytes, to be stored with mode 0600 and never sent."""
        return self._key.private_bytes_raw()

    def sign(self, label: str, *parts: bytes) -> bytes:
        """Sign `lp(label, *parts)`; returns 64 bytes."""
        return self._key.sign(lp(label.encode("utf-8"), *parts))

    def __repr__(self) -> str:
        return f"Identity(public={self.public.hex()[:8]}..., secret=<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise ParameterError("an Identity is not pickled: a copy of the key would travel; store seed_bytes() yourself")


def verify(public: bytes, signature: bytes, label: str, *parts: bytes) -> bool:
    """Whether `signature` is the one of `public`'s owner over `lp(label, *parts)`.

    Args:
        public: 32 bytes.
        signature: 64 bytes; anything else is False.
        label: purpose of the signature.
        parts: signed values.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, lp(label.encode("utf-8"), *parts))
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_ed25519_public(public: bytes) -> None:
    y = int.from_bytes(_need(public, 32, "public key of an identity"), "little") & (2**255 - 1)
    if y >= _P25519 or y in _ED25519_LOW_ORDER_Y:
        raise ParameterError(
            "a public key is not canonical or a point of low order, under which anybody could sign; "
            "use Identity.generate().public"
        )


@dataclass(frozen=True)
class Roster(Message):
    """Who may take part: ids and their long-term public keys, given out of band.

    Args:
        entries: (id of 1..64 bytes, Ed25519 public key of 32 bytes), sorted by id; ids and keys are unique.

    Raises:
        ParameterError: unsorted, duplicate, malformed or low-order entries.

    Example:
        >>> roster = Roster.of({b"b": Identity.from_seed(bytes(32)).public})
        >>> b"b" in roster, b"c" in roster, len(roster)
        (True, False, 1)
    """

    TAG: ClassVar[int] = 1
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("entries", Seq(Tup(Blob(ID_MAX_BYTES), Fixed(32)), 2**24)),
    )
    EXPANSION: ClassVar[int] = 8  # a file that the operator hands out, with many small entries
    entries: tuple[tuple[bytes, bytes], ...]

    def __post_init__(self) -> None:
        if type(self.entries) is not tuple:
            raise ParameterError("entries must be a tuple of (id, public key); Roster.of() builds it from a mapping")
        index: dict[bytes, bytes] = {}
        last = b""
        for entry in self.entries:
            if type(entry) is not tuple or len(entry) != 2:
                raise ParameterError("every entry of a roster is a tuple (id, public key)")
            party, public = entry
            check_id(party)
            _check_ed25519_public(public)
            if party <= last:
                problem = "comes twice" if party == last else "is out of order"
                raise ParameterError(f"id {party!r} {problem}; a roster is sorted by id and names each id once")
            last = party
            index[party] = public
        if len(set(index.values())) != len(index):
            owners: dict[bytes, bytes] = {}
            for party, public in self.entries:
                other = owners.setdefault(public, party)
                if other != party:
                    raise ParameterError(
                        f"ids {other!r} and {party!r} have the same public key; every participant needs its own"
                    )
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_hash", None)

    @classmethod
    def of(cls, publics: dict[bytes, bytes]) -> Self:
        """Build a roster from a mapping id -> public key."""
        return cls(tuple(sorted(publics.items())))

    @classmethod
    def from_bytes(cls, data: bytes, *, max_bytes: int = 1 << 24) -> Self:
        """Decode a roster of at most `max_bytes`; raises CodecError (see `Message.from_bytes`)."""
        return super().from_bytes(data, max_bytes=max_bytes)

    @property
    def hash(self) -> bytes:
        """SHA-256 digest (32 bytes) that every context of a session binds."""
        known: bytes | None = self.__dict__["_hash"]
        if known is None:
            known = digest("privcomp/roster", self.to_bytes())
            object.__setattr__(self, "_hash", known)
        return known

    @property
    def ids(self) -> tuple[bytes, ...]:
        """All ids in increasing order."""
        return tuple(self.__dict__["_index"])

    def public(self, party: bytes) -> bytes:
        """The public key of `party`; ParameterError if the roster does not name it."""
        index: dict[bytes, bytes] = self.__dict__["_index"]
        try:
            return index[party]
        except KeyError:
            raise ParameterError(f"the roster does not name {party!r}; it has {len(index)} entries") from None

    def __contains__(self, party: object) -> bool:
        return party in self.__dict__["_index"]

    def __len__(self) -> int:
        return len(self.entries)

    def sign(self, operator: Identity) -> SignedRoster:
        """The roster with the operator's signature."""
        return SignedRoster(self, operator.public, operator.sign("privcomp/roster", self.to_bytes()))


@dataclass(frozen=True)
class SignedRoster(Message):
    """A roster as its operator hands it out.

    Args:
        roster: the entries.
        operator: Ed25519 public key of the signer, 32 bytes.
        signature: 64 bytes over the roster's encoding.
    """

    TAG: ClassVar[int] = 2
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("roster", Nested(Roster)),
        ("operator", Fixed(32)),
        ("signature", Fixed(64)),
    )
    EXPANSION: ClassVar[int] = 8
    roster: Roster
    operator: bytes
    signature: bytes

    @classmethod
    def from_bytes(cls, data: bytes, *, max_bytes: int = 1 << 24) -> Self:
        """Decode a signed roster of at most `max_bytes`; raises CodecError. The signature is checked by `verify`."""
        return super().from_bytes(data, max_bytes=max_bytes)

    def verify(self, operator_public: bytes) -> Roster:
        """Return the roster if `operator_public`, known out of band, signed it.

        Raises:
            RemoteError: another key signed, or the signature does not verify.
        """
        _check_ed25519_public(operator_public)
        if self.operator != operator_public:
            raise RemoteError(
                None,
                "roster",
                f"the roster names operator {self.operator.hex()[:16]}..., this node trusts "
                f"{operator_public.hex()[:16]}...; fetch the roster from your operator",
            )
        if not verify(operator_public, self.signature, "privcomp/roster", self.roster.to_bytes()):
            raise RemoteError(
                None, "roster", "the operator's signature does not verify; fetch the roster from your operator again"
            )
        return self.roster


# ---- key agreement ----


class X25519Key:
    """An X25519 private key that agrees with many peers (RFC 7748): importing it costs as much as one agreement.

    Args:
        private: 32 bytes, used as they are (clamped inside).
    """

    __slots__ = ("_key",)

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(_need(private, 32, "X25519 private key"))

    def __repr__(self) -> str:
        return "X25519Key(<redacted>)"

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """The shared secret, 32 bytes; errors as for `x25519`."""
        peer = X25519PublicKey.from_public_bytes(_need(public, 32, "X25519 public key"))
        try:
            return self._key.exchange(peer)
        except ValueError:
            raise ParameterError("the X25519 result is all zero: the peer's key is a point of low order") from None


def x25519_public(private: bytes) -> bytes:
    """The X25519 public key (32 bytes) of a 32-byte private key (RFC 7748)."""
    return X25519Key(private).public


def x25519(private: bytes, public: bytes) -> bytes:
    """The X25519 shared secret, 32 bytes (RFC 7748 section 6.1).

    Args:
        private: 32 bytes, used as they are (clamped inside).
        public: the peer's 32 bytes.

    Raises:
        ParameterError: wrong length, or the result is all zero (the peer sent a point of low order).
    """
    return X25519Key(private).exchange(public)


def x25519_check_public(public: bytes) -> bytes:
    """Return an advertised X25519 key if it is canonical and of large order.

    X25519 itself ignores the top bit and reduces mod 2^255 - 19, so that two encodings can be one key; in a list of
    advertised keys each key has one encoding.

    Raises:
        ParameterError: wrong length, not canonical, or of low order.
    """
    value = int.from_bytes(_need(public, 32, "X25519 public key"), "little")
    if value >= _P25519:
        raise ParameterError("an X25519 public key is not canonical (u >= 2^255 - 19); send u reduced mod 2^255 - 19")
    if public in _X25519_LOW_ORDER:
        raise ParameterError("an X25519 public key is a point of low order: every shared secret would be zero")
    return public


def _mlkem_private(seed: bytes) -> MLKEM768PrivateKey:
    return MLKEM768PrivateKey.from_seed_bytes(_need(seed, 64, "ML-KEM-768 seed"))


def mlkem_public(seed: bytes) -> bytes:
    """The ML-KEM-768 public key (1184 bytes) of a 64-byte seed d || z (FIPS 203)."""
    return _mlkem_private(seed).public_key().public_bytes_raw()


def mlkem_check_public(public: bytes) -> bytes:
    """Return an advertised ML-KEM-768 public key if it is canonical (FIPS 203, 7.2); ParameterError otherwise."""
    _mlkem_public_key(public)
    return public


def _mlkem_public_key(public: bytes) -> MLKEM768PublicKey:
    _need(public, MLKEM_PUBLIC_BYTES, "ML-KEM-768 public key")
    try:
        return MLKEM768PublicKey.from_public_bytes(public)
    except ValueError:
        raise ParameterError("an ML-KEM-768 public key is not canonical (a coefficient is not below 3329)") from None


def mlkem_encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """Encapsulate to an ML-KEM-768 public key; the library draws its own coins (FIPS 203).

    Returns:
        (shared secret of 32 bytes, ciphertext of 1088 bytes).

    Raises:
        ParameterError: wrong length, or not a canonical public key.
    """
    return _mlkem_public_key(public).encapsulate()


def mlkem_decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    """The shared secret (32 bytes) of an ML-KEM-768 ciphertext; a wrong one gives an unrelated secret (FIPS 203).

    Raises:
        ParameterError: the seed is not 64 or the ciphertext not 1088 bytes long.
    """
    return _mlkem_private(seed).decapsulate(_need(ciphertext, MLKEM_CIPHERTEXT_BYTES, "ML-KEM-768 ciphertext"))


# ---- key derivation and authenticated encryption ----


def hkdf(secret: bytes, *info: bytes, length: int = 32, label: str) -> bytes:
    """HKDF-SHA256 with an empty salt and info = lp(label, *info) (RFC 5869).

    Args:
        secret: uniform or high-entropy key material, at least 32 bytes.
        info: context that the key is bound to.
        length: bytes to derive, 1..8160.
        label: purpose of the key.

    Raises:
        ParameterError: secret too short, or length out of range.

    Example:
        >>> hkdf(bytes(32), b"a", label="x") == hkdf(bytes(32), b"a", label="y")
        False
    """
    if len(secret) < 32:
        raise ParameterError(f"key material has {len(secret)} bytes; at least 32 are needed")
    if not 1 <= length <= 255 * 32:
        raise ParameterError(f"HKDF-SHA256 derives 1 to {255 * 32} bytes, not {length}")
    return _hkdf_sha256(secret, b"", lp(label.encode("utf-8"), *info), length)


def _hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def seal(key: bytes, plaintext: bytes, *ad: bytes, label: str, rng: Rng = os.urandom) -> bytes:
    """Encrypt and authenticate: salt (32) || ChaCha20-Poly1305 ciphertext || tag (16) (RFC 8439).

    The cipher's key and nonce are HKDF outputs over the salt, and the salt is a PRF under `key` of fresh random bytes
    *and* of everything that is sealed. So a (key, nonce) pair repeats only if the same plaintext is sealed under the
    same context from repeated randomness, where the whole output is the same too: neither a fork, nor a restored
    state, nor a broken `rng` makes two plaintexts share a keystream.

    Args:
        key: 32 secret bytes.
        plaintext: any length below 2^31.
        ad: context that must be the same at `open_sealed`.
        label: purpose.
        rng: entropy, `rng(32)`.

    Raises:
        ParameterError: wrong key length.
    """
    _need(key, 32, "AEAD key")
    salt = hkdf(key, _draw(rng, _SALT_BYTES), plaintext, *ad, label=label + "/salt", length=_SALT_BYTES)
    cipher_key, nonce, associated = _aead_keys(key, salt, ad, label)
    return salt + _aead_encrypt(cipher_key, nonce, plaintext, associated)


def open_sealed(key: bytes, blob: bytes, *ad: bytes, label: str) -> bytes:
    """Decrypt what `seal` made.

    Returns:
        The plaintext.

    Raises:
        ParameterError: the key is not 32 bytes.
        CodecError: too short, changed, or sealed under another key, label or context.

    Example:
        >>> blob = seal(bytes(32), b"share", b"alice", b"bob", label="demo")
        >>> open_sealed(bytes(32), blob, b"alice", b"bob", label="demo")
        b'share'
    """
    _need(key, 32, "AEAD key")
    if len(blob) < SEAL_OVERHEAD_BYTES:
        raise CodecError(f"a sealed value has {len(blob)} bytes; salt and tag alone take {SEAL_OVERHEAD_BYTES}")
    cipher_key, nonce, associated = _aead_keys(key, blob[:_SALT_BYTES], ad, label)
    try:
        return _aead_decrypt(cipher_key, nonce, blob[_SALT_BYTES:], associated)
    except InvalidTag:
        raise CodecError(
            "a sealed value does not authenticate: it was changed, or made for another key, recipient or round"
        ) from None


def _aead_keys(key: bytes, salt: bytes, ad: tuple[bytes, ...], label: str) -> tuple[bytes, bytes, bytes]:
    derived = hkdf(key, salt, *ad, length=44, label=label)
    return derived[:32], derived[32:], lp(label.encode("utf-8"), *ad)


def _aead_encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated)


def _aead_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, associated)

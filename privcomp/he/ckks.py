"""CKKS for sums: SEAL's scheme through TenSEAL, with roles, checks and a release that shows the sum only.

    Encryptor (every client, public key)  --Upload-->  Aggregator (no key)  --Aggregate-->  Decryptor (secret key)

Three parties: who adds cannot decrypt, who decrypts sees no upload, and no client can decrypt another one's. What an
aggregator and a key holder do together, nobody prevents here; masks and a committee do (`secagg`, `oneshot`).

**What SEAL reads.** A blob made for it can make SEAL read out of bounds, crash, or decrypt to something else. So every
message is parsed by this library's strict codec and its signature verified (Ed25519, over session, round, sender and
every byte) *before* SEAL sees a byte of it. A client of the roster that signs a hostile blob is not stopped by that.

**What is released.** x is rounded to the grid of step g = 2^-precision_bits before it is encrypted, so the sum lies on
the grid as well. The noise of a sum stays below g / 2, so rounding to the grid gives that sum *exactly*: a function of
the inputs alone. A raw decryption is the sum plus noise, and gives the key away by linear algebra (Li and Micciancio,
Eurocrypt 2021, eprint 2020/1533): `decrypt_raw`.

**Noise.** Write c(z) for the polynomial c at the root of unity z of a slot. A ciphertext under the public key
(-(a s + e), a) decrypts to m + e u + e1 + e2 s + r (up to signs). SEAL draws s and u uniformly from {-1, 0, 1}; e, e1
and e2 as the difference of two sums of 21 bits; r is the rounding of the encoder, treated as random. All have the
sub-Gaussian proxies 2/3, 21/2, and 1/4 for r. The real part of (e u)(z) is sum_k u_k Re(e(z) z^k), and the sum of the
squares of Re(e(z) z^k) is |e(z)|^2 N/2, as z^2 is a primitive N-th root of unity. The same holds for e2 s and for
imaginary parts. So given e and s the noise of one client has the proxy

    V = N/2 (2/3 |e(z)|^2 + 21/2 |s(z)|^2 + 21/2 + 1/4).

With X = |e(z)|^2 / (21/2 N) and Y = |s(z)|^2 / (2/3 N) this is N/2 (7 N (X + Y) + 10.75). By the same sum e(z) is a
sub-Gaussian vector in the plane, of proxy 21/2 N/2 in every direction, so E exp(t X) <= 1 / (1 - t) for t < 1, and
P[X + Y > 64] <= (64/2)^2 exp(2 - 64): a key is above that in one of its N/2 slots with probability below 2^-68. Below
it, the noise of n clients stays within 15 sqrt(n V) / scale but for 2 exp(-15^2 / 2) < 2^-161 a value: 2^-128 for 2^33
values. To this comes what float64 loses: the FFT in SEAL's encoder at most 4 log2(N) 2^-53 of the vector's 2-norm,
which is at most sqrt(N) B, and the decoder as much: together less than n B 2^-40. B is the largest magnitude.

**No wrap.** A coefficient is a mean of slots times numbers of absolute value 1, and there are two values in a slot: at
most sqrt(2) B scale. Those of n clients, their roundings and their noise must stay below q/2. (6 clients with 1e5 at
scale 2^40 and 60 bits come back as -448,576 where nobody checks.)

**Security.** N = 4096 and one prime of at most 60 bits; no evaluation keys exist. The table of the HE standard (ternary
secrets, classical) allows 75 bits there for 192 bits of security and 109 for 128; SEAL enforces the former. The
estimator of the tests, with the secret's width for all errors, which is easier, finds 231 bits at 60. N = 2048 would
take as many bytes for a value, and has 122 by the same estimate at the 54 bits that SEAL allows there.

Source: Cheon, Kim, Kim, Song, "Homomorphic encryption for arithmetic of approximate numbers", Asiacrypt 2017 (eprint
2016/421); Albrecht et al., "Homomorphic encryption standard", 2018 (eprint 2019/939).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from privcomp import keys
from privcomp.codec import F64, U8, U32, U64, Blob, Codec, Fixed, Message, Seq, digest
from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError, RoundAborted, StateError
from privcomp.he import _seal
from privcomp.keys import ID_MAX_BYTES, Identity, Roster
from privcomp.typing import F64Array

__all__ = ["Aggregate", "Aggregator", "CkksParams", "Decryptor", "Encryptor", "PublicKey", "Session", "Sum", "Upload"]

_N: Final = _seal.DEGREE
#: V of one client, in units of the scale; derivation on top of this file.
_VARIANCE: Final = _N / 2 * (7 * _N * 64 + 10.75)
_TAIL: Final = 15.0
_FLOAT_LOSS: Final = 2.0**-40
#: SEAL's primes lie above this share of 2^bits; the engine checks it.
_LEAST_PRIME: Final = 0.9
_MIN_MODULUS_BITS: Final = 36
_MAX_MODULUS_BITS: Final = 60  # what SEAL takes for one prime
_SCALE_ROOM: Final = 2  # SEAL's encoder wants log2(scale) + 1 below the bits of the prime
_MAX_BLOCKS: Final = 1 << 20
_MAX_CLIENTS: Final = 1 << 20
_ROUND_END: Final = 1 << 63
_SIGNATURE_BYTES: Final = 64
_U32_BYTES: Final = 4


@dataclass(frozen=True)
class CkksParams(Message):
    """What is summed, how exactly, and the chain that holds it: refused where the noise shows or a sum could wrap.

    `for_round` finds the chain; the constructor only checks one.

    Args:
        length: values in a vector, 1..2^32.
        clients: the most vectors that may be added, 2..2^20.
        min_clients: the fewest that are decrypted, 2..clients.
        magnitude: largest absolute value of an entry, weights included; a positive multiple of the step.
        precision_bits: the step of the grid is 2^-precision_bits, 0..52.
        scale_bits: scale of the encoding, 2^scale_bits.
        modulus_bits: bits of the one prime, 36..60.

    Raises:
        ParameterError: a value out of range; noise that could reach half a step; a sum that could wrap.

    Example:
        >>> params = CkksParams.for_round(length=1_000_000, clients=10, magnitude=1.0, precision_bits=28)
        >>> params.modulus_bits, params.scale_bits, params.blocks
        (56, 51, 245)
        >>> CkksParams.for_round(length=1, clients=6, magnitude=1e5, precision_bits=40)
        Traceback (most recent call last):
        privcomp.errors.ParameterError: 6 clients ... precision_bits = 16 would fit
    """

    TAG: ClassVar[int] = 0x0A00
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("length", U64),
        ("clients", U32),
        ("min_clients", U32),
        ("magnitude", F64),
        ("precision_bits", U8),
        ("scale_bits", U8),
        ("modulus_bits", U8),
    )
    length: int
    clients: int
    min_clients: int
    magnitude: float
    precision_bits: int
    scale_bits: int
    modulus_bits: int

    def __post_init__(self) -> None:
        _integer("length", self.length, 1, _MAX_BLOCKS * _seal.VALUES)
        _integer("clients", self.clients, 2, _MAX_CLIENTS)
        _integer("min_clients", self.min_clients, 2, self.clients)
        _integer("precision_bits", self.precision_bits, 0, 52)
        _integer("scale_bits", self.scale_bits, 1, _MAX_MODULUS_BITS)
        _integer("modulus_bits", self.modulus_bits, _MIN_MODULUS_BITS, _MAX_MODULUS_BITS)
        if type(self.magnitude) is not float or not 0.0 < self.magnitude <= 2.0**52:
            raise ParameterError(f"magnitude is {self.magnitude!r}; it must be a float in (0, 2^52]")
        if self.magnitude != math.ceil(self.magnitude / self.step) * self.step:
            raise ParameterError(f"magnitude is no multiple of the step 2^-{self.precision_bits}; use for_round")
        if not self.noise_bound < self.step / 2:
            raise ParameterError(
                f"the noise of {self.clients} clients may reach {self.noise_bound:.3g}, half a step of 2^-"
                f"{self.precision_bits} or more: take a larger scale or fewer precision_bits (for_round does)"
            )
        if not self._largest_coefficient() < _LEAST_PRIME * 2.0 ** (self.modulus_bits - 1):
            raise ParameterError(
                f"a sum of {self.clients} clients with entries up to {self.magnitude:g} could wrap: at scale 2^"
                f"{self.scale_bits} its coefficients reach 2^{math.log2(self._largest_coefficient()):.1f}, "
                f"and q/2 is 2^{self.modulus_bits - 1}"
            )
        if self.scale_bits > self.modulus_bits - _SCALE_ROOM:
            raise ParameterError(
                f"scale 2^{self.scale_bits} under a prime of {self.modulus_bits} bits: SEAL encodes with at most "
                f"2^{self.modulus_bits - _SCALE_ROOM} (for_round takes a prime that is large enough)"
            )

    @classmethod
    def for_round(
        cls, *, length: int, clients: int, magnitude: float, precision_bits: int, min_clients: int = 2
    ) -> CkksParams:
        """The least scale and then the least prime that hold a sum; `magnitude` is rounded up to the grid.

        Raises:
            ParameterError: nothing fits; the text says which precision would.
        """
        _integer("clients", clients, 2, _MAX_CLIENTS)
        _integer("precision_bits", precision_bits, 0, 52)
        if type(magnitude) not in (int, float) or not 0 < magnitude <= 2.0**52:
            raise ParameterError(f"magnitude is {magnitude!r}; it must be a number in (0, 2^52]")
        chain = _chain(clients, float(magnitude), precision_bits)
        if chain is None:
            fitting = [bits for bits in range(precision_bits) if _chain(clients, float(magnitude), bits) is not None]
            raise ParameterError(
                f"{clients} clients with entries up to {magnitude:g} at a step of 2^-{precision_bits} need more than "
                f"one prime of {_MAX_MODULUS_BITS} bits, or more than float64 holds; "
                + (f"precision_bits = {fitting[-1]} would fit" if fitting else "scale the values down")
            )
        on_grid, scale_bits, modulus_bits = chain
        return cls(length, clients, min_clients, on_grid, precision_bits, scale_bits, modulus_bits)

    @property
    def step(self) -> float:
        """The grid of inputs and results: 2^-precision_bits."""
        return math.ldexp(1.0, -self.precision_bits)

    @property
    def noise_bound(self) -> float:
        """Bound of |raw decryption - sum| of any value, with failure 2^-128 over 2^33 values (derivation on top)."""
        return _noise(self.clients, self.magnitude, self.scale_bits)

    @property
    def stated_error(self) -> float:
        """Bound of |released sum - sum of the floats that went in|: n * step / 2, hence step / 2 for the mean."""
        return self.clients * self.step / 2

    @property
    def security(self) -> int:
        """Bits of security of N = 4096 and at most 60 bits of modulus: at least 192 by the table of the HE standard."""
        return 192

    @property
    def blocks(self) -> int:
        """Ciphertexts of a vector: ceil(length / 4096)."""
        return -(-self.length // _seal.VALUES)

    @property
    def upload_max_bytes(self) -> int:
        """Longest upload or aggregate that is accepted, the names of all clients included."""
        return 4096 + self.blocks * (4 + _seal.BLOB_MAX_BYTES) + self.clients * (4 + ID_MAX_BYTES)

    def _largest_coefficient(self) -> float:
        return _coefficient(self.clients, self.magnitude, self.scale_bits)


def _noise(clients: int, magnitude: float, scale_bits: int) -> float:
    return _TAIL * math.sqrt(clients * _VARIANCE) * 2.0**-scale_bits + clients * magnitude * _FLOAT_LOSS


def _coefficient(clients: int, magnitude: float, scale_bits: int) -> float:
    noise = _TAIL * math.sqrt(clients * _VARIANCE)
    return math.sqrt(2.0) * (clients * magnitude * 2.0**scale_bits + noise) + clients


def _chain(clients: int, magnitude: float, precision_bits: int) -> tuple[float, int, int] | None:
    step = math.ldexp(1.0, -precision_bits)
    on_grid = math.ceil(magnitude / step) * step
    for scale_bits in range(1, _MAX_MODULUS_BITS + 1):
        if _noise(clients, on_grid, scale_bits) < step / 2:
            for modulus_bits in range(max(_MIN_MODULUS_BITS, scale_bits + _SCALE_ROOM), _MAX_MODULUS_BITS + 1):
                if _coefficient(clients, on_grid, scale_bits) < _LEAST_PRIME * 2.0 ** (modulus_bits - 1):
                    return on_grid, scale_bits, modulus_bits
            return None
    return None


def _integer(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(f"{name} is {value!r}; it must be an int in {low}..{high}")


# ---- messages


@dataclass(frozen=True)
class PublicKey(Message):
    """The key holder's public key of one session.

    Args:
        session: digest of the session, 32 bytes.
        key: SEAL's bytes.
        signature: the key holder's.
    """

    TAG: ClassVar[int] = 0x0A01
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("session", Fixed(32)),
        ("key", Blob(_seal.BLOB_MAX_BYTES)),
        ("signature", Fixed(_SIGNATURE_BYTES)),
    )
    session: bytes
    key: bytes
    signature: bytes


@dataclass(frozen=True)
class Upload(Message):
    """One client's vector, encrypted.

    Args:
        session: digest of the session, 32 bytes.
        key: digest of the public key's message, 32 bytes.
        round: the round.
        party: the client's id.
        blocks: SEAL's ciphertexts.
        signature: the client's, over the digest of everything before it.
    """

    TAG: ClassVar[int] = 0x0A02
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("session", Fixed(32)),
        ("key", Fixed(32)),
        ("round", U64),
        ("party", Blob(ID_MAX_BYTES)),
        ("blocks", Seq(Blob(_seal.BLOB_MAX_BYTES), _MAX_BLOCKS)),
        ("signature", Fixed(_SIGNATURE_BYTES)),
    )
    session: bytes
    key: bytes
    round: int
    party: bytes
    blocks: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True)
class Aggregate(Message):
    """The sum of uploads, still encrypted.

    Args:
        session, key, round: as in `Upload`.
        parties: whose uploads were added, increasing.
        blocks: SEAL's ciphertexts.
        signature: the aggregator's.
    """

    TAG: ClassVar[int] = 0x0A03
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("session", Fixed(32)),
        ("key", Fixed(32)),
        ("round", U64),
        ("parties", Seq(Blob(ID_MAX_BYTES), _MAX_CLIENTS, increasing=True)),
        ("blocks", Seq(Blob(_seal.BLOB_MAX_BYTES), _MAX_BLOCKS)),
        ("signature", Fixed(_SIGNATURE_BYTES)),
    )
    session: bytes
    key: bytes
    round: int
    parties: tuple[bytes, ...]
    blocks: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True)
class Session:
    """Who does what under one key. All parties build it themselves, from what they were told out of band.

    Args:
        params: the parameters.
        context: 32 bytes of the layer above: session, model, policy.
        roster: everybody's identities.
        holder: id of the party that holds the secret key.
        aggregator: id of the party that adds.

    Raises:
        ParameterError: one party in both roles, or one that the roster does not name.
    """

    params: CkksParams
    context: bytes
    roster: Roster
    holder: bytes
    aggregator: bytes

    def __post_init__(self) -> None:
        if type(self.context) is not bytes or len(self.context) != 32:
            raise ParameterError("the context of a session is a digest of 32 bytes")
        if self.holder == self.aggregator:
            raise ParameterError("the key holder must not be the aggregator: it would read every client's upload")
        for party in (self.holder, self.aggregator):
            if party not in self.roster:
                raise ParameterError(f"the roster does not name {party!r}")
        bound = digest(
            "privcomp-ckks/session",
            self.params.to_bytes(),
            self.context,
            self.roster.hash,
            self.holder,
            self.aggregator,
        )
        object.__setattr__(self, "_digest", bound)

    @property
    def digest(self) -> bytes:
        """What every message of the session is bound to, 32 bytes."""
        bound: bytes = self.__dict__["_digest"]
        return bound

    def public_key(self, data: bytes) -> PublicKey:
        """The message of a public key, once it is seen to be the key holder's and of this session.

        Raises:
            CodecError, RemoteError: it is not; SEAL has read nothing of it.
        """
        try:
            message = PublicKey.from_bytes(data, max_bytes=4096 + _seal.BLOB_MAX_BYTES)
        except CodecError as error:
            raise error.by(self.holder, "key") from None
        if message.session != self.digest:
            raise RemoteError(self.holder, "key", "the public key belongs to another session; it is not used")
        self._verify("key", self.holder, data)
        return message

    def _owner(self, party: bytes, identity: Identity) -> Identity:
        if self.roster.public(party) != identity.public:
            raise ParameterError(f"the identity is not the one that the roster names for {party!r}")
        return identity

    def _verify(self, stage: str, party: bytes, data: bytes) -> None:
        body = hashlib.sha256(memoryview(data)[:-_SIGNATURE_BYTES]).digest()
        if not keys.verify(self.roster.public(party), data[-_SIGNATURE_BYTES:], _LABELS[stage], body):
            raise RemoteError(party, stage, "the signature does not verify: changed on the way, or another sender's")

    def _check(self, stage: str, party: bytes, key: bytes, number: int, message: Upload | Aggregate) -> None:
        for name, seen, expected in (
            ("session", message.session, self.digest),
            ("public key", message.key, key),
            ("round", message.round, number),
        ):
            if seen != expected:
                raise RemoteError(party, stage, f"the message belongs to another {name}; it is not used")
        if len(message.blocks) != self.params.blocks:
            raise RemoteError(
                party,
                stage,
                f"{len(message.blocks)} ciphertexts; a vector of {self.params.length} has {self.params.blocks}",
            )


_LABELS: Final = {stage: f"privcomp-ckks/{stage}" for stage in ("key", "upload", "aggregate")}


def _pieces(
    head: Upload | Aggregate, blocks: Iterable[bytes], count: int, stage: str, identity: Identity
) -> Iterator[bytes]:
    """The bytes of `head`, which has neither blocks nor signature, with `count` blocks and a signature, in pieces."""
    hashed = hashlib.sha256()
    first = head.to_bytes()[: -_U32_BYTES - _SIGNATURE_BYTES] + count.to_bytes(_U32_BYTES, "little")
    hashed.update(first)
    yield first
    for block in blocks:
        piece = len(block).to_bytes(_U32_BYTES, "little") + block
        hashed.update(piece)
        yield piece
    yield identity.sign(_LABELS[stage], hashed.digest())


# ---- roles


class Encryptor:
    """A client: encrypts its vector, once in a round. It cannot decrypt anything.

    Args:
        session: the session.
        public_key: the key holder's message.
        party: this client's id.
        identity: its identity.

    Raises:
        ParameterError: the roster names another identity for `party`.
        CodecError, RemoteError: a public key that is not the holder's, or of another session.
        LocalError: TenSEAL is not installed.
    """

    __slots__ = ("_identity", "_key", "_next_round", "_sealer", "party", "session")

    def __init__(self, session: Session, public_key: bytes, party: bytes, identity: Identity) -> None:
        message = session.public_key(public_key)
        sealer = _engine(session.params).sealer(message.key)
        self._set(session, digest("privcomp-ckks/public-key", public_key), party, identity, sealer)

    def _set(self, session: Session, key: bytes, party: bytes, identity: Identity, sealer: _seal.Sealer) -> None:
        self.session = session
        self.party = party
        self._identity = session._owner(party, identity)
        self._key = key
        self._sealer = sealer
        self._next_round = 0

    def __repr__(self) -> str:
        return f"Encryptor(party={self.party!r}, next_round={self._next_round})"

    def __reduce__(self) -> NoReturn:
        raise ParameterError("an Encryptor is not pickled: it forgets which rounds it has answered")

    def encrypt(self, values: NDArray[Any], round_number: int) -> bytes:
        """The client's message of a round.

        Args:
            values: float32 or float64, shape (length,), finite, absolute values up to params.magnitude. They are
                rounded to the grid; never written to.
            round_number: larger than in every call before.

        Raises:
            EncodingError: a wrong dtype or shape, NaN, or a value beyond the magnitude: nothing was encrypted.
            StateError: the round has been answered.
        """
        return b"".join(self.encrypt_blocks(values, round_number))

    def encrypt_blocks(self, values: NDArray[Any], round_number: int) -> Iterator[bytes]:
        """`encrypt` in pieces of some 66 kB, which make the message one after the other; the checks come first."""
        _integer("round_number", round_number, 0, _ROUND_END - 1)
        params = self.session.params
        on_grid = _on_grid(values, params)
        if round_number < self._next_round:
            raise StateError(
                f"round {round_number} has been answered, or a later one: two vectors of one round would be compared; "
                f"the next is {self._next_round}"
            )
        self._next_round = round_number + 1
        head = Upload(self.session.digest, self._key, round_number, self.party, (), bytes(_SIGNATURE_BYTES))
        blocks = _engine(params).encrypt(self._sealer, on_grid)
        return _pieces(head, blocks, params.blocks, "upload", self._identity)


class Aggregator:
    """The party that adds ciphertexts of one round. It holds no key and decrypts nothing.

    Args:
        session: the session.
        public_key: the key holder's message; uploads under another key are refused.
        identity: the aggregator's.
        round_number: the round.

    Raises:
        ParameterError, CodecError, RemoteError, LocalError: as `Encryptor`.
    """

    __slots__ = ("_done", "_identity", "_key", "_parties", "_round", "_total", "session")

    def __init__(self, session: Session, public_key: bytes, identity: Identity, round_number: int) -> None:
        _integer("round_number", round_number, 0, _ROUND_END - 1)
        session.public_key(public_key)
        _engine(session.params)
        self.session = session
        self._identity = session._owner(session.aggregator, identity)
        self._key = digest("privcomp-ckks/public-key", public_key)
        self._round = round_number
        self._parties: set[bytes] = set()
        self._total: list[Any] = []
        self._done = False

    @property
    def parties(self) -> tuple[bytes, ...]:
        """Whose uploads have been added, in increasing order."""
        return tuple(sorted(self._parties))

    def add(self, data: bytes) -> bytes:
        """Add one upload, which is parsed strictly and authenticated before SEAL reads it; all of it or nothing.

        Returns:
            The client's id.

        Raises:
            CodecError: not the canonical bytes of an upload, or (of a client that signed it) no ciphertext, or one that
                cancels the sum.
            RemoteError: another session, key or round; an unknown or repeated client; a signature that does not verify;
                more clients than the params allow.
            StateError: the sum has been taken.
        """
        if self._done:
            raise StateError("the sum of this round has been taken; a new round needs a new Aggregator")
        params = self.session.params
        try:
            message = Upload.from_bytes(data, max_bytes=params.upload_max_bytes)
        except CodecError as error:
            raise error.by(None, "upload") from None
        party = message.party
        if party not in self.session.roster:
            raise RemoteError(None, "upload", f"the roster does not name {party!r}")
        self.session._check("upload", party, self._key, self._round, message)
        self.session._verify("upload", party, data)
        if party in self._parties:
            raise RemoteError(party, "upload", "a second upload in one round; the first one counts")
        if len(self._parties) >= params.clients:
            raise RemoteError(party, "upload", f"the sum holds {params.clients} clients, the most that cannot wrap")
        try:
            ciphers = _engine(params).load(message.blocks)
            if self._total:
                _engine(params).add(self._total, ciphers)
            else:
                self._total = ciphers
        except CodecError as error:
            raise error.by(party, "upload") from None
        self._parties.add(party)
        return party

    def total(self) -> bytes:
        """The message for the key holder; ends the round.

        Raises:
            StateError: taken already, or fewer than params.min_clients uploads.
        """
        if self._done or len(self._parties) < self.session.params.min_clients:
            raise StateError(
                "the sum has been taken already"
                if self._done
                else f"{len(self._parties)} uploads; at least {self.session.params.min_clients} are summed"
            )
        self._done = True
        head = Aggregate(self.session.digest, self._key, self._round, self.parties, (), bytes(_SIGNATURE_BYTES))
        blocks = _engine(self.session.params).save(self._total)
        self._total = []
        return b"".join(_pieces(head, blocks, len(blocks), "aggregate", self._identity))


@dataclass(frozen=True)
class Sum:
    """A released sum.

    Attributes:
        values: float64, shape (length,): the sum of the clients' vectors on the grid, exactly.
        parties: whose vectors were added, as the aggregator signed it.
    """

    values: F64Array
    parties: tuple[bytes, ...]


class Decryptor:
    """The key holder: draws the key of a session, opens one sum in each round, sees no upload.

    It cannot tell what was added: an aggregator that passes on one client's ciphertext as a sum has it opened. Two
    sums over almost the same clients differ by one client, whatever the round.

    Args:
        session: the session.
        identity: the key holder's.

    Raises:
        ParameterError: the roster names another identity for the holder.
        LocalError: TenSEAL is not installed.
    """

    __slots__ = ("_answered", "_ended", "_identity", "_key", "_secret", "public_key", "session")

    public_key: bytes

    def __init__(self, session: Session, identity: Identity) -> None:
        self.session = session
        self._identity = session._owner(session.holder, identity)
        self._secret, public = _engine(session.params).keys()
        unsigned = PublicKey(session.digest, public, bytes(_SIGNATURE_BYTES)).to_bytes()[:-_SIGNATURE_BYTES]
        self.public_key = unsigned + identity.sign(_LABELS["key"], hashlib.sha256(unsigned).digest())
        self._key = digest("privcomp-ckks/public-key", self.public_key)
        self._answered: dict[int, bytes] = {}
        self._ended = False

    def __repr__(self) -> str:
        return "Decryptor(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise ParameterError("a Decryptor is not pickled: the secret key would travel; draw a key for each session")

    def own_encryptor(self) -> Encryptor:
        """The holder as a client: symmetric encryption, with less noise and less work, as it knows the key anyway."""
        made = Encryptor.__new__(Encryptor)
        sealer = _engine(self.session.params).own_sealer(self._secret)
        made._set(self.session, self._key, self.session.holder, self._identity, sealer)
        return made

    def decode(self, data: bytes, round_number: int) -> Sum:
        """Open the sum of a round and round it to the grid, where it is exact.

        Args:
            data: the aggregator's message, parsed and authenticated before SEAL reads it.
            round_number: the round; it has one sum, and the same bytes give the same answer again.

        Raises:
            CodecError, RemoteError: not the aggregator's message of this round, or too few or unknown clients.
            RoundAborted: a value lies off the grid or beyond what these clients can sum to: somebody signed what is no
                honest ciphertext. Nothing is released, and the key answers no more: each refusal tells a bit of it.
            StateError: another sum of this round has been opened, or the key has ended.
        """
        message, raw = self._open(data, round_number)
        params = self.session.params
        values = np.rint(raw * (1.0 / params.step)) * params.step
        residual = float(np.abs(raw - values).max())
        largest = float(np.abs(values[: params.length]).max())
        # NaN fails every comparison.
        if not (
            residual <= params.noise_bound
            and largest <= len(message.parties) * params.magnitude
            and not values[params.length :].any()
        ):
            self._ended = True
            raise RoundAborted(
                None,
                "decode",
                f"a value lies {residual:.3g} off the grid (noise stays below {params.noise_bound:.3g}), or beyond the "
                f"range of {len(message.parties)} clients: nothing is released, and this key is not used again; begin "
                "a new session",
            )
        return Sum(values[: params.length].copy(), message.parties)

    def decrypt_raw(self, data: bytes, round_number: int) -> F64Array:
        """The sum with its noise, as SEAL decodes it, shape (length,). **Who publishes it publishes the key.**

        c0 + c1 s = m holds modulo q, and m follows from these floats by encoding them again. So anybody who has the
        aggregate computes s = (m - c0) / c1, and with s opens every upload of the session (Li and Micciancio, Eurocrypt
        2021). Rounding in `decode` is what prevents that. For experiments: errors are those of `decode`, but the grid
        is not checked.
        """
        return self._open(data, round_number)[1][: self.session.params.length].copy()

    def _open(self, data: bytes, round_number: int) -> tuple[Aggregate, F64Array]:
        _integer("round_number", round_number, 0, _ROUND_END - 1)
        if self._ended:
            raise StateError("this key has ended with a sum that was refused; begin a new session")
        session, params = self.session, self.session.params
        party, stage = session.aggregator, "aggregate"
        try:
            message = Aggregate.from_bytes(data, max_bytes=params.upload_max_bytes)
        except CodecError as error:
            raise error.by(party, stage) from None
        session._check(stage, party, self._key, round_number, message)
        session._verify(stage, party, data)
        if not params.min_clients <= len(message.parties) <= params.clients:
            raise RemoteError(
                party, stage, f"{len(message.parties)} clients; allowed are {params.min_clients}..{params.clients}"
            )
        if unknown := [name for name in message.parties if name not in session.roster]:
            raise RemoteError(party, stage, f"the roster does not name {unknown[0]!r}")
        seen = hashlib.sha256(data).digest()
        if self._answered.get(round_number, seen) != seen:
            raise StateError(f"another sum of round {round_number} has been opened: the difference shows a client")
        try:
            ciphers = _engine(params).load(message.blocks)
        except CodecError as error:
            raise error.by(party, stage) from None
        self._answered[round_number] = seen
        return message, _engine(params).decrypt(self._secret, ciphers)


def _engine(params: CkksParams) -> _seal.Engine:
    return _seal.engine(params.modulus_bits, params.scale_bits)


def _on_grid(values: NDArray[Any], params: CkksParams) -> F64Array:
    if type(values) is not np.ndarray or values.dtype not in (np.float32, np.float64):
        kind = getattr(values, "dtype", type(values).__name__)
        raise EncodingError(f"the vector is {kind}; it must be a float32 or float64 array")
    if values.shape != (params.length,):
        raise EncodingError(f"the vector has shape {values.shape}; the params say ({params.length},)")
    peak = max(float(values.max()), -float(values.min()))
    # NaN is the maximum of what holds it, and fails the comparison.
    if not peak <= params.magnitude:
        raise EncodingError(
            f"the vector has NaN or a value beyond the magnitude {params.magnitude:g} of the params, whose sum could "
            "wrap; clip it first"
        )
    on_grid: F64Array = np.multiply(values, 1.0 / params.step, dtype=np.float64)
    np.rint(on_grid, out=on_grid)
    on_grid *= params.step
    return on_grid

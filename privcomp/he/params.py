"""Parameters of the additive ring-LWE: frozen, validated against the formulas once, canonical bytes.

Notation: R_q = Z_q[x] / (x^N + 1), q a product of primes q_r = 1 mod 2N; n clients at most, b bits per value, W the
largest weight, k values ("digits") in one coefficient.

* Radix M = n W (2^b - 1) + 1: a sum of n shifted values stays below M, so digits never carry.
* Delta = floor(q / M^k): a coefficient holds Delta * sum_l v_l M^l + e.
* Noise: secrets and errors are discrete Gaussians of standard deviation sigma = 6.4, cut at 15 sigma = 96. A centred
  discrete Gaussian is sigma-sub-Gaussian, so a sum E of n of them has P[|E| > t] <= 2 exp(-t^2 / (2 n sigma^2)). At
  t = B = ceil(15 sigma sqrt(n)) that is 2^-161, below 2^-128 over 2^33 coefficients. Required: Delta >= 2 B + 1.
* Security: whoever decrypts learns the sum of the secrets and, since decryption is exact, the sum of the errors. Given
  the sum of two Gaussians, each is a Gaussian of width sigma / sqrt(2) about a known point; the reduction to plain
  ring-LWE leaves sigma / 2 = 3.2 (Hint-RLWE with one hint: Kim, Lee, Seo, Song, CRYPTO 2023). All estimates are for
  3.2. A ternary secret would be read off such a sum, so there is no option for another width.

"Bits" are log2 of classical gate counts in the cost model of MATZOV (2022), by lattice-estimator 27a581bb with 2^24
samples: primal uSVP, primal BDD, dual hybrid; and core-SVP, 0.292 beta, which counts one call of a sieve only.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Final, NamedTuple

from privcomp._core import RlweTables
from privcomp.codec import U8, U32, Codec, Message, Text, digest
from privcomp.errors import ParameterError

__all__ = ["CONTEXT_BYTES", "PROFILES", "SIGMA", "Profile", "RlweParams", "Security"]

SIGMA: Final = 6.4
RESIDUAL_SIGMA: Final = SIGMA / 2
CONTEXT_BYTES: Final = 32
VERSION: Final = 1

_TAIL_SQUARED: Final = 9216  # (15 sigma)^2 = 96^2, exactly
_SECURITY_FLOOR: Final = 128
# Most bits of q for 128 bits against uSVP and BDD at a residual width of 3.2 (128.7, 128.9 and 128.8 bits).
_CAPS: Final = {2048: 55, 4096: 108, 8192: 215}
_MIN_BITS, _MAX_BITS = 4, 32
_RADIX_LOG2: Final = 48
_DELTA_LOG2: Final = 62  # what the core's arithmetic holds
_MAX_CLIENTS: Final = 10_000  # the security loss is a factor of at most n - 1: 13 bits here
_MAX_DIGITS: Final = 16
_COEFFICIENTS_LOG2: Final = 33  # coefficients over which a failure is bounded: more than any model has
_DEGREE_DISCOUNT: Final = 0.9


class Security(NamedTuple):
    """Estimated work to break one upload, log2.

    Attributes:
        usvp, bdd, dual: gates of the three attacks (MATZOV cost model).
        core_svp: 0.292 beta of the first.
    """

    usvp: float
    bdd: float
    dual: float
    core_svp: float

    @property
    def bits(self) -> float:
        """The least of the three gate counts."""
        return min(self.usvp, self.bdd, self.dual)


@dataclass(frozen=True)
class Profile:
    """A ring that is shipped, with its estimate.

    Attributes:
        degree: N.
        primes: q_r, distinct, = 1 mod 2N, the largest below a power of two.
        roots: the least primitive 2N-th root of unity modulo each.
        bits, clients, digits: what it is made for: b and the most clients at weight 1, and k there.
        security: the estimate for N, q and the residual width 3.2.
    """

    degree: int
    primes: tuple[int, ...]
    roots: tuple[int, ...]
    bits: int
    clients: int
    digits: int
    security: Security

    @property
    def modulus(self) -> int:
        """q."""
        return math.prod(self.primes)

    @property
    def modulus_bits(self) -> int:
        """Bits of one coefficient on the wire: the sum of ceil(log2 q_r)."""
        return sum(prime.bit_length() for prime in self.primes)


_Q45A, _Q45B = (35184371884033, 7388705119), (35184371703809, 8508989220)
_Q50, _Q49, _Q46 = (1125899906826241, 46909545429), (562949953216513, 75260022318), (70368743669761, 20592296240)
_Q44 = ((17592186028033, 331339694), (17592185438209, 9366611238), (17592184717313, 632352760))


def _profile(
    degree: int, primes: tuple[tuple[int, int], ...], bits: int, clients: int, digits: int, security: Security
) -> Profile:
    return Profile(degree, tuple(q for q, _ in primes), tuple(r for _, r in primes), bits, clients, digits, security)


PROFILES: Final[dict[str, Profile]] = {
    "P1": _profile(4096, (_Q45A, _Q45B), 16, 16, 4, Security(158.3, 157.6, 159.5, 129.9)),
    "P2": _profile(4096, (_Q50, _Q49), 16, 64, 4, Security(142.5, 141.7, 143.5, 113.3)),
    "P3": _profile(4096, (_Q46, _Q45A), 16, 1_000, 3, Security(156.3, 155.7, 157.7, 127.9)),
    "P4": _profile(8192, _Q44, 16, 10_000, 4, Security(222.6, 222.1, 224.2, 196.2)),
    "P5": _profile(8192, _Q44, 24, 64, 4, Security(222.6, 222.1, 224.2, 196.2)),
}
"""The rings that are shipped, by name; P4 and P5 differ in what they are made for."""


@lru_cache(maxsize=32)
def _made(degree: int, primes: tuple[int, ...], roots: tuple[int, ...], radix: int, digits: int) -> RlweTables:
    return RlweTables(degree, primes, roots, radix, digits)


# The cache alone lets two threads make two tables; a key belongs to one of them, and the other refuses it.
_making = threading.Lock()


def _tables(degree: int, primes: tuple[int, ...], roots: tuple[int, ...], radix: int, digits: int) -> RlweTables:
    with _making:
        return _made(degree, primes, roots, radix, digits)


def _ceil_sqrt(value: int) -> int:
    root = math.isqrt(value)
    return root + (root * root < value)


def _radix(bits: int, clients: int, weight: int) -> int:
    return clients * weight * ((1 << bits) - 1) + 1


def _most_digits(modulus: int, bits: int, clients: int, weight: int) -> int:
    """The most digits k with 2 B + 1 <= floor(q / M^k) <= 2^62; 0 where no number of digits will do."""
    radix, room = _radix(bits, clients, weight), 2 * _ceil_sqrt(_TAIL_SQUARED * clients) + 1
    if radix > 1 << _RADIX_LOG2:
        return 0
    digits = 0
    while digits < _MAX_DIGITS and modulus // radix ** (digits + 1) >= room:
        digits += 1
    return digits if digits and modulus // radix**digits <= 1 << _DELTA_LOG2 else 0


def _integer(name: str, value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(f"{name} is {value!r}; it must be an int from {low} to {high}")
    return value


@dataclass(frozen=True)
class RlweParams(Message):
    """What one sum of ring-LWE ciphertexts may hold, and in which ring.

    Args:
        profile: name of a shipped ring: "P1" .. "P5".
        bits: b, 4..32: a value of weight 1 is an integer of at most 2^(b-1) - 1 in absolute value.
        clients: n, the most ciphertexts that are ever added, 1..10,000.
        weight: W, the largest weight, 1..2^32 - 1. Each client multiplies by its own weight before it encrypts.
        digits: k, values per coefficient, 1..16.
        version: of the scheme; 1.

    Raises:
        ParameterError: an unknown profile, a value out of range, estimated security below 128 bits, or too little room
            for the noise; the text says what would fit.

    Example:
        >>> params = RlweParams.for_round(bits=16, clients=64)
        >>> params.profile, params.degree, params.digits, params.bits_per_value
        ('P2', 4096, 4, 24.75)
        >>> params.ciphertext_bytes(10**6), params.delta, 2 * params.noise_bound + 1
        (3093750, 2048, 1537)
        >>> params.security.bits, params.security.core_svp
        (141.7, 113.3)
        >>> RlweParams("P2", 16, 69, 1, 4)
        Traceback (most recent call last):
        privcomp.errors.ParameterError: P2 with 4 values per coefficient has room for 68 clients of 16 bits at ...
    """

    TAG: ClassVar[int] = 0x0800
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("profile", Text(8)),
        ("bits", U8),
        ("clients", U32),
        ("weight", U32),
        ("digits", U8),
        ("version", U8),
    )
    profile: str
    bits: int
    clients: int
    weight: int
    digits: int
    version: int = VERSION

    def __post_init__(self) -> None:
        if type(self.version) is not int or self.version != VERSION:
            raise ParameterError(f"ring-LWE version {self.version!r}: this release speaks version {VERSION}")
        ring = PROFILES.get(self.profile) if type(self.profile) is str else None
        if ring is None:
            raise ParameterError(f"profile {self.profile!r} is unknown; shipped are {', '.join(PROFILES)}")
        _integer("bits", self.bits, _MIN_BITS, _MAX_BITS)
        _integer("clients", self.clients, 1, _MAX_CLIENTS)
        _integer("weight", self.weight, 1, (1 << 32) - 1)
        _integer("digits", self.digits, 1, _MAX_DIGITS)
        cap = _CAPS.get(ring.degree, 0)
        if ring.modulus.bit_length() > cap or ring.security.bits < _SECURITY_FLOOR:
            raise ParameterError(
                f"{self.profile} has N = {ring.degree} and a modulus of {ring.modulus.bit_length()} bits, estimated at "
                f"{ring.security.bits} bits of security; {_SECURITY_FLOOR} need a modulus of at most {cap} bits"
            )
        if self.radix > 1 << _RADIX_LOG2:
            raise ParameterError(
                f"sums of {self.clients} clients with {self.bits} bits and weights up to {self.weight} "
                f"need {self.radix.bit_length()} bits, at most {_RADIX_LOG2} are decoded; choose fewer bits"
            )
        if self.delta > 1 << _DELTA_LOG2:
            raise ParameterError(
                f"{self.digits} values of {self.bits} bits leave a coefficient of {self.profile} almost empty; "
                + _advice(self.bits, self.clients, self.weight)
            )
        if self.digits > _most_digits(ring.modulus, self.bits, self.clients, self.weight):
            raise ParameterError(self._too_small(ring))

    def _too_small(self, ring: Profile) -> str:
        def fits(clients: int) -> bool:
            return _most_digits(ring.modulus, self.bits, clients, self.weight) >= self.digits

        low, high = 0, self.clients  # fits(clients) is decreasing, and false for self.clients
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        room = f"room for {low} clients" if low else "no room for any client"
        return (
            f"{self.profile} with {self.digits} values per coefficient has {room} of {self.bits} bits at weight "
            f"{self.weight}, not for {self.clients}; {_advice(self.bits, self.clients, self.weight)}"
        )

    @classmethod
    def for_round(cls, bits: int, clients: int, weight: int = 1) -> RlweParams:
        """The shipped profile, and the digits in it, with the fewest bits per value for a round.

        Keys grow with the degree, so a ring of twice the degree is taken only where it saves a tenth of the ciphertext
        or more.

        Args:
            bits: b, 4..32.
            clients: n, the most ciphertexts in a sum, 1..10,000.
            weight: W, the largest weight.

        Raises:
            ParameterError: out of range, or nothing that is shipped fits; the text says what would.

        Example:
            >>> [RlweParams.for_round(16, n).profile for n in (16, 64, 1_000, 10_000)]
            ['P1', 'P2', 'P3', 'P4']
            >>> RlweParams.for_round(24, 64).profile
            'P5'
        """
        _integer("bits", bits, _MIN_BITS, _MAX_BITS)
        _integer("clients", clients, 1, _MAX_CLIENTS)
        _integer("weight", weight, 1, (1 << 32) - 1)
        found = _least(bits, clients, weight)
        if found is None:
            raise ParameterError(
                f"no shipped profile sums {clients} clients of {bits} bits with weights up to {weight}; "
                + _advice(bits, clients, weight)
            )
        return cls(found[0], bits, clients, weight, found[1])

    # ---- the ring

    @property
    def ring(self) -> Profile:
        """The shipped ring."""
        return PROFILES[self.profile]

    @property
    def degree(self) -> int:
        """N: coefficients of a polynomial, and of a secret."""
        return self.ring.degree

    @property
    def modulus(self) -> int:
        """q."""
        return self.ring.modulus

    @property
    def security(self) -> Security:
        """The estimate; its `bits` are at least 128."""
        return self.ring.security

    @property
    def tables(self) -> RlweTables:
        """Constants of the core for this ring, radix and digits; made once."""
        return _tables(self.degree, self.ring.primes, self.ring.roots, self.radix, self.digits)

    # ---- arithmetic

    @property
    def radix(self) -> int:
        """M = n W (2^b - 1) + 1."""
        return _radix(self.bits, self.clients, self.weight)

    @property
    def delta(self) -> int:
        """floor(q / M^k), at least 2 noise_bound + 1."""
        floor: int = self.modulus // self.radix**self.digits
        return floor

    @property
    def value_bound(self) -> int:
        """Largest absolute value that a client may encrypt, its weight included: W (2^(b-1) - 1)."""
        return self.weight * ((1 << (self.bits - 1)) - 1)

    @property
    def noise_bound(self) -> int:
        """B = ceil(15 sigma sqrt(n)): a larger sum of errors is refused, and does not happen by chance."""
        return self.sum_bound(self.clients)

    def sum_bound(self, count: int) -> int:
        """ceil(15 sigma sqrt(count)): bound of a sum of `count` coefficients of secrets, or of errors."""
        return _ceil_sqrt(_TAIL_SQUARED * count)

    @property
    def failure_log2(self) -> float:
        """log2 of a bound of the probability that a noise of n clients leaves its cell anywhere in 2^33 coefficients.

        With t = Delta / 2: 2^33 * 2 exp(-t^2 / (2 n sigma^2)). The value is then wrong; that the decoder refuses a sum
        of honest ciphertexts (noise beyond 15 sigma sqrt(n)) has probability at most 2^-128.
        """
        half = self.delta / 2
        return _COEFFICIENTS_LOG2 + 1 - half * half / (2 * self.clients * SIGMA**2) / math.log(2)

    # ---- bytes

    @property
    def bits_per_value(self) -> float:
        """Bits of a ciphertext per value."""
        return self.ring.modulus_bits / self.digits

    @property
    def values_per_polynomial(self) -> int:
        """k N."""
        return self.digits * self.degree

    def ciphertext_bytes(self, length: int) -> int:
        """Bytes of the ciphertext of `length` values, without header and tag.

        The last polynomial is cut to the coefficients in use: ceil(ceil(length / k) * (bits of q) / 8).
        """
        coefficients = -(-length // self.digits)
        return -(-coefficients * self.ring.modulus_bits // 8)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for the fields and for every number that follows from the profile's name."""
        ring = self.ring
        derived = ",".join(map(str, (ring.degree, *ring.primes, *ring.roots, self.radix, self.delta)))
        return digest("privcomp/he/rlwe-params", self.to_bytes(), derived.encode())

    def describe(self) -> str:
        """One line for people: ring, bytes, security, failure."""
        return (
            f"ring-LWE {self.profile}: N = {self.degree}, q of {self.ring.modulus_bits} bits, {self.digits} values per "
            f"coefficient, {self.bits_per_value:.2f} bits per value of {self.bits} bits, up to {self.clients} clients "
            f"with weights up to {self.weight}; estimated security {self.security.bits} bits (MATZOV gates; core-SVP "
            f"{self.security.core_svp}), wrong value with probability below 2^{math.ceil(self.failure_log2)}"
        )


def _least(bits: int, clients: int, weight: int) -> tuple[str, int] | None:
    """(profile, digits) with the fewest bits per value, smaller degrees preferred; None where nothing fits."""
    best: tuple[float, bool, str, int] | None = None
    for name, ring in PROFILES.items():
        digits = _most_digits(ring.modulus, bits, clients, weight)
        if not digits:
            continue
        size = ring.modulus_bits / digits / (_DEGREE_DISCOUNT if ring.degree > 4096 else 1.0)
        found = (size, bits > ring.bits, name, digits)
        best = found if best is None else min(best, found)
    return None if best is None else (best[2], best[3])


def _advice(bits: int, clients: int, weight: int) -> str:
    """What would fit, for an error text."""
    found = _least(bits, clients, weight)
    if found is not None:
        return f"{found[0]} with digits = {found[1]} fits (RlweParams.for_round finds it)"
    for fewer in range(bits - 1, _MIN_BITS - 1, -1):
        if _least(fewer, clients, weight) is not None:
            return f"{fewer} bits would fit; or choose a smaller weight, or fewer clients"
    return "choose a smaller weight, or fewer clients"

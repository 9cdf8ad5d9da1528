"""Fixed point: where floats become bounded integers, and where their sum becomes floats again.

A client holds d floats x and an integer weight w. It sends (masked) d + 2 integers:

    entries 0 .. d-1   the update, either `exact`      w * q,  q = round(x / g)
                                   or     `prescaled`      q = round(x * w / (g * W_max))
    entry   d          the weight w
    entry   d+1        how many of its entries were clipped (at most `clip_cap`)

with granularity g, q rounded stochastically and clipped to |q| <= L = 2^(bits-1) - 1. A clear weight or a clear count
leaks, so both ride inside the masked vector.

**No wrap.** Every entry of one client is at most `bound` in absolute value:

    exact       |w q| <= W_max L =: bound      (L >= 1, so the weight entry w <= W_max <= bound as well)
    prescaled   |q| <= L, w <= W_max           bound := max(L, W_max)
    both        the clip count is capped at clip_cap := min(d, bound) <= bound

n clients sum to at most n * bound in absolute value, a signed number that needs 2 n bound + 1 residues: the least
modulus is 2^B with B = ceil(log2(2 n bound + 1)) = bit_length(2 n bound). B <= 64 gives n * bound <= 2^63 - 1, so
the sum fits an int64 too. The weight entry counts: n = 50, bits = 8, W_max = 1000, prescaled, needs room for 50,000
although the entries alone need 6,350. The clip count is capped, not the modulus widened: at n = 1000, bits = 16,
W_max = 1 an uncapped count of a million entries would cost five more bits in every entry.

**Error of the mean**, for entries that nobody clipped. Write e = 2^-53 (float64 round-off), t for the float64 value
of x / g (`exact`) or (x / g) * w / W_max (`prescaled`), t* for its true value, S for the sum over the survivors U,
W for the sum of their weights.

1. t is t* after at most 3 roundings and |t| <= L < 2^(bits-1), so |t - t*| < 3.001 e 2^(bits-1).
2. q is floor(t) or floor(t) + 1, and q = t where t is an integer, hence |q - t| < 1: t - floor(t) is exact, or t is a
   negative number so small that the difference rounds to 1, and then q = 0 is chosen always.
3. exact:      |g S / W - mean|       = g |sum w (q - t*)| / W      < g               * (1 + 3.001 e 2^(bits-1))
   prescaled:  |g W_max S / W - mean| = g W_max |sum (q - t*)| / W  < g W_max |U| / W * (1 + 3.001 e 2^(bits-1))
4. Decoding multiplies S by one factor: at most 5 roundings, of a result of at most 2^(bits-1) units, where the unit is
   g (`exact`) or g W_max |U| / W (`prescaled`): less than 5.001 e 2^(bits-1) units.

Altogether the error is below unit * (1 + 8.01 e 2^(bits-1)) < unit * (1 + 2^(bits-50)), which is what
`quantisation_bound` states: 1.25 g at 48 bits, 1.000004 g at 32. Weights are at least 1, so |U| <= W, and
`stated_error`, with unit = g or g W_max, holds before the weights are known. The range 2^-512 <= g <= 2^512 keeps
subnormal numbers out of line 4; in line 1 they add at most 2^-1075, far inside the margin between 8.01 / 16 and 1.

**Coins.** 32 bits per entry: floor(t) + 1 is chosen if (coin + 1/2) / 2^32 < t - floor(t), so the expectation of q
differs from t by at most 2^-33, and integers, zero above all, stay what they are.

Source: Bonawitz et al., CCS 2017 (signed sums modulo R); Gupta et al., ICML 2015 (stochastic rounding).
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from privcomp._core import Drbg
from privcomp.codec import F64, U8, U64, Blob, Codec, Fixed, Message, Nested, Opt, Seq, Text
from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError

__all__ = [
    "ArrayMessage",
    "Decoded",
    "FixedPoint",
    "FixedPointMessage",
    "Layout",
    "ModelMessage",
    "model_bytes",
    "model_hash",
    "parse_model",
]

Way = Literal["exact", "prescaled"]

_WAYS: Final[tuple[Way, Way]] = ("exact", "prescaled")
_BLOCK: Final = 1 << 14  # entries per block: five scratch buffers stay in the L2 cache
_FLOATS: Final = (np.dtype(np.float32), np.dtype(np.float64))
_MAX_WEIGHT: Final = 1 << 53  # a weight must be exact in float64
_MAX_CLIENTS: Final = 1 << 32
_MAX_ENTRIES: Final = 1 << 40
_MAX_GRANULARITY: Final = 2.0**512
_MIN_MODULUS_BITS: Final = 8
_MAX_MODULUS_BITS: Final = 64
_MAX_NAME: Final = 256
_MAX_DIMENSIONS: Final = 32
_MAX_ARRAYS: Final = 1 << 16
_MAX_MODEL: Final = (1 << 32) - 1
_MODEL_DTYPES: Final = {
    code: np.dtype(code) for code in ("<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8")
}


@dataclass(frozen=True)
class FixedPointMessage(Message):
    """Canonical bytes of a `FixedPoint`; `way` is its index in ("exact", "prescaled")."""

    TAG: ClassVar[int] = 0x18
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("bits", U8),
        ("granularity", F64),
        ("way", U8),
        ("max_weight", U64),
        ("clients", U64),
        ("entries", U64),
        ("max_error", Opt(F64)),
    )

    bits: int
    granularity: float
    way: int
    max_weight: int
    clients: int
    entries: int
    max_error: float | None


@dataclass(frozen=True)
class ArrayMessage(Message):
    """One named array: dtype as NumPy's type string ("<f4"), shape, and its C-ordered little-endian bytes."""

    TAG: ClassVar[int] = 0x19
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("name", Text(_MAX_NAME)),
        ("dtype", Fixed(3)),
        ("shape", Seq(U64, _MAX_DIMENSIONS)),
        ("data", Blob(_MAX_MODEL)),
    )

    name: str
    dtype: bytes
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class ModelMessage(Message):
    """A model: an ordered list of named arrays."""

    TAG: ClassVar[int] = 0x1A
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("arrays", Seq(Nested(ArrayMessage), _MAX_ARRAYS)),)

    arrays: tuple[ArrayMessage, ...]


def _integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ParameterError(f"{name} is a {type(value).__name__}; it must be an integer in {low}..{high}")
    number = operator.index(value)
    if not low <= number <= high:
        raise ParameterError(f"{name} is {number}; it must be in {low}..{high}")
    return number


def _real(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not math.isfinite(value):
        raise ParameterError(f"{name} is {value!r}; it must be a finite number")
    return float(value)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the sum of the survivors' vectors says.

    Attributes:
        mean: float64, shape (d,): weighted mean of the survivors' values.
        total_weight: sum of the survivors' weights.
        clipped: sum of the survivors' clip counts; exact where `clipped_exact`, else a lower bound.
        clipped_exact: no survivor can have reached the cap of its clip count.
        quantisation_bound: |mean - exact weighted mean| is below this in every entry that nobody clipped.
    """

    mean: NDArray[np.float64]
    total_weight: int
    clipped: int
    clipped_exact: bool
    quantisation_bound: float


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Parameters of the encoding, validated once; refuses whatever could wrap.

    Args:
        bits: width of one quantised entry, 2..48: |q| <= 2^(bits-1) - 1.
        granularity: value of one quantisation step, 2^-512..2^512; a power of two makes the scaling exact.
        way: "exact" (w * q travels; error of the mean below one granularity) or "prescaled" (x * w / max_weight is
            quantised; narrower vectors, an error that grows with max_weight; the way for proofs and noise).
        max_weight: largest allowed weight, 1..2^53; a public constant.
        clients: number of clients whose vectors may be summed (not of shares).
        entries: length d of the update.
        max_error: largest acceptable error of the mean. Required for "prescaled"; None for no limit otherwise.

    Raises:
        ParameterError: a value outside its range, a stated error above max_error, or sums that need more than 64 bits.

    >>> FixedPoint(bits=16, granularity=2.0**-12, way="exact", max_weight=1, clients=1000, entries=10).modulus_bits
    26
    """

    bits: int
    granularity: float
    way: Way
    max_weight: int
    clients: int
    entries: int
    max_error: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", _integer("bits", self.bits, 2, 48))
        object.__setattr__(self, "max_weight", _integer("max_weight", self.max_weight, 1, _MAX_WEIGHT))
        object.__setattr__(self, "clients", _integer("clients", self.clients, 1, _MAX_CLIENTS))
        object.__setattr__(self, "entries", _integer("entries", self.entries, 1, _MAX_ENTRIES))
        object.__setattr__(self, "granularity", _real("granularity", self.granularity))
        if not 1 / _MAX_GRANULARITY <= self.granularity <= _MAX_GRANULARITY:
            raise ParameterError(f"granularity is {self.granularity!r}; it must be in 2^-512..2^512")
        if self.way not in _WAYS:
            raise ParameterError(f"way is {self.way!r}; it must be 'exact' or 'prescaled'")
        if self.max_error is not None:
            object.__setattr__(self, "max_error", _real("max_error", self.max_error))
            if self.max_error <= 0:
                raise ParameterError(f"max_error is {self.max_error!r}; it must be positive, or None for no limit")
            if self.stated_error > self.max_error:
                raise ParameterError(
                    f"the {self.way} encoding states an error of the mean of {self.stated_error:.6g}, above "
                    f"max_error = {self.max_error:.6g}: choose a smaller granularity (with more bits){self._way_hint}"
                )
        elif self.way == "prescaled":
            raise ParameterError("a prescaled encoding needs max_error, as its error grows with max_weight")
        if self._needed_bits > _MAX_MODULUS_BITS:
            raise ParameterError(
                f"sums of {self.clients} clients with entries up to {self.bound} need {self._needed_bits} bits and "
                f"could wrap at {_MAX_MODULUS_BITS}: choose fewer bits, a smaller max_weight, or the prescaled way"
            )

    @classmethod
    def for_range(
        cls,
        limit: float,
        *,
        bits: int,
        clients: int,
        entries: int,
        way: Way = "exact",
        max_weight: int = 1,
        max_error: float | None = None,
    ) -> FixedPoint:
        """The encoding with the smallest power-of-two granularity at which values up to `limit` are not clipped.

        Args:
            limit: largest absolute value to be encoded without clipping, positive; other arguments as for the class.

        Returns:
            A `FixedPoint` with `clip_limit` >= limit.

        Raises:
            ParameterError: as for the class, or a limit that is not positive and finite.
        """
        limit = _real("limit", limit)
        if not 1 / _MAX_GRANULARITY <= limit <= _MAX_GRANULARITY:
            raise ParameterError(f"limit is {limit!r}; it must be in 2^-512..2^512")
        largest = (1 << (_integer("bits", bits, 2, 48) - 1)) - 1
        # limit / largest <= 2^exponent; the loop corrects a quotient that was rounded down
        exponent = math.frexp(limit / largest)[1] - 1
        while math.ldexp(largest, exponent) < limit:
            exponent += 1
        return cls(bits, math.ldexp(1.0, exponent), way, max_weight, clients, entries, max_error)

    @property
    def _way_hint(self) -> str:
        return " or the exact way" if self.way == "prescaled" else ""

    @property
    def _needed_bits(self) -> int:
        return (2 * self.clients * self.bound).bit_length()

    @property
    def length(self) -> int:
        """Length of an encoded vector: entries, weight, clip count."""
        return self.entries + 2

    @property
    def quantised_limit(self) -> int:
        """Largest |q|: 2^(bits-1) - 1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def clip_limit(self) -> float:
        """Values (after prescaling) beyond this are clipped: granularity * (2^(bits-1) - 1)."""
        return self.granularity * self.quantised_limit

    @property
    def bound(self) -> int:
        """Largest absolute value of any entry of one client's vector, weight and clip count included."""
        if self.way == "exact":
            return self.max_weight * self.quantised_limit
        return max(self.quantised_limit, self.max_weight)

    @property
    def clip_cap(self) -> int:
        """Largest clip count that one client reports: min(entries, bound); the count never widens the modulus."""
        return min(self.entries, self.bound)

    @property
    def modulus_bits(self) -> int:
        """B: sums of `clients` vectors are exact modulo 2^B as signed numbers. 8..64."""
        return max(_MIN_MODULUS_BITS, self._needed_bits)

    def fits(self, bits: int) -> bool:
        """Whether no sum of `clients` vectors can wrap modulo 2^bits: 2 * clients * bound + 1 <= 2^bits."""
        return 2 * self.clients * self.bound + 1 <= 1 << _integer("bits", bits, 1, _MAX_MODULUS_BITS)

    def require_modulus(self, bits: int) -> None:
        """Raises ParameterError where a sum could wrap modulo 2^bits (see `fits`)."""
        if not self.fits(bits):
            raise ParameterError(
                f"{self.clients} clients with entries up to {self.bound} could wrap modulo 2^{bits}: at least "
                f"{self._needed_bits} bits are needed"
            )

    @property
    def stated_error(self) -> float:
        """Bound of the error of the mean for any weights and survivors: known at set-up."""
        unit = self.granularity if self.way == "exact" else self.granularity * self.max_weight
        return math.nextafter(unit * (1.0 + math.ldexp(1.0, self.bits - 50)), math.inf)

    def quantisation_bound(self, total_weight: int, survivors: int) -> float:
        """Bound of |decoded mean - exact weighted mean| per unclipped entry; its derivation stands on top of this file.

        Args:
            total_weight: W, the sum of the survivors' weights, survivors..survivors * max_weight.
            survivors: |U|, 1..clients.

        Returns:
            g * (1 + 2^(bits-50)) for "exact", times max_weight * |U| / W for "prescaled".

        Raises:
            EncodingError: arguments outside their ranges.
        """
        self._check_survivors(survivors)
        if not survivors <= total_weight <= survivors * self.max_weight:
            raise EncodingError(
                f"total weight {total_weight} is impossible for {survivors} survivors with weights 1..{self.max_weight}"
            )
        unit = self.granularity
        if self.way == "prescaled":
            unit *= self.max_weight * survivors / total_weight
        return math.nextafter(unit * (1.0 + math.ldexp(1.0, self.bits - 50)), math.inf)

    def describe(self) -> str:
        """One line for people: what is sent under masks, at which width, with which error."""
        return f"{self.describe_values()}; {self.modulus_bits} bits per entry on the wire"

    def describe_values(self) -> str:
        """One line for people: which values, with which error, however they travel."""
        return (
            f"{self.way} fixed point, {self.bits} bits, granularity {self.granularity:.6g}, values up to "
            f"{self.clip_limit:.6g}, weights 1..{self.max_weight}, up to {self.clients} clients, error of the mean "
            f"below {self.stated_error:.3g}"
        )

    def to_bytes(self) -> bytes:
        """Canonical bytes, bound into the round digest."""
        return FixedPointMessage(
            bits=self.bits,
            granularity=self.granularity,
            way=_WAYS.index(self.way),
            max_weight=self.max_weight,
            clients=self.clients,
            entries=self.entries,
            max_error=self.max_error,
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> FixedPoint:
        """The inverse of `to_bytes`. Raises CodecError for bytes that no `FixedPoint` has."""
        message = FixedPointMessage.from_bytes(data, max_bytes=256)
        if message.way >= len(_WAYS):
            raise CodecError(f"encoding way {message.way} is unknown; allowed: 0 (exact), 1 (prescaled)")
        try:
            return cls(
                bits=message.bits,
                granularity=message.granularity,
                way=_WAYS[message.way],
                max_weight=message.max_weight,
                clients=message.clients,
                entries=message.entries,
                max_error=message.max_error,
            )
        except ParameterError as error:
            raise CodecError(f"encoding parameters are invalid: {error}") from None

    def encode(
        self,
        values: NDArray[Any] | Mapping[str, NDArray[Any]],
        weight: int,
        *,
        layout: Layout | None = None,
        rng: Callable[[int], bytes] | None = None,
    ) -> NDArray[np.int64]:
        """One client's update as bounded integers.

        Args:
            values: float32 or float64 array of shape (entries,), native byte order, any strides, read-only or not; or
                named arrays that match `layout`. Every value finite; -0.0 and subnormal numbers are ordinary values.
                Other dtypes are refused, not converted: a float16 or integer array here is usually a mistake.
            weight: integer 1..max_weight.
            layout: the order and shapes of named arrays; required with a mapping, refused with an array.
            rng: source of the coins, rng(n) -> n uniform bytes from a CSPRNG; None: a generator of the core, freshly
                seeded by the operating system for this call.

        Returns:
            int64 array of shape (entries + 2,): entries, weight, clip count; every |entry| <= `bound`.

        Raises:
            EncodingError: NaN, infinity, wrong dtype, shape, names, or a weight that is not allowed.
        """
        w = self._check_weight(weight)
        if isinstance(values, np.ndarray) and values.size != self.entries:  # before anything of that size is allocated
            raise EncodingError(f"the update has {values.size} entries; the encoding has {self.entries}")
        out = np.empty(self.length, dtype=np.int64)
        scratch = _Scratch(min(_BLOCK, self.entries))
        draw = rng if rng is not None else Drbg().random_bytes
        position = clipped = 0
        for block in self._blocks(values, layout):
            target = out[position : position + block.size]
            clipped += self._encode_block(block, w, target, scratch, position, draw)
            position += block.size
        if position != self.entries:
            raise EncodingError(f"the update has {position} entries; the encoding has {self.entries}")
        out[self.entries] = w
        out[self.entries + 1] = min(clipped, self.clip_cap)
        return out

    def decode(self, total: NDArray[np.int64], survivors: int) -> Decoded:
        """The weighted mean from the sum of the survivors' vectors.

        Args:
            total: int64 array of shape (entries + 2,): the sum, centred (signed).
            survivors: number of clients in the sum, 1..clients.

        Returns:
            `Decoded`.

        Raises:
            EncodingError: wrong dtype, shape or number of survivors.
            RemoteError: the sum is one that honest clients cannot produce (stage "decode"); nothing is decoded.
        """
        self._check_survivors(survivors)
        if type(total) is not np.ndarray or total.dtype != np.dtype(np.int64) or total.shape != (self.length,):
            seen = f"{getattr(total, 'dtype', '')} {getattr(total, 'shape', '')}".strip()
            raise EncodingError(
                f"the sum is a {type(total).__name__} {seen}; it must be a native int64 array of shape ({self.length},)"
            )
        weight, clipped = int(total[self.entries]), int(total[self.entries + 1])
        if not survivors <= weight <= survivors * self.max_weight:
            raise RemoteError(
                None,
                "decode",
                f"the total weight is {weight}; {survivors} survivors with weights 1..{self.max_weight} cannot "
                "produce it: some client masked another vector than the protocol asks for; discard this round",
            )
        if not 0 <= clipped <= survivors * self.clip_cap:
            raise RemoteError(
                None,
                "decode",
                f"the clip count is {clipped}; it must be in 0..{survivors * self.clip_cap}: discard this round",
            )
        entries = total[: self.entries]
        limit = survivors * self.quantised_limit if self.way == "prescaled" else weight * self.quantised_limit
        if int(entries.max()) > limit or int(entries.min()) < -limit:
            raise RemoteError(
                None,
                "decode",
                f"an entry of the sum is beyond +-{limit}, the most that {survivors} survivors with total weight "
                f"{weight} can produce: discard this round",
            )
        factor = self.granularity / weight
        if self.way == "prescaled":
            factor = self.granularity * self.max_weight / weight
        mean = entries.astype(np.float64)
        mean *= factor
        return Decoded(
            mean=mean,
            total_weight=weight,
            clipped=clipped,
            clipped_exact=self.clip_cap == self.entries or clipped < self.clip_cap,
            quantisation_bound=self.quantisation_bound(weight, survivors),
        )

    def _check_weight(self, weight: object) -> int:
        if isinstance(weight, (bool, np.bool_)) or not isinstance(weight, (int, np.integer)):
            raise EncodingError(
                f"the weight is a {type(weight).__name__}; it must be an integer in 1..{self.max_weight}"
            )
        number = operator.index(weight)
        if not 1 <= number <= self.max_weight:
            raise EncodingError(
                f"the weight is outside of 1..{self.max_weight}: cap it, or agree on a larger max_weight"
            )
        return number

    def _check_survivors(self, survivors: object) -> None:
        if isinstance(survivors, bool) or not isinstance(survivors, int) or not 1 <= survivors <= self.clients:
            raise EncodingError(f"survivors is {survivors!r}; it must be an integer in 1..{self.clients}")

    def _blocks(
        self, values: NDArray[Any] | Mapping[str, NDArray[Any]], layout: Layout | None
    ) -> Iterator[NDArray[Any]]:
        """1-D views of at most _BLOCK entries; shapes and dtypes are checked before the first one is handed out."""
        if isinstance(values, np.ndarray):
            if layout is not None:
                raise EncodingError(
                    "a layout describes named arrays; this update is one array: pass a mapping or no layout"
                )
            _check_float("the update", values)
            if values.shape != (self.entries,):
                raise EncodingError(f"the update has shape {values.shape}; it must be ({self.entries},)")
            arrays = [values]
        else:
            if not isinstance(values, Mapping):
                raise EncodingError(f"the update is a {type(values).__name__}; it must be one NumPy array or a mapping")
            if layout is None:
                raise EncodingError("named arrays need a layout, which fixes their order: pass layout=Layout.of(...)")
            if layout.size != self.entries:
                raise EncodingError(f"the layout has {layout.size} entries; the encoding has {self.entries}")
            arrays = layout.flat_views(values)
        for array in arrays:
            for start in range(0, array.size, _BLOCK):
                yield array[start : start + _BLOCK]

    def _encode_block(
        self,
        block: NDArray[Any],
        weight: int,
        out: NDArray[np.int64],
        scratch: _Scratch,
        position: int,
        rng: Callable[[int], bytes],
    ) -> int:
        """Encodes one block into `out`, returns how many of its entries were clipped."""
        m = block.size
        t, low, up = scratch.scaled[:m], scratch.floor[:m], scratch.up[:m]
        np.copyto(t, block)  # a private copy: what is checked below is what is encoded
        np.isfinite(t, out=up)
        if not up.all():
            where = position + int(np.argmin(up))
            raise EncodingError(f"entry {where} is NaN or infinite; every entry must be finite: nothing was encoded")
        with np.errstate(over="ignore", under="ignore"):  # infinity is clipped below; underflow is covered by the bound
            np.divide(t, self.granularity, out=t)
            if self.way == "prescaled":
                np.multiply(t, float(weight), out=t)
                np.divide(t, float(self.max_weight), out=t)
        limit = float(self.quantised_limit)
        clipped = 0
        if float(t.max()) > limit or float(t.min()) < -limit:
            clipped = int(np.count_nonzero(t > limit)) + int(np.count_nonzero(t < -limit))
            np.clip(t, -limit, limit, out=t)
        np.floor(t, out=low)
        np.subtract(t, low, out=t)
        np.multiply(t, 4294967296.0, out=t)
        np.subtract(t, 0.5, out=t)
        coins = rng(4 * m)
        if len(coins) != 4 * m:
            raise EncodingError(f"rng returned {len(coins)} bytes; {4 * m} were asked for")
        np.less(np.frombuffer(coins, dtype="<u4"), t, out=up)
        np.add(low, up, out=low)
        np.copyto(out, low, casting="unsafe")  # |low| <= 2^47: the conversion is exact
        if self.way == "exact" and weight != 1:
            np.multiply(out, weight, out=out)
        return clipped


class _Scratch:
    """Buffers of one call of `FixedPoint.encode`, reused for every block."""

    __slots__ = ("floor", "scaled", "up")

    def __init__(self, size: int) -> None:
        self.scaled = np.empty(size, dtype=np.float64)
        self.floor = np.empty(size, dtype=np.float64)
        self.up = np.empty(size, dtype=np.bool_)


def _check_float(what: str, array: object) -> None:
    if type(array) is not np.ndarray and type(array) is not np.memmap:
        raise EncodingError(
            f"{what} is a {type(array).__name__}; it must be a plain NumPy array (no mask, no subclass)"
        )
    dtype = cast("NDArray[Any]", array).dtype
    if dtype not in _FLOATS:
        raise EncodingError(
            f"{what} has dtype {dtype.str!r} ({dtype.name}); it must be float32 or float64 in native byte order: "
            "convert it, knowing what is lost"
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Ordered names, dtypes and shapes of the arrays of an update: the one way between named arrays and a flat vector.

    Args:
        arrays: (name, dtype, shape) each, with unique names of 1..256 bytes, dtype "float32" or "float64", and at least
            one entry per array.

    Raises:
        ParameterError: a name, dtype or shape that is not allowed.

    >>> layout = Layout((("w", "float32", (2, 2)), ("b", "float64", (2,))))
    >>> layout.size, sorted(layout.unflatten(np.arange(6.0)))
    (6, ['b', 'w'])
    """

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        if not self.arrays:
            raise ParameterError("a layout needs at least one array")
        seen: set[str] = set()
        for name, dtype, shape in self.arrays:
            _check_name(name, seen)
            if dtype not in ("float32", "float64"):
                raise ParameterError(f"array {name!r} has dtype {dtype!r}; it must be 'float32' or 'float64'")
            if len(shape) > _MAX_DIMENSIONS or any(side < 1 for side in shape):
                raise ParameterError(f"array {name!r} has shape {shape}; every side must be at least 1")
        if self.size > _MAX_ENTRIES:
            raise ParameterError(f"the layout has {self.size} entries; at most {_MAX_ENTRIES} are allowed")

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Layout:
        """The layout of named arrays, in the mapping's order. Raises ParameterError or EncodingError."""
        for name, array in arrays.items():
            _check_float(f"array {name!r}", array)
        return cls(tuple((name, array.dtype.name, tuple(array.shape)) for name, array in arrays.items()))

    @property
    def size(self) -> int:
        """Total number of entries."""
        return sum(math.prod(shape) for _, _, shape in self.arrays)

    def flat_views(self, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The arrays in layout order, flattened in C order (copied only where the memory order asks for it).

        Raises:
            EncodingError: names, dtypes or shapes that differ from the layout's.
        """
        expected = {name for name, _, _ in self.arrays}
        if arrays.keys() != expected:
            missing, unknown = sorted(expected - arrays.keys()), sorted(map(repr, arrays.keys() - expected))
            raise EncodingError(f"the arrays do not match the layout: missing {missing}, not in the layout {unknown}")
        views = []
        for name, dtype, shape in self.arrays:
            array = arrays[name]
            _check_float(f"array {name!r}", array)
            if array.dtype.name != dtype or array.shape != shape:
                raise EncodingError(
                    f"array {name!r} is {array.dtype.name} of shape {array.shape}; the layout says {dtype} "
                    f"of shape {shape}"
                )
            views.append(array.reshape(-1))
        return views

    def flatten(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Named arrays as one float64 vector of shape (size,). Raises EncodingError where they do not match."""
        return np.concatenate([view.astype(np.float64) for view in self.flat_views(arrays)])

    def unflatten(self, vector: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """The inverse of `flatten`: new arrays in the layout's dtypes (float32 entries are rounded).

        Raises:
            EncodingError: a vector that is not float64 of shape (size,), or a value that overflows float32.
        """
        if type(vector) is not np.ndarray or vector.dtype != np.dtype(np.float64) or vector.shape != (self.size,):
            raise EncodingError(f"the vector must be a native float64 array of shape ({self.size},)")
        out: dict[str, NDArray[Any]] = {}
        position = 0
        for name, dtype, shape in self.arrays:
            piece = vector[position : position + math.prod(shape)]
            position += piece.size
            with np.errstate(over="ignore"):
                array = piece.astype(dtype).reshape(shape)
            if not np.isfinite(array).all():
                raise EncodingError(f"array {name!r} has a value that {dtype} cannot hold")
            out[name] = array
        return out


def model_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Canonical bytes of named arrays: the codec's list of (name, dtype, shape, bytes), in the mapping's order.

    Args:
        arrays: float32, float64 or (u)int8..64 arrays of any shape and byte order, with unique names of 1..256 bytes.

    Returns:
        Bytes that `parse_model` reads and `model_hash` hashes.

    Raises:
        ParameterError: another dtype, a bad name, or an array of 4 GiB and more.
    """
    seen: set[str] = set()
    messages = []
    for name, array in arrays.items():
        _check_name(name, seen)
        code = array.dtype.newbyteorder("<").str
        if code not in _MODEL_DTYPES:
            raise ParameterError(
                f"array {name!r} has dtype {array.dtype.name}; allowed: {', '.join(sorted(_MODEL_DTYPES))}"
            )
        if array.nbytes > _MAX_MODEL or array.ndim > _MAX_DIMENSIONS:
            raise ParameterError(
                f"array {name!r} has {array.nbytes} bytes; an array of a model has at most {_MAX_MODEL}"
            )
        data = np.ascontiguousarray(array, dtype=_MODEL_DTYPES[code]).tobytes()
        messages.append(ArrayMessage(name=name, dtype=code.encode(), shape=tuple(array.shape), data=data))
    if len(messages) > _MAX_ARRAYS:
        raise ParameterError(f"the model has {len(messages)} arrays; at most {_MAX_ARRAYS} are allowed")
    return ModelMessage(arrays=tuple(messages)).to_bytes()


def model_hash(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """SHA-256 (32 bytes) of `model_bytes(arrays)`."""
    return hashlib.sha256(model_bytes(arrays)).digest()


def parse_model(data: bytes) -> dict[str, NDArray[Any]]:
    """Named arrays from bytes that a peer sent; the arrays are read-only views of the received bytes.

    Args:
        data: what `model_bytes` returned.

    Returns:
        name -> array, in the sender's order.

    Raises:
        CodecError: anything that `model_bytes` cannot have written.
    """
    message = ModelMessage.from_bytes(data, max_bytes=len(data))
    out: dict[str, NDArray[Any]] = {}
    seen: set[str] = set()
    for item in message.arrays:
        try:
            _check_name(item.name, seen)
        except ParameterError as error:
            raise CodecError(f"the model is malformed: {error}") from None
        dtype = _MODEL_DTYPES.get(item.dtype.decode("latin-1"))
        if dtype is None:
            raise CodecError(
                f"array {item.name!r} has dtype {item.dtype!r}; allowed: {', '.join(sorted(_MODEL_DTYPES))}"
            )
        if math.prod(item.shape) * dtype.itemsize != len(item.data):
            raise CodecError(
                f"array {item.name!r} of shape {item.shape} and {dtype.name} comes with {len(item.data)} bytes"
            )
        flat = np.frombuffer(item.data, dtype=dtype) if item.data else np.empty(0, dtype=dtype)
        try:
            array = flat.reshape(item.shape)
        except (ValueError, OverflowError):
            raise CodecError(f"array {item.name!r} has shape {item.shape}, which no array can have") from None
        array.flags.writeable = False
        out[item.name] = array
    return out


def _check_name(name: object, seen: set[str]) -> None:
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME:
        raise ParameterError(f"an array's name must be a text of 1..{_MAX_NAME} bytes, not {name!r:.80}")
    if name in seen:
        raise ParameterError(f"two arrays are named {name!r}; names must be unique")
    seen.add(name)

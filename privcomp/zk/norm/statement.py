"""What a norm proof states: an interval for every entry, and claims about norm, directions and histogram.

Notation and layout of docs/norm-proof.md: d entries in rows of C = 2^c columns, N = 2^n leaves, T allowed values.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from privcomp.algebra import RISTRETTO255, Group
from privcomp.commitments.generators import Generators
from privcomp.errors import ParameterError
from privcomp.typing import I64Array

__all__ = [
    "Claim",
    "CosineAtLeast",
    "DistanceAtMost",
    "EntryRange",
    "HistogramAtMost",
    "InnerProductAtLeast",
    "L2AtMost",
    "NormStatement",
    "Slot",
    "SlotRange",
    "square_sum",
]

PROTOCOL: Final = "privcomp-norm-v1"
_MOST_ENTRIES: Final = 1 << 28
_MOST_VALUES: Final = 1 << 24
_MOST_HALVINGS: Final = 20

IntVector = npt.NDArray[np.signedinteger] | tuple[int, ...] | list[int]


def _i64(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def _big(value: int) -> bytes:
    return value.to_bytes(32, "little", signed=True)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _vector(name: str, values: object) -> I64Array:
    """A read-only int64 copy."""
    try:
        found: Any = np.asarray(values)
        if found.ndim != 1 or (found.dtype.kind not in "iub" and found.size) or found.dtype == np.uint64:
            raise ParameterError(f"{name} is a vector of integers in [-2^63, 2^63), one for each place")
    except (OverflowError, ValueError, TypeError):
        raise ParameterError(f"{name} is a vector of integers in [-2^63, 2^63), one for each place") from None
    out: I64Array = found.astype(np.int64)
    out.flags.writeable = False
    return out


def _size_sum(u: I64Array) -> int:
    """The sum of |u_j|, exactly."""
    size = np.where(u < 0, 0 - u.view(np.uint64), u.view(np.uint64))
    return (int((size >> np.uint64(32)).sum()) << 32) + int((size & np.uint64(0xFFFFFFFF)).sum())


def square_sum(u: I64Array) -> int:
    """The sum of u_j^2, exactly: 16-bit limbs, whose products add up below 2^32 2^28."""
    size = np.where(u < 0, 0 - u.view(np.uint64), u.view(np.uint64))
    limbs = [(size >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)]
    return sum(int(np.dot(a, b)) << 16 * (i + j) for i, a in enumerate(limbs) for j, b in enumerate(limbs))


@dataclass(frozen=True)
class Claim(ABC):
    """One claim; use its subclasses."""

    KIND: ClassVar[int] = 0

    @property
    @abstractmethod
    def data(self) -> bytes:
        """The bytes after the kind."""

    def encode(self) -> bytes:
        """The kind as a byte, then the data."""
        return bytes([self.KIND]) + self.data


def _integers(**values: object) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ParameterError(f"{name} is {value!r}; an integer is needed")


@dataclass(frozen=True)
class EntryRange(Claim):
    """low <= x[index] <= high; with `outside_norm`, the entry does not count in norm, distance and cosine.

    A weight that travels beside the entries of an update is `EntryRange(index, 1, most, outside_norm=True)`.
    """

    KIND = 1
    index: int
    low: int
    high: int
    outside_norm: bool = False

    def __post_init__(self) -> None:
        _integers(index=self.index, low=self.low, high=self.high)
        object.__setattr__(self, "outside_norm", bool(self.outside_norm))

    @property
    def data(self) -> bytes:
        """index, low, high, outside_norm."""
        return b"".join(map(_i64, (self.index, self.low, self.high, self.outside_norm)))


@dataclass(frozen=True)
class L2AtMost(Claim):
    """The sum of the squares of the entries is at most `squared`."""

    KIND = 2
    squared: int

    def __post_init__(self) -> None:
        _integers(squared=self.squared)
        if not 0 <= self.squared < 1 << 255:
            raise ParameterError(f"the square of a norm is bounded by {self.squared}; it must be in [0, 2^255)")

    @property
    def data(self) -> bytes:
        """squared."""
        return _big(self.squared)


@dataclass(frozen=True, eq=False)
class _Directed(Claim):
    direction: I64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", _vector("a direction", self.direction))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the number of integers and each of them in eight bytes."""
        head = len(self.direction).to_bytes(8, "little")
        return hashlib.sha256(head + self.direction.astype("<i8").tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Directed) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.direction)} integers, {self.digest.hex()[:12]}..)"


@dataclass(frozen=True, eq=False, repr=False)
class InnerProductAtLeast(_Directed):
    """<x, direction> >= least."""

    KIND = 3
    least: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _integers(least=self.least)
        if abs(self.least) >= 1 << 255:
            raise ParameterError("an inner product is bounded by less than 2^255")

    @property
    def data(self) -> bytes:
        """Digest, least."""
        return self.digest + _big(self.least)


@dataclass(frozen=True, eq=False, repr=False)
class DistanceAtMost(_Directed):
    """The squared Euclidean distance of x from a public centre is at most `squared`."""

    KIND = 4
    squared: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _integers(squared=self.squared)
        if not 0 <= self.squared < 1 << 255:
            raise ParameterError(f"a squared distance is bounded by {self.squared}; it must be in [0, 2^255)")

    @property
    def data(self) -> bytes:
        """Digest, squared."""
        return self.digest + _big(self.squared)


@dataclass(frozen=True, eq=False, repr=False)
class CosineAtLeast(_Directed):
    """The cosine of the angle between x and a public direction is at least numerator / denominator > 0, or x = 0."""

    KIND = 5
    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _integers(numerator=self.numerator, denominator=self.denominator)
        if not 0 < self.numerator <= self.denominator < 1 << 32:
            raise ParameterError("a cosine is bounded by a fraction a / b with 0 < a <= b < 2^32")
        if not self.direction.any():
            raise ParameterError("the zero vector has no direction")

    @property
    def data(self) -> bytes:
        """Digest, numerator, denominator."""
        return self.digest + _i64(self.numerator) + _i64(self.denominator)


@dataclass(frozen=True, eq=False, repr=False)
class HistogramAtMost(_Directed):
    """The sum over the entries of weight[x_j - lo] is at most `most`: anything that counts values.

    `direction` holds a weight >= 0 for each value from lo to hi. The zeros that fill up the N leaves of the proof count
    as entries: `NormStatement.padding` tells how many. `l0`, `l1`, `clipped` and `beyond` take care of that.
    """

    KIND = 6
    most: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _integers(most=self.most)
        if not 0 <= self.most < 1 << 255 or (len(self.direction) and int(self.direction.min()) < 0):
            raise ParameterError("a histogram is bounded by [0, 2^255), its weights are not negative")

    @property
    def data(self) -> bytes:
        """Digest, most."""
        return self.digest + _big(self.most)

    @classmethod
    def l0(cls, lo: int, hi: int, most: int) -> HistogramAtMost:
        """At most `most` entries are not 0."""
        return cls((_per_value(lo, hi) != 0).astype(np.int64), most)

    @classmethod
    def l1(cls, lo: int, hi: int, most: int) -> HistogramAtMost:
        """The sum of the entries' sizes is at most `most`."""
        return cls(np.abs(_per_value(lo, hi)), most)

    @classmethod
    def clipped(cls, lo: int, hi: int, most: int) -> HistogramAtMost:
        """At most `most` entries are lo or hi, for lo < 0 < hi."""
        if not lo < 0 < hi:
            raise ParameterError("the zeros beyond the last entry would count as clipped; lo < 0 < hi is needed")
        values = _per_value(lo, hi)
        return cls(((values == lo) | (values == hi)).astype(np.int64), most)

    @classmethod
    def beyond(cls, lo: int, hi: int, size: int, most: int) -> HistogramAtMost:
        """At most `most` entries have |x_j| > size >= 0: a quantile."""
        _integers(size=size)
        if size < 0:
            raise ParameterError(f"a size of {size}")
        return cls((np.abs(_per_value(lo, hi)) > size).astype(np.int64), most)


def _per_value(lo: int, hi: int) -> I64Array:
    _integers(lo=lo, hi=hi)
    if not lo <= hi < lo + _MOST_VALUES:
        raise ParameterError(f"an interval [{lo}, {hi}] of no value, or of more than 2^24")
    return np.arange(lo, hi + 1, dtype=np.int64)


class Slot(NamedTuple):
    """One scalar of the message `claims`.

    kind: "S" (the sum of squares), "x" or "m" (an inner product with entries or multiplicities), "sq" (the square of
    another slot), "bit". data: for "x" (index, sign) or a vector, for "m" a vector, for "sq" the other slot. top: its
    largest size.
    """

    kind: Literal["S", "x", "m", "sq", "bit"]
    data: Any
    top: int


class SlotRange(NamedTuple):
    """An affine form over slots (-1: the constant) that is not negative, as its `bits` bits from slot `first` say."""

    form: dict[int, int]
    first: int
    bits: int


@dataclass(frozen=True)
class NormStatement:
    """x has d entries, all of them in [lo, hi], and every claim holds.

    Args:
        d: number of entries, 1 .. 2^28.
        lo: the smallest allowed entry, <= 0.
        hi: the largest, >= 0; lo < hi < lo + 2^24.
        claims: at most one `L2AtMost`, at most one `EntryRange` for an index. Kinds and entries are put into order; of
            two other claims of one kind, the order is part of the statement.
        columns: 2^c, 2 .. 2^16: bytes of commitments against bytes and time of the opening.
        group: RISTRETTO255 or BN254.

    Raises:
        ParameterError: a number out of its range, or one with which a claim could wrap modulo the group's order.

    >>> statement = NormStatement(1_000_000, -32767, 32767, (L2AtMost(10**12),))
    >>> statement.rows, statement.proof_bytes
    (977, 10400)
    """

    d: int
    lo: int
    hi: int
    claims: tuple[Claim, ...] = ()
    columns: int = 1024
    group: Group = field(default=RISTRETTO255)

    def __post_init__(self) -> None:
        _integers(d=self.d, lo=self.lo, hi=self.hi, columns=self.columns)
        if not 1 <= self.d <= _MOST_ENTRIES:
            raise ParameterError(f"{self.d} entries; allowed is [1, 2^28]")
        if not (self.lo <= 0 <= self.hi and 0 < self.hi - self.lo < _MOST_VALUES):
            raise ParameterError(f"the interval [{self.lo}, {self.hi}]; needed is lo <= 0 <= hi, lo < hi < lo + 2^24")
        if not 2 <= self.columns <= 1 << 16 or self.columns & (self.columns - 1):
            raise ParameterError(f"{self.columns} columns; allowed are the powers of two from 2 to 65536")
        claims: tuple[Any, ...] = tuple(self.claims)
        if not all(isinstance(claim, Claim) for claim in claims):
            raise ParameterError("claims are EntryRange, L2AtMost, InnerProductAtLeast and their siblings")
        ordered = sorted(claims, key=lambda c: (c.KIND, c.index if isinstance(c, EntryRange) else 0))
        object.__setattr__(self, "claims", tuple(ordered))
        self._check_claims()
        self._check_wrap()

    def _check_claims(self) -> None:
        places = [claim.index for claim in self._of(EntryRange)]
        if len(set(places)) != len(places) or len(self._of(L2AtMost)) > 1:
            raise ParameterError("a claim about one entry, or about the norm, is made twice")
        outside = [claim.index for claim in self._of(EntryRange) if claim.outside_norm]
        for claim in self._of(EntryRange):
            if not 0 <= claim.index < self.d or not self.lo <= claim.low <= claim.high <= self.hi:
                raise ParameterError(f"{claim} is about no entry, or about values outside [{self.lo}, {self.hi}]")
        if outside and not self.has_norm:
            raise ParameterError("an entry is outside the norm, but there is no claim about the norm")
        for claim in self.claims:
            if isinstance(claim, _Directed):
                want = self.values if isinstance(claim, HistogramAtMost) else self.d
                if len(claim.direction) != want:
                    raise ParameterError(f"{claim!r}: {want} integers are needed")
            if isinstance(claim, DistanceAtMost | CosineAtLeast) and any(claim.direction[j] for j in outside):
                raise ParameterError("a centre or direction must be 0 at entries outside the norm")

    def _check_wrap(self) -> None:
        """No sum that the proof takes for an integer can reach the order of the group."""
        worst = [self.leaves + self.values, 3 * self.products, *(slot.top for slot in self.slots)]
        for need in self.ranges:
            size = sum(abs(f) * (1 if slot < 0 else self.slots[slot].top) for slot, f in need.form.items())
            worst.append(size + (1 << need.bits))
        if max(worst) >= self.group.order:
            raise ParameterError(f"a claim is about numbers too large for {self.group}")
        if self.halvings > _MOST_HALVINGS:
            raise ParameterError(f"the claims take {self.scalars} scalars; that is too many for one proof")

    def _of(self, kind: type[Any]) -> list[Any]:
        return [claim for claim in self.claims if isinstance(claim, kind)]

    # ---- layout (section 1 of the protocol)

    @property
    def has_norm(self) -> bool:
        """Whether the sum of squares is committed."""
        return any(isinstance(claim, L2AtMost | DistanceAtMost | CosineAtLeast) for claim in self.claims)

    @property
    def column_bits(self) -> int:
        """c."""
        return self.columns.bit_length() - 1

    @property
    def rows(self) -> int:
        """R, commitments to the entries."""
        return -(-self.d // self.columns)

    @property
    def variables(self) -> int:
        """n: entries are leaves 0 .. 2^n - 1."""
        return self.column_bits + (self.rows - 1).bit_length()

    @property
    def leaves(self) -> int:
        """N = 2^n."""
        return 1 << self.variables

    @property
    def padding(self) -> int:
        """Leaves beyond the last entry; they are proven 0."""
        return self.leaves - self.d

    @property
    def values(self) -> int:
        """T = hi - lo + 1."""
        return self.hi - self.lo + 1

    @property
    def table_rows(self) -> int:
        """R_M, commitments to the multiplicities."""
        return -(-self.values // self.columns)

    @property
    def table_variables(self) -> int:
        """t."""
        return self.column_bits + (self.table_rows - 1).bit_length()

    @property
    def open_rounds(self) -> int:
        """Rounds of the last sumcheck."""
        return max(self.variables, self.table_variables)

    @cached_property
    def _claimed(self) -> tuple[tuple[Slot, ...], tuple[SlotRange, ...]]:
        slots: list[Slot] = []
        ranges: list[SlotRange] = []
        largest = max(-self.lo, self.hi)

        def slot(kind: Literal["S", "x", "m", "sq"], data: Any, top: int) -> int:
            slots.append(Slot(kind, data, top))
            return len(slots) - 1

        def square(of: int) -> int:
            return slot("sq", of, slots[of].top ** 2)

        def need(form: dict[int, int], bits: int) -> None:
            ranges.append(SlotRange(form, len(slots), bits))
            slots.extend([Slot("bit", None, 1)] * bits)

        norm: dict[int, int] = {}
        if self.has_norm:
            norm[slot("S", None, self.leaves * largest**2)] = 1
        for claim in self._of(EntryRange):
            above = slot("x", (claim.index, 1), largest)
            if claim.outside_norm:
                norm[square(above)] = -1
            need({above: 1, -1: -claim.low}, (largest + abs(claim.low)).bit_length())
            below = slot("x", (claim.index, -1), largest)
            need({below: 1, -1: claim.high}, (largest + abs(claim.high)).bit_length())
        for claim in self._of(L2AtMost):
            need({**{k: -f for k, f in norm.items()}, -1: claim.squared}, claim.squared.bit_length())
        for claim in self._of(InnerProductAtLeast):
            product = slot("x", claim.direction, largest * _size_sum(claim.direction))
            need({product: 1, -1: -claim.least}, (slots[product].top + abs(claim.least)).bit_length())
        for claim in self._of(DistanceAtMost):
            product = slot("x", claim.direction, largest * _size_sum(claim.direction))
            constant = claim.squared - square_sum(claim.direction)
            need({**{k: -f for k, f in norm.items()}, product: 2, -1: constant}, claim.squared.bit_length())
        for claim in self._of(CosineAtLeast):
            product = slot("x", claim.direction, largest * _size_sum(claim.direction))
            need({product: 1}, slots[product].top.bit_length())
            squared = square(product)
            factor = claim.numerator**2 * square_sum(claim.direction)
            b2 = claim.denominator**2
            need({**{k: -f * factor for k, f in norm.items()}, squared: b2}, (b2 * slots[squared].top).bit_length())
        for claim in self._of(HistogramAtMost):
            total = slot("m", claim.direction, self.leaves * int(claim.direction.max()))
            need({total: -1, -1: claim.most}, claim.most.bit_length())
        return tuple(slots), tuple(ranges)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The scalars of the message `claims`."""
        return self._claimed[0]

    @property
    def ranges(self) -> tuple[SlotRange, ...]:
        """What must not be negative."""
        return self._claimed[1]

    @cached_property
    def products(self) -> int:
        """K, the product relations."""
        return 2 * self.variables + 1 + sum(slot.kind in ("bit", "sq", "S") for slot in self.slots)

    @cached_property
    def messages(self) -> tuple[tuple[str, int], ...]:
        """Labels of the committed messages and their numbers of scalars, in order."""
        n = self.variables
        out = [("claims", len(self.slots) or 1), ("root", 4)]
        for k in range(n):
            out += [(f"layer{k}.round{b}", 2) for b in reversed(range(k))]
            out.append((f"layer{k}.values", 2 if k == n - 1 else 5))
        out += [(f"open.round{b}", 2) for b in reversed(range(self.open_rounds))]
        out += [("open.values", 2), ("aux", self.products + 3)]
        return tuple(out)

    @cached_property
    def scalars(self) -> int:
        """L, all committed scalars of the messages."""
        return sum(count for _, count in self.messages)

    @property
    def halvings(self) -> int:
        """I, rounds of the inner-product argument."""
        return (self.columns + self.scalars - 1).bit_length()

    @property
    def points(self) -> int:
        """Group elements of a proof."""
        return self.table_rows + len(self.messages) + 2 * self.halvings + 1

    @property
    def proof_bytes(self) -> int:
        """Length of a proof."""
        return self.group.encoding_bytes * self.points + 32 * 4

    @property
    def commitment_bytes(self) -> int:
        """Length of the encoded row commitments."""
        return self.group.encoding_bytes * self.rows

    @property
    def generators(self) -> Generators:
        """All generators that commitment and proof use."""
        return Generators.derive(self.group, self.columns, (1 << self.halvings) - self.columns)

    @cached_property
    def encoding(self) -> bytes:
        """`stmt.params`: everything that is stated, in canonical bytes."""
        numbers = (self.column_bits, self.d, self.lo, self.hi)
        head = _framed(PROTOCOL.encode()) + _framed(self.group.name.encode()) + b"".join(map(_i64, numbers))
        return head + _i64(len(self.claims)) + b"".join(claim.encode() for claim in self.claims)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NormStatement) and self.encoding == other.encoding

    def __hash__(self) -> int:
        return hash(self.encoding)

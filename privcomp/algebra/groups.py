"""Groups of prime order, their elements and scalars: single ones and vectors, immutable, in and out of strict bytes.

Everything is constant time in elements and scalars but what carries `_var` in its name, and conversions from and to
Python integers.
"""

from __future__ import annotations

import hmac
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self, overload

import numpy as np

from privcomp import _core
from privcomp.algebra.hashing import expand_message_xmd
from privcomp.errors import CodecError, ParameterError
from privcomp.typing import Buffer, I32Array, I64Array, U8Array

__all__ = ["BN254", "RISTRETTO255", "FixedBases", "Group", "Point", "Points", "Scalar", "Scalars"]


@dataclass(frozen=True)
class Group:
    """A group of prime order; use the objects `RISTRETTO255` and `BN254`.

    >>> G = RISTRETTO255.generator
    >>> a, b = RISTRETTO255.random_scalars(2)
    >>> G * a + G * b == G * (a + b)
    True
    >>> RISTRETTO255.decode(G.encode()) == G
    True
    """

    name: str
    core_id: int
    hash_name: str

    @property
    def order(self) -> int:
        """The number of elements, a prime."""
        return _ORDERS[self.core_id]

    @property
    def encoding_bytes(self) -> int:
        """Bytes of one encoded element: 32 (ristretto255) or 64 (BN254)."""
        return _core.ENCODING_BYTES[self.core_id]

    def __repr__(self) -> str:
        return self.name

    # ---- elements

    @property
    def generator(self) -> Point:
        """The usual generator: edwards25519's base point, or (1, 2)."""
        return Point._of(self, _core.group_generator(self.core_id))

    @property
    def identity(self) -> Point:
        """The neutral element."""
        g = self.generator
        return g - g

    def decode(self, data: Buffer) -> Point:
        """One element from its canonical encoding.

        Raises:
            CodecError: another length, not canonical, or no element.
        """
        return Point._of(self, self._decode(data, 1))

    def decode_many(self, data: Buffer, n: int) -> Points:
        """n elements from their encodings, one after another; errors as `decode`."""
        return Points._of(self, self._decode(data, n))

    def _decode(self, data: Buffer, n: int) -> U8Array:
        found = _rows(data, self.encoding_bytes, n)
        return _core.group_decode(self.core_id, found)

    def hash(self, message: bytes, dst: bytes) -> Point:
        """An element whose logarithm nobody knows.

        Args:
            message: any bytes.
            dst: the domain separation tag, at least 1 byte: another one for each use.

        Raises:
            ParameterError: dst is empty.

        Source: RFC 9380, appendix B (expand_message_xmd with SHA-512, then the map of RFC 9496, 4.3.4); for BN254
        RFC 9380, section 3, with SHA-256, L = 48 and the map of section 6.6.1.
        """
        return self.hash_many([message], dst)[0]

    def hash_many(self, messages: Iterable[bytes], dst: bytes) -> Points:
        """`hash` of each message, with one call of the core."""
        width = _core.UNIFORM_BYTES[self.core_id]
        uniform = b"".join(expand_message_xmd(self.hash_name, message, dst, width) for message in messages)
        return Points._of(self, _core.group_from_uniform(self.core_id, _rows(uniform, width)))

    # ---- scalars

    def scalar(self, value: int) -> Scalar:
        """A Python integer of any size and sign, modulo the order. Not constant time."""
        return Scalar._of(self, _rows((value % self.order).to_bytes(_core.SCALAR_BYTES, "little"), 32))

    def scalars(self, values: Iterable[int]) -> Scalars:
        """Python integers of any size and sign, modulo the order. Not constant time."""
        order = self.order  # asked for once: proofs turn thousands of integers into scalars
        data = b"".join([(value % order).to_bytes(_core.SCALAR_BYTES, "little") for value in values])
        return Scalars._of(self, _rows(data, _core.SCALAR_BYTES))

    def scalars_from_i64(self, values: I64Array) -> Scalars:
        """Signed integers, i64 (n,), modulo the order."""
        return Scalars._of(self, _core.scalar_from_i64(self.core_id, values))

    def scalars_from_wide(self, data: Buffer) -> Scalars:
        """One residue for each 64 little-endian bytes; uniform bytes give residues within 2^-256 of uniform."""
        return Scalars._of(self, _core.scalar_from_wide(self.core_id, _rows(data, 2 * _core.SCALAR_BYTES)))

    def random_scalars(self, n: int, rng: Callable[[int], bytes] = os.urandom) -> Scalars:
        """n residues within 2^-256 of uniform; ParameterError if rng gives another number of bytes than asked for."""
        found = self.scalars_from_wide(rng(2 * _core.SCALAR_BYTES * n))
        if len(found) != n:
            raise ParameterError(f"rng gave bytes for {len(found)} scalars where {n} were asked for")
        return found

    def decode_scalars(self, data: Buffer, n: int) -> Scalars:
        """n scalars from 32 little-endian bytes each.

        Raises:
            CodecError: another length, or one that is not below the order.
        """
        found = _rows(data, _core.SCALAR_BYTES, n)
        try:
            _core.scalar_check(self.core_id, found)
        except ParameterError:
            raise CodecError("a scalar that is not below the order of the group") from None
        return Scalars._of(self, found)


def _rows(data: Buffer, width: int, n: int | None = None) -> U8Array:
    """Bytes as a matrix of its own that nobody else can write to."""
    raw = _core.as_bytes("data", data).tobytes()
    if n is None and len(raw) % width:
        raise ParameterError(f"{len(raw)} bytes are no number of elements of {width} bytes each")
    if n is not None and len(raw) != n * width:
        raise CodecError(f"{len(raw)} bytes where {n} times {width} should be")
    return np.frombuffer(raw, np.uint8).reshape(-1, width)


class _Vector:
    """n elements as rows of bytes. A single one is a vector of one row that combines with every length."""

    __slots__ = ("_data", "group")
    _single: ClassVar[bool] = False
    group: Group
    _data: U8Array

    @classmethod
    def _of(cls, group: Group, data: U8Array) -> Self:
        self = cls.__new__(cls)
        data.flags.writeable = False
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "_data", data)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} is not pickled; send its encoding")

    def __len__(self) -> int:
        return int(self._data.shape[0])

    def _paired(self, other: _Vector) -> tuple[U8Array, U8Array]:
        """The rows of both, as many of each."""
        if other.group != self.group:
            raise ParameterError(f"elements of {self.group} and of {other.group} do not combine")
        a, b = self._data, other._data
        if a.shape[0] != b.shape[0]:
            if self._single and b.shape[0]:
                a = np.repeat(a, b.shape[0], axis=0)
            elif other._single and a.shape[0]:
                b = np.repeat(b, a.shape[0], axis=0)
            else:
                raise ParameterError(f"{a.shape[0]} elements and {b.shape[0]} do not combine")
        return a, b


class Scalars(_Vector):
    """A vector of integers modulo a group's order, made by `Group.scalars` and its siblings.

    `+`, `-`, `*` work element by element; a `Scalar` combines with every element of a vector; other lengths and groups
    raise ParameterError. They may be secret: the repr does not show them, and `==` takes the same time wherever
    they differ.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Scalars) -> Self:
        return self._binary(_core.scalar_add, other)

    def __sub__(self, other: Scalars) -> Self:
        return self._binary(_core.scalar_sub, other)

    def __mul__(self, other: Scalars) -> Self:
        return self._binary(_core.scalar_mul, other)

    def _binary(self, run: Callable[[int, U8Array, U8Array], U8Array], other: object) -> Self:
        result: Any = NotImplemented
        if isinstance(other, Scalars):
            kind = Scalar if self._single and other._single else Scalars
            result = kind._of(self.group, run(self.group.core_id, *self._paired(other)))
        return result  # type: ignore[no-any-return]

    def __neg__(self) -> Self:
        return self._of(self.group, _core.scalar_sub(self.group.core_id, np.zeros_like(self._data), self._data))

    def inverse(self) -> Self:
        """1 / each, with one inversion for all; a zero raises ParameterError."""
        return self._of(self.group, _core.scalar_inv(self.group.core_id, self._data))

    def dot(self, other: Scalars) -> Scalar:
        """The sum of the products."""
        return Scalar._of(self.group, _core.scalar_dot(self.group.core_id, *self._paired(other)))

    def axpy(self, alpha: Scalar, y: Scalars) -> Scalars:
        """alpha * self + y."""
        if alpha.group != self.group or len(alpha) != 1:
            raise ParameterError(f"alpha is {alpha!r}; one scalar of {self.group} is needed")
        x, added = self._paired(y)
        return Scalars._of(self.group, _core.scalar_axpy(self.group.core_id, alpha._data, x, added))

    @staticmethod
    def concat(vectors: Iterable[Scalars]) -> Scalars:
        """One vector of all, in their order."""
        found = list(vectors)
        if not found or len({vector.group for vector in found}) != 1:
            raise ParameterError("concat takes at least one vector, all of one group")
        return Scalars._of(found[0].group, np.concatenate([vector._data for vector in found]))

    def digits(self, size: int) -> I32Array:
        """The digits to the base B = 256^size, in [-B/2, B/2): i32 (n, ceil(32 / size)), the lowest first.

        Raises:
            ParameterError: size is not in 1 .. 4.
            TypeError: size is no integer.
        """
        size = int(operator.index(size))  # NumPy's would overflow
        if not 1 <= size <= 4:
            raise ParameterError(f"digits of {size} bytes; allowed is 1 to 4")
        places = -(-_core.SCALAR_BYTES // size)
        padded = np.zeros((len(self), places, size), np.int64)
        padded.reshape(len(self), places * size)[:, : _core.SCALAR_BYTES] = self._data
        found = padded @ (1 << 8 * np.arange(size, dtype=np.int64))
        for k in range(places - 1):  # the highest has no carry, as orders are below 2^255
            carry = (found[:, k] + (1 << (8 * size - 1))) >> 8 * size
            found[:, k] -= carry << 8 * size
            found[:, k + 1] += carry
        return found.astype(np.int32)

    def combine(self, values: I64Array) -> Scalars:
        """The rows of a matrix, i64 (len(self), n), combined: out[b] = sum over a of self[a] * values[a, b]."""
        return Scalars._of(self.group, _core.scalar_combine_i64(self.group.core_id, self._data, values))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scalars):
            return NotImplemented
        same = self.group == other.group and len(self) == len(other)
        return same and hmac.compare_digest(self._data.tobytes(), other._data.tobytes())

    @overload
    def __getitem__(self, index: int) -> Scalar: ...
    @overload
    def __getitem__(self, index: slice) -> Scalars: ...
    def __getitem__(self, index: int | slice) -> Scalar | Scalars:
        if isinstance(index, slice):
            return Scalars._of(self.group, self._data[index].copy())
        return Scalar._of(self.group, self._data[operator.index(index)][None].copy())

    def __iter__(self) -> Iterator[Scalar]:
        return (self[k] for k in range(len(self)))

    def to_bytes(self) -> bytes:
        """32 little-endian bytes each."""
        return self._data.tobytes()

    def to_ints(self) -> list[int]:
        """As Python integers in [0, order)."""
        return [int.from_bytes(row.tobytes(), "little") for row in self._data]

    def __repr__(self) -> str:
        return f"Scalars({self.group}, {len(self)} elements)"


class Scalar(Scalars):
    """One integer modulo a group's order; see `Scalars`."""

    __slots__ = ()
    _single = True

    def __int__(self) -> int:
        return self.to_ints()[0]

    def __repr__(self) -> str:
        return f"Scalar({self.group})"


class Points(_Vector):
    """A vector of group elements, made by `Group.decode_many`, `Group.hash_many` and operations.

    `+` and `-` work element by element, `*` takes `Scalars`; a single element or scalar combines with every one of a
    vector.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Points) -> Self:
        return self._binary(_core.group_add, other)

    def __sub__(self, other: Points) -> Self:
        return self._binary(_core.group_sub, other)

    def _binary(self, run: Callable[[int, U8Array, U8Array], U8Array], other: object) -> Self:
        result: Any = NotImplemented
        if isinstance(other, Points):
            kind = Point if self._single and other._single else Points
            result = kind._of(self.group, run(self.group.core_id, *self._paired(other)))
        return result  # type: ignore[no-any-return]

    def __neg__(self) -> Self:
        nothing = np.repeat(self.group.identity._data, len(self), axis=0)
        return self._of(self.group, _core.group_sub(self.group.core_id, nothing, self._data))

    def __mul__(self, scalars: Scalars) -> Self:
        result: Any = NotImplemented
        if isinstance(scalars, Scalars):
            kind = Point if self._single and scalars._single else Points
            result = kind._of(self.group, _core.group_mul(self.group.core_id, *self._paired(scalars)))
        return result  # type: ignore[no-any-return]

    def msm(self, scalars: Scalars) -> Point:
        """The sum of scalars[i] * self[i], constant time; ParameterError for another group or length."""
        return Point._of(self.group, _core.group_msm(self.group.core_id, *self._paired(scalars)))

    def msm_var(self, scalars: Scalars | I64Array) -> Point:
        """The same in variable time, for what is public; signed integers i64 (n,) cost less than scalars."""
        if isinstance(scalars, Scalars):
            return Point._of(self.group, _core.group_msm_var(self.group.core_id, *self._paired(scalars)))
        return Point._of(self.group, _core.group_msm_i64_var(self.group.core_id, self._data, scalars))

    def axpy_var(self, alpha: Scalar, y: Points) -> Points:
        """alpha * self + y for one scalar, in variable time."""
        if alpha.group != self.group or len(alpha) != 1:
            raise ParameterError(f"alpha is {alpha!r}; one scalar of {self.group} is needed")
        x, added = self._paired(y)
        return Points._of(self.group, _core.group_axpy_var(self.group.core_id, alpha._data, x, added))

    def sum(self) -> Point:
        """The sum of all."""
        return Point._of(self.group, _core.group_sum(self.group.core_id, self._data[:, None]))

    @staticmethod
    def sum_of(vectors: Iterable[Points]) -> Points:
        """The sum of vectors of one length, element by element."""
        found = list(vectors)
        if not found or len({(vector.group.core_id, len(vector)) for vector in found}) != 1:
            raise ParameterError("sum_of takes at least one vector, all of one group and length")
        stacked = np.stack([vector._data for vector in found])
        return Points._of(found[0].group, _core.group_sum(found[0].group.core_id, stacked))

    @staticmethod
    def concat(vectors: Iterable[Points]) -> Points:
        """One vector of all elements, in their order."""
        found = list(vectors)
        if not found or len({vector.group.core_id for vector in found}) != 1:
            raise ParameterError("concat takes at least one vector, all of one group")
        return Points._of(found[0].group, np.concatenate([vector._data for vector in found]))

    def equal(self, other: Points) -> list[bool]:
        """Element by element, whether they are the same."""
        return [bool(same) for same in _core.group_equal(self.group.core_id, *self._paired(other))]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Points):
            return NotImplemented
        if self.group != other.group or len(self) != len(other):
            return False
        return int(_core.group_equal(self.group.core_id, self._data, other._data).sum()) == len(self)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Points: ...
    def __getitem__(self, index: int | slice) -> Point | Points:
        if isinstance(index, slice):
            return Points._of(self.group, self._data[index].copy())
        return Point._of(self.group, self._data[operator.index(index)][None].copy())

    def __iter__(self) -> Iterator[Point]:
        return (self[k] for k in range(len(self)))

    def encode(self) -> bytes:
        """The canonical encodings, one after another."""
        return _core.group_encode(self.group.core_id, self._data).tobytes()

    def __repr__(self) -> str:
        return f"Points({self.group}, {len(self)} elements)"


class Point(Points):
    """One group element; see `Points`. Equal ones have equal hashes, so that it can be a key."""

    __slots__ = ()
    _single = True

    def is_identity(self) -> bool:
        """Whether it is the neutral element."""
        return self == self.group.identity

    def __hash__(self) -> int:  # type: ignore[override]
        return hash((self.group.core_id, self.encode()))

    def __repr__(self) -> str:
        return f"Point({self.group}, {self.encode().hex()[:16]}..)"


class FixedBases:
    """Multiples of bases that are used again and again.

    Tables are read at places that depend on the numbers: variable time. 128 multiples of 64 bytes for each base and
    byte of the numbers (of 96 in ristretto255 for `mul_var`): 17 MB for 1024 bases and 16 bits.

    Args:
        bases: (n,).
        windows: bytes of the numbers: 1 .. 4 for `rows_var`, 32 for `mul_var`.

    Raises:
        ParameterError: windows is not in 1 .. 32.
    """

    __slots__ = ("_table", "bases", "windows")

    def __init__(self, bases: Points, windows: int) -> None:
        self.bases = bases
        self.windows = windows
        self._table = _core.group_table(bases.group.core_id, bases._data, windows)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return int(self._table.nbytes)

    def rows_var(self, values: I32Array) -> Points:
        """For each row of values, i32 (rows, n) with |value| <= 2^(8 windows - 1), the sum of values[b] * bases[b].

        Raises:
            BufferTypeError: dtype, dimensions, layout.
            ParameterError: another number of columns, or a value out of range.
        """
        group = self.bases.group
        return Points._of(group, _core.group_rows_var(group.core_id, self._table, values, self.windows))

    def mul_var(self, scalars: Scalars) -> Points:
        """scalars[i] * the one base: (n,) -> (n,).

        Raises:
            ParameterError: another group, or tables of more than one base or of other windows than 32.
        """
        group = self.bases.group
        if scalars.group != group:
            raise ParameterError(f"elements of {group} and of {scalars.group} do not combine")
        if len(self.bases) != 1 or self.windows != _core.SCALAR_BYTES:
            raise ParameterError(
                f"tables of {len(self.bases)} bases and {self.windows} windows; scalars take one base and "
                f"{_core.SCALAR_BYTES} windows"
            )
        return Points._of(group, _core.group_fixed_var(group.core_id, self._table, scalars._data))


_ORDERS = {group: _core.scalar_order(group) for group in (_core.RISTRETTO255, _core.BN254_G1)}

RISTRETTO255 = Group("ristretto255", _core.RISTRETTO255, "sha512")
"""RFC 9496: order 2^252 + 27742317777372353535851937790883648493; discrete logarithms cost about 2^126 steps."""

BN254 = Group("BN254", _core.BN254_G1, "sha256")
"""G1 of BN254 ("alt_bn128", EIP-196), for Ethereum. Not the default: its pairing carries discrete logarithms into a
field where they cost about 2^100 steps (Barbulescu, Duquesne, "Updating key size estimations for pairings", 2019)."""

"""What a way of sharing offers to everything above it: comparison, sorting, fixed point, robust rules.

A backend holds one party's keys and counters. Its local operations are plain methods; what needs messages is a
coroutine that the scheduler runs. Every coroutine goes through the same number of rounds at every party.

Shared values:

* `Value`: numbers modulo 2^64 (or another ring or field, as the backend says), as a tuple of arrays of one shape, the
  components that this party holds.
* `Bits`: bit planes, as a tuple of u64 arrays (planes, words): plane b holds bit b of every number, 64 numbers a word.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc.blocks import Sums
from privcomp.mpc.engine import Scheduler, Session, Task
from privcomp.mpc.security import Security
from privcomp.typing import I64Array, U64Array

__all__ = ["Backend", "Bits", "Change", "Elements", "ReplicatedBackend", "Value", "as_words", "words"]

Change = Callable[[U64Array], U64Array]
"""Of an array of words modulo 2^64."""

_ONE: Final = np.uint64(1)


def words(n: int) -> int:
    """64-bit words of a plane of n bits."""
    return -(-n // 64)


def as_words(what: str, values: NDArray[Any]) -> U64Array:
    """Public or own integers of any width and byte order as words, negative ones modulo 2^64.

    NumPy would make float64 of int64 and uint64, and a mask that is rounded hides little.

    Raises:
        ParameterError: other numbers.
    """
    array = np.asarray(values)
    if array.dtype == np.uint64:
        return array
    if array.dtype.kind not in "iub":
        raise ParameterError(f"{what} has dtype {array.dtype}; a backend computes on integers")
    return array.astype(np.uint64)


@dataclass(frozen=True, repr=False, eq=False)
class Value:
    """This party's part of a shared array of numbers.

    Attributes:
        parts: u64 arrays of one shape; never written to once the value exists.
    """

    parts: tuple[U64Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.parts[0].shape

    def map(self, change: Callable[[U64Array], NDArray[Any]]) -> Value:
        """The same linear rearrangement (reshape, index, sum modulo 2^64, ...) of every part."""
        return Value(tuple(change(part) for part in self.parts))

    def __repr__(self) -> str:
        return f"Value(shape={self.shape}, parts=<{len(self.parts)} hidden>)"


_SEALED: Final = np.dtype([("element", np.uint64)])


class Elements(Value):
    """Numbers that are not words modulo 2^64: elements of a field, or parts of longer words.

    NumPy may move them about (reshape, index, transpose, concatenate) and not compute on them: it would do so modulo
    2^64, which is a wrong result here.
    """

    def map(self, change: Callable[[U64Array], NDArray[Any]]) -> Value:
        """The same rearrangement of every part.

        Raises:
            ParameterError: `change` computes.
        """
        try:
            changed = [np.asarray(change(part.view(_SEALED))) for part in self.parts]
        except TypeError as error:
            raise ParameterError(
                f"these shared numbers can be rearranged, and nothing else ({error}); the backend has sum, add, "
                "matmul_public and the like"
            ) from None
        if any(part.dtype != _SEALED for part in changed):
            raise ParameterError("a rearrangement of shared numbers gave something else; keep the elements as they are")
        return Elements(tuple(part.view(np.uint64) for part in changed))


@dataclass(frozen=True, repr=False, eq=False)
class Bits:
    """This party's part of shared bit planes.

    Attributes:
        parts: u64 (planes, words) arrays; what lies behind the last bit of a plane means nothing.
        n: bits in a plane.
    """

    parts: tuple[U64Array, ...]
    n: int

    def __post_init__(self) -> None:
        for part in self.parts:
            if part.ndim != 2 or part.shape[1] != words(self.n):
                raise ParameterError(f"planes of {self.n} bits have shape (planes, {words(self.n)}), not {part.shape}")

    @property
    def planes(self) -> int:
        """How many planes."""
        count: int = self.parts[0].shape[0]
        return count

    def map(self, change: Callable[[U64Array], U64Array]) -> Bits:
        """Another choice or order of planes; `change` acts on the first axis alone."""
        return _bits(tuple([change(part) for part in self.parts]), self.n)

    def __getitem__(self, key: slice) -> Bits:
        return _bits(tuple([part[key] for part in self.parts]), self.n)

    @staticmethod
    def stack(several: list[Bits]) -> Bits:
        """Planes of one length behind each other."""
        columns = zip(*[bits.parts for bits in several], strict=True)
        return _bits(tuple([np.concatenate(parts) for parts in columns]), several[0].n)

    def __repr__(self) -> str:
        return f"Bits(planes={self.planes}, n={self.n}, parts=<{len(self.parts)} hidden>)"


def _bits(parts: tuple[U64Array, ...], n: int) -> Bits:
    """Bits of planes whose length is known to be right: gates are many and small, and every microsecond counts."""
    bits = object.__new__(Bits)
    bits.__dict__["parts"], bits.__dict__["n"] = parts, n
    return bits


class Backend(ABC):
    """Input, linear operations, products and opening: what every protocol has.

    Public and own numbers are arrays of integers of any width and byte order, negative ones modulo 2^64 (a field takes
    its elements only); other dtypes raise ParameterError.

    Args:
        scheduler: of the party.
        session: of the computation.
        me: this party's index.

    Attributes:
        security: what holds, and against whom.
        rng: the party's source of fresh bytes.
        largest: the largest absolute value that a shared number can have and be opened with its sign.
    """

    security: Security
    largest: int = (1 << 63) - 1

    def __init__(self, scheduler: Scheduler, session: Session, me: int) -> None:
        self.scheduler = scheduler
        self.session = session
        self.me = me
        self.n = len(session.parties)
        self.rng: Callable[[int], bytes] = os.urandom

    # ---- keys ----

    @staticmethod
    async def _at_end(wipe: Callable[[], None]) -> None:
        """Wait until the party is closed, because it has ended or failed, and wipe the keys then: spawned by `setup`
        of protocols that have any."""
        try:
            await Task[None](-1, None)
        finally:
            wipe()

    def _check_party(self, name: str, party: int | None) -> None:
        """Refuse an owner or a receiver that there is not; None stands for all.

        Raises:
            ParameterError: so it is.
        """
        if party is not None and not 0 <= party < self.n:
            raise ParameterError(f"{name} is party {party}; the session has parties 0 .. {self.n - 1}")

    # ---- local ----

    def encode(self, values: I64Array) -> U64Array:
        """Signed integers, at most `largest` in absolute value, as elements: two's complement, unless overridden."""
        return values.view(np.uint64)

    def decode(self, elements: U64Array) -> I64Array:
        """What `open` gave, as signed integers."""
        return np.ascontiguousarray(elements).view(np.int64)

    def sum(self, a: Value, axis: int | tuple[int, ...]) -> Value:
        """The sum over some axes; modulo 2^64 unless a backend says else."""
        return a.map(lambda part: np.asarray(part.sum(axis=axis, dtype=np.uint64)))

    @abstractmethod
    def public(self, values: U64Array) -> Value:
        """A public array, as a sharing."""

    @abstractmethod
    def add(self, a: Value, b: Value) -> Value:
        """a + b, with broadcasting."""

    @abstractmethod
    def sub(self, a: Value, b: Value) -> Value:
        """a - b, with broadcasting."""

    @abstractmethod
    def scale(self, a: Value, factor: U64Array) -> Value:
        """Times a public array, elementwise, with broadcasting."""

    @abstractmethod
    def add_public(self, a: Value, values: U64Array) -> Value:
        """Plus a public array, with broadcasting."""

    @abstractmethod
    def matmul_public(self, a: Value, b: U64Array) -> Value:
        """a @ b for a public matrix b."""

    # ---- with messages ----

    @abstractmethod
    async def setup(self, rng: Callable[[int], bytes]) -> None:
        """Agree on keys; before anything else, once."""

    @abstractmethod
    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        """Share what `owner` holds; the others pass None."""

    @abstractmethod
    async def open(self, a: Value, to: int | None = None) -> U64Array | None:
        """Reveal to all, or to one party (the others get None). Whatever has to be verified is verified before."""

    @abstractmethod
    async def mul(self, a: Value, b: Value) -> Value:
        """Elementwise product, with broadcasting."""

    @abstractmethod
    async def matmul(self, a: Value, b: Value) -> Value:
        """(n, k) @ (k, m); a dot product of any length costs one word."""


class ReplicatedBackend(Backend):
    """What replicated sharing adds: bits, their products, and the ways between bits and numbers.

    A number x modulo 2^64 falls apart into two addends, x = u + t (modulo 2^64), and every party knows one of them: on
    three parties one party knows u and two know t; on four, two know u and two know t. All conversions rest on this:
    carries of u + t are computed on bits, products u t are computed from what parties know.

    Attributes:
        held: the components that this party has, in the order of every `parts`.
    """

    held: tuple[int, ...]

    # ---- local: a public value is component 0 ----

    def _at(self, component: int, values: U64Array) -> tuple[U64Array, ...]:
        """What those who hold a component know, as that component."""
        zero = np.zeros_like(values)
        return tuple(values if c == component else zero for c in self.held)

    def public(self, values: U64Array) -> Value:
        return Value(self._at(0, as_words("a public array", values)))

    def add(self, a: Value, b: Value) -> Value:
        return Value(tuple(x + y for x, y in zip(a.parts, b.parts, strict=True)))

    def sub(self, a: Value, b: Value) -> Value:
        return Value(tuple(x - y for x, y in zip(a.parts, b.parts, strict=True)))

    def scale(self, a: Value, factor: U64Array) -> Value:
        by = as_words("a factor", factor)
        return a.map(lambda part: part * by)

    def add_public(self, a: Value, values: U64Array) -> Value:
        return self.add(a, self.public(values))

    def matmul_public(self, a: Value, b: U64Array) -> Value:
        right = np.ascontiguousarray(as_words("a public matrix", b))
        return a.map(lambda part: _core.ring_matmul(np.ascontiguousarray(part), right))

    # ---- with messages ----

    @abstractmethod
    async def gram(self, a: Value) -> Value:
        """a a^T for a of shape (n, d)."""

    async def gram_doubled(self, blocks: Sequence[Value]) -> Value:
        """2 x x^T, where the blocks, (n, ...) each, are x cut along its columns: cheaper than x x^T on some backends,
        and as good where only signs of differences count."""
        total = await self.gram(blocks[0])
        for block in blocks[1:]:
            total = self.add(total, await self.gram(block))
        return total.map(lambda part: part << _ONE)

    async def mul_truncated(self, a: Value, b: Value, shift: int) -> Value:
        """`truncate` of `mul`, in fewer rounds on some backends; |a b| < 2^62."""
        return await self.truncate(await self.mul(a, b), shift)

    async def matmul_truncated(self, a: Value, b: Value, shift: int, bound: int) -> Value:
        """`truncate` of `matmul`, whose entries are at most `bound` < 2^62 in absolute value."""
        return await self.truncate(await self.matmul(a, b), shift)

    async def gram_truncated(self, a: Value, shift: int, bound: int) -> Value:
        """`truncate` of `gram`, whose entries are at most `bound` < 2^62 in absolute value."""
        return await self.truncate(await self.gram(a), shift)

    def public_bits(self, planes: U64Array, n: int) -> Bits:
        """Public planes, as a sharing."""
        return Bits(self._at(0, as_words("public planes", planes)), n)

    def xor(self, a: Bits, b: Bits) -> Bits:
        """Plane by plane."""
        return Bits(tuple(x ^ y for x, y in zip(a.parts, b.parts, strict=True)), a.n)

    def xor_public(self, a: Bits, planes: U64Array) -> Bits:
        """With public planes."""
        known = as_words("public planes", planes)
        return Bits(tuple(part ^ known if c == 0 else part for c, part in zip(self.held, a.parts, strict=True)), a.n)

    @abstractmethod
    async def input_bits(self, owner: int, planes: U64Array | None, count: int, n: int) -> Bits:
        """Share `count` planes of n bits that `owner` holds; the others pass None."""

    @abstractmethod
    async def bit_and(self, a: Bits, b: Bits) -> Bits:
        """Plane by plane."""

    @abstractmethod
    async def open_bits(self, a: Bits, to: int | None = None) -> U64Array | None:
        """Reveal planes, as `open` does."""

    @abstractmethod
    async def addends(
        self, a: Value, width: int, sizes: Sequence[int] = (), change: Change | None = None
    ) -> tuple[Bits, Bits]:
        """The bits of two numbers u, t with u + t = a modulo 2^width: each `width` planes, 1 <= width <= 64.

        `a` is flattened in C order.

        Args:
            a: the number.
            width: its bits that count.
            sizes: of blocks of planes, `width` in all: the planes are `blocks.monomials` of them; none: the bits.
            change: a linear change of an array modulo 2^64: u and t are those of what it makes of a. It is done to one
                array, where changing `a` would do it to all parts.
        """

    @abstractmethod
    async def and_addends(self, u: Bits, t: Bits, sums: Sums | None = None) -> Bits:
        """`bit_and` of what `addends` gave, and of nothing else: cheaper. With `sums`, sums of products of planes."""

    @abstractmethod
    async def to_number(self, bits: Bits, width: int) -> Value:
        """One plane of bits as numbers 0 and 1, u64 (n,). The sharing is right modulo 2^width only."""

    @abstractmethod
    async def choose_sum(self, bits: Bits, a: Value) -> Value:
        """The sum of those numbers whose bit is set, over the first axis.

        Args:
            bits: one plane, of the numbers in C order.
            a: numbers modulo 2^64, (rows, ...).
        """

    async def weigh(self, bits: Bits, weights: U64Array) -> Value:
        """The sum of the planes, plane k times the public number weights[k]: (n,) modulo 2^64."""
        planes, lanes, n = bits.planes, 64 * words(bits.n), bits.n
        # All planes are made numbers as one.
        flat = Bits(tuple(np.ascontiguousarray(part).reshape(1, -1) for part in bits.parts), planes * lanes)
        numbers = (await self.to_number(flat, 64)).map(lambda part: part.reshape(planes, lanes)[:, :n])
        return self.sum(self.scale(numbers, as_words("the weights", weights)[:, None]), 0)

    @abstractmethod
    async def truncate(self, a: Value, shift: int) -> Value:
        """a / 2^shift for -2^62 <= a < 2^62, rounded down or up: the error is below one unit, and it is unbiased."""

    @abstractmethod
    async def extend(self, a: Value, width: int) -> Value:
        """From Z_{2^width} (two's complement, parts below 2^width) to Z_{2^64}; 1 <= width <= 62."""

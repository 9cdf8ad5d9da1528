"""Shared tensors with NumPy's operators, over any way of sharing.

    async def program(mpc):
        x = mpc.input(mine if mpc.me == 0 else None, owner=0, shape=(100,), bound=8.0, fraction=16)
        y = mpc.input(mine if mpc.me == 1 else None, owner=1, shape=(100,), bound=8.0, fraction=16)
        return await mpc.open((x * y).sum())

Operators return at once: a task of the party's scheduler does the work, and what does not depend on each other shares
rounds. Opening gives a value; nothing else does.

**Numbers.** A tensor holds integers X modulo 2^64 (or what the backend computes with) that stand for X / 2^fraction.
Its `bound` is public: |X| <= bound. Every operator derives the bound of its result from those of its operands and
refuses, before anything is sent, what could leave (-2^63, 2^63), so that nothing ever wraps. An owner cannot input
more than it declared; that it did not lie about its own numbers is what a protocol against malicious parties does not
check either.

**Fixed point.** Addition raises the smaller fraction to the larger one, which is exact. A product of X / 2^a and Y /
2^b is X Y / 2^(a + b), from which min(a, b) bits are truncated: the error is below one unit in the last place, and |X
Y| has to stay below 2^62. A matrix product adds up first and truncates once. A public real factor c becomes round(c
2^k) with the largest k for which bounds permit, and costs one truncation of k bits; it is refused where bounds leave
the largest factor fewer than max(fraction, 16) significant bits, and that could move a result by more than half a
unit. Where c is an integer over a small power of two, only as many bits as it needs. Backends without truncation keep
all a + b bits of fraction instead.

**Width.** Comparisons look at as many bits as the bounds leave open: bounds that are too wide cost time, not
correctness.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from privcomp import _core
from privcomp.codec import lp
from privcomp.errors import EncodingError, ParameterError, RemoteError, StateError
from privcomp.mpc import circuits, functions, sorting
from privcomp.mpc.backend import Backend, Bits, Elements, ReplicatedBackend, Value, words
from privcomp.mpc.engine import Cost, Exchange, Task
from privcomp.mpc.security import Adversary, Security
from privcomp.typing import BoolArray, F64Array, I64Array, U64Array

__all__ = ["Mpc", "Shared", "SharedBits", "tensors"]

T = TypeVar("T")

Public: TypeAlias = bool | int | float | NDArray[Any]
"""What may stand beside a shared tensor: Python numbers and NumPy arrays."""

_Source: TypeAlias = "Value | Task[Value]"
_Rounding: TypeAlias = Literal["nearest", "down", "up", "exact"]

MAX_FRACTION: Final = 61
_FACTOR_BITS: Final = 16
"""What a public real factor keeps at least: a relative error of 2^-16."""
_PUBLIC: Final = b"privcomp/mpc/public/v1"
_TRUNCATABLE: Final = (1 << 62) - 1
"""`Backend.truncate` takes |X| < 2^62."""

_ROUND: Final[dict[str, Callable[[F64Array], F64Array]]] = {"nearest": np.rint, "down": np.floor, "up": np.ceil}


def tensors(program: Callable[[Mpc], Coroutine[Any, Any, T]]) -> Callable[[Any], Coroutine[Any, Any, T]]:
    """A program on tensors, as `start` and `simulate` take it: one that is called with a backend.

    >>> from privcomp.simulation.mpc import simulate
    >>> async def product(mpc):
    ...     x = mpc.input(np.array([3, -4]) if mpc.me == 0 else None, owner=0, shape=(2,), bound=100)
    ...     return await mpc.open(x * x - 1)
    >>> simulate("rep3", tensors(product)).results[1].tolist()
    [8, 15]
    """

    async def run(backend: Backend) -> T:
        mpc = Mpc(backend)
        try:
            return await program(mpc)
        finally:
            mpc._open = False

    return run


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ParameterError(f"shapes {', '.join(map(str, shapes))} do not go together") from None


def _integer(value: object, what: str) -> int:
    """A public number as Python's integer: NumPy's would wrap where bounds are multiplied, and pass every check."""
    try:
        return operator.index(cast(Any, value))
    except TypeError:
        raise ParameterError(f"{what} is {value!r}; pass an integer") from None


def _shape(shape: object) -> tuple[int, ...]:
    """A public shape, without empty axes."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    found = tuple(_integer(size, "a size in the shape") for size in sizes)
    if not all(size >= 1 for size in found):
        raise ParameterError(f"shape is {found}; no axis may be empty")
    try:
        # Of eight bytes an entry: a view of one may have more entries than an array can.
        np.broadcast_to(np.uint64(0), found)
    except ValueError as error:
        raise ParameterError(f"shape is {found}: {error}") from None
    return found


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _held(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How a tensor's `Value` is shaped: a tensor without axes is held with one, for NumPy turns arrays without axes
    into scalars, which warn where arrays wrap."""
    return shape or (1,)


def _axis(axis: int, shape: tuple[int, ...]) -> int:
    axis = _integer(axis, "axis")
    if not -len(shape) <= axis < len(shape):
        raise ParameterError(f"axis is {axis}; shape {shape} has {len(shape)} axes")
    return axis % len(shape)


def _index(key: Any) -> tuple[Any, bytes]:
    """A public index as it is now, and bytes that stand for it: what is indexed may come later, and the caller may
    write to its arrays until then. The key has indexed an array, so that it is one."""
    said: list[bytes] = []

    def fixed(item: Any) -> Any:
        if item is None or item is Ellipsis:
            said.append(repr(item).encode())
        elif isinstance(item, slice):
            ends = [None if end is None else operator.index(end) for end in (item.start, item.stop, item.step)]
            said.append(repr(ends).encode())
            return slice(*ends)
        else:
            array = np.array(item)
            said.append(lp(repr((array.shape, array.dtype.kind == "b")).encode(), array.astype("<i8").tobytes()))
            return array if array.ndim or array.dtype.kind == "b" else operator.index(array)
        return item

    found = tuple(fixed(item) for item in key) if isinstance(key, tuple) else fixed(key)
    return found, lp(*said)


def _array(values: Public, what: str) -> NDArray[Any]:
    """Public or own numbers as an array of int64, uint64 or float64."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise EncodingError(f"{what} is no array; pass numbers, or an array of one shape") from None
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iuf":
        raise EncodingError(f"{what} has dtype {array.dtype}; pass integers or floats")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise EncodingError(f"{what} holds NaN or infinity; a shared number is finite")
    return array


def _extent(array: NDArray[Any]) -> int:
    """The largest absolute value of integers."""
    return max(abs(int(array.max())), abs(int(array.min())))


def _integers(
    array: NDArray[Any],
    fraction: int,
    limit: int,
    what: str,
    rounding: _Rounding = "nearest",
    *,
    secret: bool = False,
) -> I64Array:
    """round(x 2^fraction), at most `limit` in absolute value; of secret numbers no error says how large they are.

    x 2^fraction is exact in float64 (or infinite, which no limit admits), so that one rounding is all there is.
    """
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            scaled = np.ldexp(array, fraction)
        if rounding == "exact":
            if (np.rint(scaled) != scaled).any():
                raise EncodingError(f"{what} has no exact value with {fraction} bits of fraction")
        else:
            scaled = _ROUND[rounding](scaled)
        # float(limit) may round up to 2^63, which is no int64.
        if (np.abs(scaled) > float(limit)).any() or (np.abs(scaled) >= 2.0**63).any():
            seen = "goes beyond its bound" if secret else f"reaches {np.abs(array).max():.6g}"
            raise EncodingError(f"{what} {seen}; allowed is {limit / 2**fraction:.6g}")
        found: I64Array = scaled.astype(np.int64)
        if _extent(found) > limit:
            raise EncodingError(f"{what} exceeds {limit / 2**fraction:.6g}")
        return found
    if _extent(array) << fraction > limit:
        seen = "goes beyond its bound" if secret else f"reaches {_extent(array)}"
        raise EncodingError(f"{what} {seen}; allowed is {limit / 2**fraction:.6g}")
    return array.astype(np.int64) << fraction


class Mpc:
    """One party's view of a computation on tensors; `tensors` makes it.

    Args:
        backend: of the protocol that the session names.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._open = True
        # Over everything public that went into a tensor: parties that disagree find out before anything is opened.
        self._public = hashlib.sha256(_PUBLIC)
        self._told = self._public.digest()

    # ---- who and what ----

    @property
    def me(self) -> int:
        """This party's index."""
        return self.backend.me

    @property
    def n(self) -> int:
        """How many parties."""
        return self.backend.n

    @property
    def parties(self) -> tuple[bytes, ...]:
        """Their ids."""
        return self.backend.session.parties

    @property
    def security(self) -> Security:
        """What holds, and against whom."""
        return self.backend.security

    @property
    def cost(self) -> Cost:
        """What this party has sent so far."""
        return self.backend.scheduler.cost

    def require(self, *, adversary: Adversary | None = None, corruptions: int | None = None) -> None:
        """Refuse to go on with less security than this: `Security.require`."""
        self.security.require(adversary=adversary, corruptions=corruptions)

    # ---- what is public ----

    def _encode(self, integers: I64Array) -> U64Array:
        """A public operand as elements; it joins the digest of all of them."""
        flat = np.ascontiguousarray(integers)
        self._public.update(lp(repr(flat.shape).encode(), flat.astype("<i8", copy=False).tobytes()))
        return self.backend.encode(flat)

    def _note(self, operation: str, *facts: object) -> None:
        """An operation without messages, and its public arguments: parties that do something else here get numbers that
        mean nothing, so it joins the digest, too."""
        self._public.update(lp(operation.encode(), repr(facts).encode()))

    def _tell(self) -> None:
        """Put the digest into the schedule that the next frames are bound to. Nothing is sent for it."""
        digest = self._public.digest()
        if digest != self._told:
            self._told = digest

            async def note() -> None:
                await Exchange(f"public {digest.hex()}", {}, {})

            self._spawn(note())

    # ---- tasks ----

    def _check(self) -> None:
        if not self._open:
            raise StateError("this computation has ended; its tensors cannot be used any more")

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> Task[T]:
        if not self._open:
            coroutine.close()
        self._check()
        return self.backend.scheduler.spawn(coroutine)

    def _local(self, function: Callable[..., T], *sources: Any) -> T | Task[T]:
        """Work without messages: now, if its operands are there."""
        self._check()
        if all(not isinstance(source, Task) or source.done for source in sources):
            return function(*(source.result if isinstance(source, Task) else source for source in sources))

        async def later() -> T:
            return function(*[await source if isinstance(source, Task) else source for source in sources])

        return self._spawn(later())

    def _begin(self, function: Callable[..., Coroutine[Any, Any, T]], *sources: Any) -> Task[T]:
        """Work with messages."""

        async def run() -> T:
            return await function(*[await source if isinstance(source, Task) else source for source in sources])

        return self._spawn(run())

    def _own(self, x: Shared | SharedBits) -> None:
        self._check()
        if not isinstance(x, (Shared, SharedBits)):
            raise ParameterError(f"{type(x).__name__} is no shared tensor; make one with `input` or `public`")
        if x._mpc is not self:
            raise StateError("a tensor of another computation, or of another party's end of this one")

    def _replicated(self, what: str) -> ReplicatedBackend:
        if not isinstance(self.backend, ReplicatedBackend):
            raise ParameterError(
                f"{self.backend.session.protocol} has no {what}: it offers input, linear operations, products and "
                "opening; take rep3 or rep4"
            )
        return self.backend

    def _fit(self, bound: int, what: str) -> int:
        if bound > self.backend.largest:
            raise ParameterError(
                f"{what} could reach {bound:.4g}, and {self.backend.largest:.4g} is the most that can be told from a "
                "negative number; declare tighter bounds or fewer bits of fraction"
            )
        return bound

    def _fit_truncation(self, bound: int, what: str) -> int:
        if bound > _TRUNCATABLE:
            raise ParameterError(
                f"{what} could reach {bound:.4g} before its truncation, where less than 2^62 is allowed; declare "
                "tighter bounds or fewer bits of fraction"
            )
        return bound

    def _fit_fraction(self, fraction: int) -> int:
        if fraction > MAX_FRACTION:
            raise ParameterError(f"the result has {fraction} bits of fraction; allowed are {MAX_FRACTION}")
        return fraction

    def _truncated(
        self, source: _Source, shape: tuple[int, ...], bound: int, shift: int, fraction: int, what: str
    ) -> Shared:
        """X / 2^shift, which has `fraction` bits, of what is at most `bound`."""
        self._fit_truncation(bound, what)
        backend = self._replicated("truncation")
        return Shared(self, self._begin(backend.truncate, source, shift), shape, (bound >> shift) + 1, fraction)

    # ---- in and out ----

    def input(
        self,
        values: Public | None,
        *,
        owner: int,
        shape: int | Sequence[int],
        bound: float,
        fraction: int = 0,
    ) -> Shared:
        """Share what one party holds.

        Args:
            values: the owner's numbers; None at every other party.
            owner: its index.
            shape: of the tensor, without empty axes; the same at every party.
            bound: on |value|, in the units of the values; the same at every party.
            fraction: bits of fixed point, 0 .. 61. Floats are rounded to the nearest multiple of 2^-fraction; with 0
                only integers are taken.

        Raises:
            ParameterError: shape, bound or fraction out of range, values at a party that does not own them, or none at
                the one that does.
            EncodingError: NaN, infinity, a wrong dtype or shape, a value beyond the bound.
        """
        self._check()
        shape, owner, fraction = _shape(shape), _integer(owner, "owner"), _integer(fraction, "fraction")
        if not 0 <= owner < self.n:
            raise ParameterError(f"owner is {owner}; there are parties 0 .. {self.n - 1}")
        limit = self._limit(bound, fraction)
        # Where parties disagree on these, their results differ, and messages do not.
        self._public.update(lp(b"input", limit.to_bytes(8, "little"), bytes([fraction])))
        if (values is None) == (self.me == owner):
            raise ParameterError(f"party {owner} owns this input: it passes the values, everybody else passes None")
        encoded = None
        if values is not None:
            array = _array(values, "the input")
            if array.shape != shape:
                raise EncodingError(f"the input has shape {array.shape}; declared is {shape}")
            if array.dtype.kind == "f" and fraction == 0:
                raise EncodingError("the input holds floats; pass integers, or declare bits of fraction")
            integers = _integers(array, fraction, limit, "the input", secret=True).reshape(_held(shape))
            encoded = self.backend.encode(np.ascontiguousarray(integers))
        return Shared(self, self._begin(self.backend.input, owner, encoded, _held(shape)), shape, limit, fraction)

    def _limit(self, bound: float, fraction: int) -> int:
        if not 0 <= fraction <= MAX_FRACTION:
            raise ParameterError(f"fraction is {fraction} bits; allowed is [0, {MAX_FRACTION}]")
        try:
            # Integers beyond 2^53 stay exact; NumPy's become Python's.
            exact = Fraction(int(bound) if isinstance(bound, (int, np.integer)) else float(bound))
        except (TypeError, ValueError, OverflowError):
            raise ParameterError(f"bound is {bound!r}; it has to be a number, finite and not negative") from None
        if exact < 0:
            raise ParameterError(f"bound is {bound}; it has to be finite and not negative")
        return self._fit(math.ceil(exact * 2**fraction), "the input")

    def public(self, values: Public, *, fraction: int = 0) -> Shared:
        """Numbers that everybody knows, as a tensor; its bound is their largest."""
        self._check()
        array, fraction = _array(values, "the tensor"), _integer(fraction, "fraction")
        _shape(array.shape)
        if array.dtype.kind == "f" and fraction == 0:
            raise EncodingError("the tensor holds floats; pass integers, or bits of fraction")
        self._limit(0, fraction)
        encoded = _integers(array, fraction, self.backend.largest, "the tensor")
        elements = self._encode(encoded.reshape(_held(array.shape)))
        return Shared(self, self.backend.public(elements), array.shape, _extent(encoded), fraction)

    def wrap(self, value: Value, *, bound: int, fraction: int = 0) -> Shared:
        """A tensor out of what the backend computed; the caller vouches for |X| <= bound."""
        self._check()
        if not isinstance(value, Value):
            raise ParameterError(f"{type(value).__name__} is not what a backend computes; pass a Value")
        shape, fraction = value.shape, _integer(fraction, "fraction")
        limit = self._fit(_integer(bound, "bound"), "the tensor")
        return Shared(self, value.map(lambda part: part.reshape(_held(shape))), shape, limit, fraction)

    def wrap_bits(self, bits: Bits, shape: tuple[int, ...]) -> SharedBits:
        """The same for one plane of bits, in C order."""
        self._check()
        if not isinstance(bits, Bits):
            raise ParameterError(f"{type(bits).__name__} is not what a backend computes; pass Bits")
        shape = _shape(shape)
        if bits.planes != 1 or bits.n != _size(shape):
            raise ParameterError(f"{bits.planes} planes of {bits.n} bits are not one bit for each entry of {shape}")
        return SharedBits(self, bits, shape)

    def open(self, x: Shared | SharedBits, to: int | None = None) -> Task[NDArray[Any] | None]:
        """Reveal to all, or to one party.

        Returns:
            a task; awaiting it gives int64 (fraction 0), float64 (else; exact up to 2^53 units) or bool (of bits), of
            the tensor's shape, and None at parties that it was not opened to.

        A number beyond its bound says that some party broke the protocol or its word. Opened to all, it ends the
        computation. Opened to one party, it is cut to its bound, the program goes on, and the party's end raises in
        place of a result once it has returned: whoever lied would learn of an earlier end something about a number
        that is not for it.

        Raises:
            RemoteError: on awaiting: a number that was opened to all is beyond its bound. StateError: the tensor is of
                another computation.
        """
        self._own(x)
        to = None if to is None else _integer(to, "to")
        if to is not None and not 0 <= to < self.n:
            raise ParameterError(f"to is {to}; there are parties 0 .. {self.n - 1}")
        self._tell()
        if isinstance(x, SharedBits):
            return self._begin(self._open_bits, x._source, x.shape, to)
        if isinstance(x._held, _Ordered):
            return self._begin(self._open_ordered, x._held.planes, x._held.arrange, x, to)
        return self._begin(self._open_number, x._source, x, to)

    async def _open_number(self, value: Value, x: Shared, to: int | None) -> NDArray[Any] | None:
        opened = await self.backend.open(value, to)
        return None if opened is None else self._checked(self.backend.decode(opened).reshape(x.shape), x, to)

    async def _open_ordered(
        self, planes: Bits, arrange: Callable[[NDArray[Any]], NDArray[Any]], x: Shared, to: int | None
    ) -> NDArray[Any] | None:
        opened = await self._replicated("bits").open_bits(planes, to)
        if opened is None:
            return None
        unsigned = _core.from_planes(np.ascontiguousarray(opened), planes.n)
        spare = 64 - planes.planes
        numbers = (unsigned << np.uint64(spare)).view(np.int64) >> spare
        return self._checked(arrange(numbers).reshape(x.shape), x, to)

    def _checked(self, numbers: I64Array, x: Shared, to: int | None) -> NDArray[Any]:
        if numbers.size and _extent(numbers) > x.bound:
            error = RemoteError(None, "open", f"a number beyond its bound of {x.bound}; some party broke the protocol")
            if to is None:
                raise error
            scheduler = self.backend.scheduler
            scheduler.objection = scheduler.objection or error
            numbers = np.clip(numbers, -x.bound, x.bound)
        return decode_fixed(numbers, x.fraction) if x.fraction else numbers

    async def _open_bits(self, bits: Bits, shape: tuple[int, ...], to: int | None) -> BoolArray | None:
        opened = await self._replicated("bits").open_bits(bits, to)
        if opened is None:
            return None
        found: BoolArray = _core.from_planes(np.ascontiguousarray(opened), bits.n).astype(np.bool_).reshape(shape)
        return found

    async def gather(self, *several: Awaitable[Any]) -> tuple[Any, ...]:
        """Await several at once; they share rounds anyway."""
        return tuple([await one for one in several])

    # ---- several tensors ----

    def _same(self, several: Sequence[Shared]) -> tuple[list[_Source], int, int]:
        """Brought to one fraction."""
        if not isinstance(cast(object, several), Sequence) or not several:
            raise ParameterError("no tensors; pass a list of one or more")
        for x in several:
            self._own(x)
        fraction = max(x.fraction for x in several)
        raised = [x.fixed(fraction) for x in several]
        return [x._source for x in raised], max(x.bound for x in raised), fraction

    def concatenate(self, several: Sequence[Shared], axis: int = 0) -> Shared:
        """Along an axis that there is."""
        sources, bound, fraction = self._same(several)
        at = _axis(axis, several[0].shape)
        rests = {(*x.shape[:at], -1, *x.shape[at + 1 :]) for x in several}
        if len(rests) != 1:
            raise ParameterError(f"shapes {[x.shape for x in several]} differ outside of axis {at}")
        shape = (*several[0].shape[:at], sum(x.shape[at] for x in several), *several[0].shape[at + 1 :])
        self._note("concatenate", at, [x.shape for x in several])
        return Shared(self, self._local(_joined(np.concatenate, at), *sources), shape, bound, fraction)

    def stack(self, several: Sequence[Shared], axis: int = 0) -> Shared:
        """Along a new axis."""
        sources, bound, fraction = self._same(several)
        if len({x.shape for x in several}) != 1:
            raise ParameterError(f"shapes {[x.shape for x in several]} differ")
        at = _axis(axis, (1, *several[0].shape))
        shape = (*several[0].shape[:at], len(several), *several[0].shape[at:])
        self._note("stack", at, shape)
        if not several[0].shape:
            return Shared(self, self._local(_joined(np.concatenate, 0), *sources), shape, bound, fraction)
        return Shared(self, self._local(_joined(np.stack, at), *sources), shape, bound, fraction)

    def where(self, condition: SharedBits, a: Shared | Public, b: Shared | Public) -> Shared:
        """a where the bit is set, else b: b + condition (a - b). Costs a product, and 3 rounds to make a number of
        the bit."""
        self._own(condition)
        fraction = max([x.fraction for x in (a, b) if isinstance(x, Shared)], default=0)
        yes, no = (x if isinstance(x, Shared) else self.public(x, fraction=fraction) for x in (a, b))
        bound = max(yes.fixed(fraction).bound, no.fixed(fraction).bound)
        chosen = no + condition.number() * (yes - no)
        return Shared(self, chosen._source, chosen.shape, bound, fraction)


def _joined(join: Callable[..., NDArray[Any]], axis: int) -> Callable[..., Value]:
    def apply(*values: Value) -> Value:
        parts = tuple(join(parts, axis=axis) for parts in zip(*(value.parts for value in values), strict=True))
        return Elements(parts) if isinstance(values[0], Elements) else Value(parts)

    return apply


def decode_fixed(numbers: I64Array, fraction: int) -> F64Array:
    """X / 2^fraction as float64: exact for |X| <= 2^53, else rounded to 53 bits.

    >>> decode_fixed(np.array([-3, 1 << 20]), 16).tolist()
    [-4.57763671875e-05, 16.0]
    """
    decoded: F64Array = np.ldexp(numbers.astype(np.float64), -fraction)
    return decoded


@dataclass(frozen=True)
class _Ordered:
    """A tensor that is still bits: planes in two's complement, and how their lanes become its entries."""

    planes: Task[Bits]
    arrange: Callable[[NDArray[Any]], NDArray[Any]]


class Shared:
    """A tensor that nobody sees. Made by `Mpc.input`, `Mpc.public` and operators.

    Attributes:
        shape: as NumPy's.
        bound: on |X|, the integers that are shared; X / 2^fraction is what they stand for.
        fraction: bits of fixed point, 0 for integers.
    """

    __slots__ = ("_held", "_mpc", "bound", "fraction", "shape")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, mpc: Mpc, source: _Source | _Ordered, shape: tuple[int, ...], bound: int, fraction: int) -> None:
        self._mpc = mpc
        self._held = source
        self.shape = shape
        self.bound = bound
        self.fraction = fraction

    @property
    def _source(self) -> _Source:
        """The numbers, made of bits now if they have not been."""
        if isinstance(self._held, _Ordered):
            mpc, arrange = self._mpc, self._held.arrange
            backend = mpc._replicated("bits")

            async def work(planes: Bits) -> Value:
                return (await circuits.to_numbers(backend, planes, signed=True)).map(arrange)

            self._held = mpc._begin(work, self._held.planes)
        return self._held

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Entries."""
        return _size(self.shape)

    def __repr__(self) -> str:
        return f"Shared(shape={self.shape}, bound={self.bound}, fraction={self.fraction}, <hidden>)"

    def __bool__(self) -> bool:
        raise ParameterError("a shared number has no truth value; open it, or choose with `where`")

    def __await__(self) -> Any:
        """Wait until it has been computed; gives the tensor itself."""
        self._mpc._own(self)
        held = self._held.planes if isinstance(self._held, _Ordered) else self._held
        if isinstance(held, Task):
            yield from held.__await__()
        return self

    async def value(self) -> Value:
        """What this party holds of it: for code that talks to the backend."""
        self._mpc._own(self)
        shape = self.shape
        value = await self._source if isinstance(self._source, Task) else self._source
        return value if value.shape == shape else value.map(lambda part: part.reshape(shape))

    def _like(self, source: _Source, *, shape: tuple[int, ...] | None = None, bound: int | None = None) -> Shared:
        return Shared(
            self._mpc,
            source,
            self.shape if shape is None else shape,
            self.bound if bound is None else bound,
            self.fraction,
        )

    def _map(self, change: Callable[[U64Array], Any], shape: tuple[int, ...]) -> Shared:
        old, held = self.shape, _held(shape)

        def apply(value: Value) -> Value:
            return value.map(lambda part: np.asarray(change(part.reshape(old))).reshape(held))

        return self._like(self._mpc._local(apply, self._source), shape=shape)

    # ---- shapes ----

    def __len__(self) -> int:
        if not self.shape:
            raise ParameterError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Shared]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Shared:
        """NumPy's indexing with public indices."""
        try:
            shape = np.broadcast_to(np.False_, self.shape)[key].shape
        except (IndexError, ValueError) as error:
            raise ParameterError(f"index into shape {self.shape}: {error}") from None
        if 0 in shape:
            raise ParameterError(f"this index leaves nothing of shape {self.shape}")
        fixed, said = _index(key)
        self._mpc._note("index", self.shape, said)
        return self._map(lambda part: part[fixed], shape)

    def reshape(self, *shape: int | tuple[int, ...]) -> Shared:
        """The same entries in C order."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        try:
            found = np.broadcast_to(np.False_, self.shape).reshape(cast("tuple[int, ...]", wanted)).shape
        except (ValueError, TypeError):
            raise ParameterError(f"shape {self.shape} cannot become {wanted}") from None
        self._mpc._note("reshape", self.shape, found)
        return self._map(lambda part: part.reshape(found), found)

    def ravel(self) -> Shared:
        """One axis."""
        return self.reshape(-1)

    @property
    def T(self) -> Shared:
        """The axes in reverse order."""
        self._mpc._note("transpose", self.shape)
        return self._map(lambda part: part.T, self.shape[::-1])

    def moveaxis(self, source: int, destination: int) -> Shared:
        """One axis elsewhere."""
        source, destination = _axis(source, self.shape), _axis(destination, self.shape)
        shape = np.moveaxis(np.broadcast_to(np.False_, self.shape), source, destination).shape
        self._mpc._note("moveaxis", self.shape, source, destination)
        return self._map(lambda part: np.moveaxis(part, source, destination), shape)

    # ---- fixed point ----

    def fixed(self, fraction: int) -> Shared:
        """The same numbers with more bits of fraction (exact) or fewer (one truncation)."""
        mpc, fraction = self._mpc, _integer(fraction, "fraction")
        mpc._own(self)
        mpc._limit(0, fraction)
        by = fraction - self.fraction
        if by == 0:
            return self
        if by > 0:
            bound = mpc._fit(self.bound << by, "a tensor with more bits of fraction")
            factor = mpc.backend.encode(np.array([1 << by]))
            mpc._note("raise", self.shape, by)
            return Shared(
                mpc,
                mpc._local(lambda value: mpc.backend.scale(value, factor), self._source),
                self.shape,
                bound,
                fraction,
            )
        return mpc._truncated(
            self._source, self.shape, self.bound, -by, fraction, "a tensor with fewer bits of fraction"
        )

    def _aligned(self, other: Shared) -> tuple[Shared, Shared]:
        fraction = max(self.fraction, other.fraction)
        return self.fixed(fraction), other.fixed(fraction)

    def _operand(self, other: object) -> Shared | NDArray[Any]:
        """Whatever stands on the other side of an operator; raises for what cannot."""
        self._mpc._own(self)
        if isinstance(other, (Shared, SharedBits)):
            self._mpc._own(other)
            return other.number() if isinstance(other, SharedBits) else other
        array = _array(cast(Any, other), "the public operand")
        if array.size == 0:
            raise ParameterError("the public operand is empty")
        return array

    def _encoded(self, array: NDArray[Any], rounding: _Rounding = "nearest") -> I64Array:
        """A public array in this tensor's fraction."""
        if array.dtype.kind == "f" and self.fraction == 0 and rounding == "nearest":
            raise EncodingError("floats with an integer tensor; give it bits of fraction first: x.fixed(16)")
        return _integers(array, self.fraction, self._mpc.backend.largest, "the public operand", rounding)

    # ---- linear ----

    def __neg__(self) -> Shared:
        backend = self._mpc.backend
        minus = backend.encode(np.array([-1]))
        self._mpc._note("negate", self.shape)
        return self._like(self._mpc._local(lambda value: backend.scale(value, minus), self._source))

    def __pos__(self) -> Shared:
        return self

    def _added(self, other: object, sign: int) -> Shared:
        right = self._operand(other)
        mpc, backend = self._mpc, self._mpc.backend
        if isinstance(right, Shared):
            a, b = self._aligned(right)
            bound = mpc._fit(a.bound + b.bound, "the sum")
            shape = _broadcast(a.shape, b.shape)
            work = backend.add if sign > 0 else backend.sub
            mpc._note("add" if sign > 0 else "subtract", a.shape, b.shape)
            return Shared(mpc, mpc._local(work, a._source, b._source), shape, bound, a.fraction)
        return self._plus(sign * self._encoded(right))

    def _plus(self, encoded: I64Array) -> Shared:
        """Plus public integers, in units of the last place."""
        mpc, backend = self._mpc, self._mpc.backend
        bound = mpc._fit(self.bound + _extent(encoded), "the sum")
        shape = _broadcast(self.shape, encoded.shape)
        mpc._note("add public", self.shape)
        held, elements = _held(shape), mpc._encode(encoded)

        def apply(value: Value) -> Value:
            if value.shape != held:
                value = value.map(lambda part: np.broadcast_to(part, held))
            return backend.add_public(value, elements)

        return self._like(mpc._local(apply, self._source), shape=shape, bound=bound)

    def __add__(self, other: object) -> Shared:
        return self._added(other, 1)

    __radd__ = __add__

    def __sub__(self, other: object) -> Shared:
        return self._added(other, -1)

    def __rsub__(self, other: object) -> Shared:
        return (-self)._added(other, 1)

    def sum(self, axis: int | None = None) -> Shared:
        """Over one axis, or all."""
        mpc = self._mpc
        mpc._own(self)
        axes = tuple(range(self.ndim)) if axis is None else (_axis(axis, self.shape),)
        count = _size(tuple(self.shape[i] for i in axes))
        bound = mpc._fit(self.bound * count, "the sum")
        shape = tuple(size for i, size in enumerate(self.shape) if i not in axes)
        if not axes:
            return self
        held = _held(shape)
        mpc._note("sum", self.shape, axes)

        def apply(value: Value) -> Value:
            return mpc.backend.sum(value, axes).map(lambda part: part.reshape(held))

        return self._like(mpc._local(apply, self._source), shape=shape, bound=bound)

    def mean(self, axis: int | None = None) -> Shared:
        """Over one axis, or all; of a tensor with bits of fraction."""
        if self.fraction == 0:
            raise ParameterError("the mean of integers has a fraction; give the tensor bits for it first: x.fixed(16)")
        total = self.sum(axis)
        return total * (total.size / self.size)

    # ---- products ----

    def _real_factor(self, array: F64Array, terms: Callable[[I64Array], int]) -> tuple[I64Array, int]:
        """round(c 2^k), and k, the largest for which `terms`, the bound of the product, stays below 2^62.

        The largest factor keeps max(fraction, 16) significant bits, or is exact, or its rounding moves no result by
        more than half a unit; otherwise it is refused.
        """
        most = float(np.abs(array).max())
        # bound >= 2^(bits - 1) and c >= 2^(e - 1), so that no larger k comes into question.
        k = min(MAX_FRACTION, 64 - math.frexp(most)[1] - self.bound.bit_length())
        while k >= 0:
            with np.errstate(over="ignore"):
                scaled = np.rint(np.ldexp(array, k))
            if np.abs(scaled).max() < 2.0**62:
                found = scaled.astype(np.int64)
                if terms(found) <= _TRUNCATABLE:
                    break
            k -= 1
        else:
            k = -1
        exact = k >= 0 and bool((np.ldexp(found.astype(np.float64), -k) == array).all())
        needed = max(self.fraction, _FACTOR_BITS)
        if k < 0 or not (exact or int(np.abs(found).max()) >> (needed - 1) or terms(np.ones_like(found)) <= 1 << k):
            raise ParameterError(
                f"beside the tensor's bound a factor of {most:.4g} would keep fewer than {needed} significant bits; "
                "declare tighter bounds or fewer bits of fraction"
            )
        # An integer over a small power of two needs no more bits than it has.
        used = int(np.bitwise_or.reduce(found, axis=None))
        if used == 0:
            return found, 0
        spare = min(k, (used & -used).bit_length() - 1)
        return found >> spare, k - spare

    def _times_public(
        self,
        array: NDArray[Any],
        work: Callable[[Value, U64Array], Value],
        shape: tuple[int, ...],
        terms: Callable[[I64Array], int],
    ) -> Shared:
        """A linear map with public coefficients; `terms` is the bound of its result before truncation."""
        mpc = self._mpc
        shift = 0
        if array.dtype.kind == "f":
            if self.fraction == 0:
                raise EncodingError("floats with an integer tensor; give it bits of fraction first: x.fixed(16)")
            if np.any(array % 1):
                mpc._replicated("truncation")  # what is in the way, before any bound
            factors, shift = self._real_factor(array, terms)
        else:
            factors = _integers(array, 0, mpc.backend.largest, "the public operand")
        bound = mpc._fit(terms(factors), "the product")
        elements = mpc._encode(factors)
        raw = mpc._local(lambda value: work(value, elements), self._source)
        if shift:
            return mpc._truncated(raw, shape, bound, shift, self.fraction, "the product")
        return self._like(raw, shape=shape, bound=bound)

    def _product(
        self,
        other: Shared,
        work: Callable[[Value, Value], Coroutine[Any, Any, Value]],
        truncated: Callable[[ReplicatedBackend, Value, Value, int, int], Coroutine[Any, Any, Value]],
        shape: tuple[int, ...],
        terms: int,
    ) -> Shared:
        """Sums of `terms` products each; `truncated` is `work` and a truncation of what is at most a bound."""
        mpc, backend = self._mpc, self._mpc.backend
        bound = self.bound * other.bound * terms
        fraction = self.fraction + other.fraction
        shift = min(self.fraction, other.fraction)
        if shift == 0 or not isinstance(backend, ReplicatedBackend):
            mpc._fit(bound, "the product")
            mpc._fit_fraction(fraction)
            return Shared(mpc, mpc._begin(work, self._source, other._source), shape, bound, fraction)
        mpc._fit_truncation(bound, "the product")

        async def run(x: Value, y: Value) -> Value:
            return await truncated(backend, x, y, shift, bound)

        source = mpc._begin(run, self._source, other._source)
        return Shared(mpc, source, shape, (bound >> shift) + 1, fraction - shift)

    def __mul__(self, other: object) -> Shared:
        right = self._operand(other)
        shape = _broadcast(self.shape, right.shape)
        backend = self._mpc.backend
        if isinstance(right, Shared):
            return self._product(right, backend.mul, _mul_truncated, shape, 1)

        def apply(value: Value, factors: U64Array) -> Value:
            return backend.scale(value, factors)

        self._mpc._note("multiply by public", self.shape)
        return self._times_public(right, apply, shape, lambda factors: self.bound * _extent(factors))

    __rmul__ = __mul__

    def __matmul__(self, other: object) -> Shared:
        """(n, k) @ (k, m), where either may be a vector; truncated once."""
        right = self._operand(other)
        rows, columns, shape = _matmul_shapes(self.shape, right.shape)
        backend = self._mpc.backend
        if isinstance(right, Shared):
            left, high = self.reshape(rows), right.reshape(columns)
            product = left._product(high, backend.matmul, _matmul_truncated, (rows[0], columns[1]), rows[1])
            return product.reshape(shape)
        return self.reshape(rows)._matmul_public(right.reshape(columns)).reshape(shape)

    def __rmatmul__(self, other: object) -> Shared:
        left = self._operand(other)
        rows, columns, shape = _matmul_shapes(left.shape, self.shape)
        if isinstance(left, Shared):
            raise ParameterError("both sides are shared")
        return self.reshape(columns).T._matmul_public(left.reshape(rows).T).T.reshape(shape)

    def _matmul_public(self, right: NDArray[Any]) -> Shared:
        backend = self._mpc.backend

        def terms(factors: I64Array) -> int:
            """Columns' absolute sums, if these fit; else their largest entry times their length."""
            most = _extent(factors)
            if most * factors.shape[0] < 1 << 63:
                most = int(np.abs(factors).sum(axis=0).max())
            else:
                most *= factors.shape[0]
            return self.bound * most

        return self._times_public(
            right,
            lambda value, factors: backend.matmul_public(value, np.ascontiguousarray(factors)),
            (self.shape[0], right.shape[1]),
            terms,
        )

    def dot(self, other: object) -> Shared:
        """The sum of all products of entries, for one word."""
        if not isinstance(other, Shared | np.ndarray) or other.shape != self.shape:
            raise ParameterError(f"a dot product is of two shared tensors of one shape; this one has {self.shape}")
        return self.ravel() @ other.ravel()

    def gram(self) -> Shared:
        """All dot products of rows: x x^T for (n, d)."""
        if self.ndim != 2:
            raise ParameterError(f"shape is {self.shape}; a Gram matrix is taken of (n, d)")
        backend = self._mpc._replicated("Gram matrix")

        async def work(value: Value, _: Value) -> Value:
            return await backend.gram(value)

        return self._product(self, work, _gram_truncated, (self.shape[0], self.shape[0]), self.shape[1])

    def __pow__(self, exponent: object) -> Shared:
        """A public exponent, 1 <= exponent <= 64, by repeated squaring; each product is truncated."""
        try:
            power = operator.index(cast(Any, exponent))
        except TypeError:
            raise ParameterError("an exponent is a public integer") from None
        if not 1 <= power <= 64:
            raise ParameterError(f"the exponent is {power}; allowed is [1, 64]")
        result: Shared | None = None
        square = self
        while True:
            if power & 1:
                result = square if result is None else result * square
            power >>= 1
            if power == 0:
                return cast(Shared, result)
            square = square * square

    # ---- comparison ----

    def _below_zero(self) -> SharedBits:
        """X < 0."""
        mpc = self._mpc
        backend = mpc._replicated("comparison")
        width = self.bound.bit_length() + 1
        return SharedBits(mpc, mpc._begin(circuits.sign, backend, self._source, width), self.shape)

    def _minus(self, other: object, rounding: _Rounding) -> Shared:
        """self - other, broadcast, a public `other` rounded so that the comparison is what it says."""
        right = self._operand(other)
        if isinstance(right, Shared):
            return self - right
        return self._plus(-self._encoded(right, rounding))

    # x < c says X < c 2^f, and that is X < ceil(c 2^f); x <= c is X <= floor(c 2^f).
    def __lt__(self, other: object) -> SharedBits:
        return self._minus(other, "up")._below_zero()

    def __ge__(self, other: object) -> SharedBits:
        return ~self._minus(other, "up")._below_zero()

    def __gt__(self, other: object) -> SharedBits:
        return (-self._minus(other, "down"))._below_zero()

    def __le__(self, other: object) -> SharedBits:
        return ~(-self._minus(other, "down"))._below_zero()

    def __eq__(self, other: object) -> SharedBits:  # type: ignore[override]
        difference = self._minus(other, "exact")
        mpc = self._mpc
        backend = mpc._replicated("comparison")
        width = max(1, difference.bound.bit_length())
        return SharedBits(mpc, mpc._begin(circuits.is_zero, backend, difference._source, width), difference.shape)

    def __ne__(self, other: object) -> SharedBits:  # type: ignore[override]
        return ~(self == other)

    def abs(self) -> Shared:
        """|x|."""
        sign = 1 - 2 * self._below_zero().number()
        return self._like((sign._bounded(1) * self)._source)

    def _bounded(self, bound: int) -> Shared:
        """With a tighter bound, which follows from more than the operators know."""
        return self._like(self._source, bound=bound)

    __abs__ = abs

    # ---- order ----

    def _ranked(
        self, axis: int, ranks: Callable[[int], list[int]], *, keep: bool = True, together: bool = False
    ) -> Shared:
        """Order statistics along one axis, which then has as many entries as there are ranks, or none (`keep`).

        With `together`, the two of them are added. Few items of which one number is wanted are compared as numbers; all
        else is sorted as bits, and stays bits until somebody calculates with it.
        """
        mpc = self._mpc
        mpc._own(self)
        backend = mpc._replicated("order")
        at = _axis(axis, self.shape)
        count = self.shape[at]
        chosen = ranks(count)
        sorting.check_ranks(count, chosen)
        # Which ranks does not always show in what is sent.
        mpc._note("ranks", at, chosen)
        rest = self.shape[:at] + self.shape[at + 1 :]
        lanes, width, rows = _size(rest), self.bound.bit_length() + 1, 1 if together else len(chosen)
        padded = 64 * words(lanes)
        old = self.shape

        exact = (2 * self.bound).bit_length() + 1  # of a difference
        by_sum = (together or len(chosen) == 1) and 2 <= count <= sorting.MAX_TALLIED and exact <= 64
        by_sum = by_sum and set(chosen) not in ({0}, {count - 1})

        def pad(part: U64Array) -> U64Array:
            out = np.zeros((count, padded), np.uint64)
            out[:, :lanes] = np.moveaxis(part.reshape(old), at, 0).reshape(count, lanes)
            return out

        async def numbers(value: Value) -> Value:
            return (await sorting.sum_of_ranks(backend, value.map(pad), exact, chosen)).map(arrange)

        async def work(value: Value) -> Bits:
            planes = await circuits.bits_of(backend, value.map(pad), width)
            found = await sorting.order_statistics(backend, planes, count, chosen, signed=True)
            if not together:
                return found
            both = [Bits(tuple(half), padded) for half in zip(*(np.hsplit(p, 2) for p in found.parts), strict=True)]
            # One more plane takes the carry: the sign, once more.
            return await circuits.add(backend, *[Bits.stack([half, half[-1:]]) for half in both])

        shape = (*old[:at], *([rows] if keep else []), *old[at + 1 :])

        def arrange(flat: NDArray[Any]) -> NDArray[Any]:
            cut = flat.reshape(rows, padded)[:, :lanes]
            return np.moveaxis(cut.reshape(rows, *rest), 0, at).reshape(_held(shape))

        bound = mpc._fit(2 * self.bound, "the sum of both middles") if together else self.bound
        fraction = mpc._fit_fraction(self.fraction + together)
        if by_sum:
            return Shared(mpc, mpc._begin(numbers, self._source), shape, bound, fraction)
        return Shared(mpc, _Ordered(mpc._begin(work, self._source), arrange), shape, bound, fraction)

    def sort(self, axis: int = -1) -> Shared:
        """Ascending along one axis, of at most 1,024 entries."""
        return self._ranked(axis, lambda count: list(range(count)))

    def order(self, ranks: Sequence[int], axis: int = -1) -> Shared:
        """The entries of these ranks along one axis, 0 being the smallest: what a trimmed mean adds up, for example."""
        try:
            wanted = [_integer(rank, "a rank") for rank in ranks]
        except TypeError:
            raise ParameterError(f"ranks is {ranks!r}; pass a list of integers") from None
        return self._ranked(axis, lambda _: wanted)

    def _one(self, axis: int | None, rank: Callable[[int], int]) -> Shared:
        if axis is None:
            return self.ravel()._one(0, rank)
        return self._ranked(axis, lambda count: [rank(count)], keep=False)

    def max(self, axis: int | None = None) -> Shared:
        """The largest along one axis, or of all."""
        return self._one(axis, lambda count: count - 1)

    def min(self, axis: int | None = None) -> Shared:
        """The smallest along one axis, or of all."""
        return self._one(axis, lambda _: 0)

    def median(self, axis: int = 0) -> Shared:
        """The middle along one axis. Of an even number it is the mean of both, exactly: one more bit of fraction."""
        if self.shape[_axis(axis, self.shape)] % 2:
            return self._one(axis, lambda n: n // 2)
        return self._ranked(axis, lambda n: [n // 2 - 1, n // 2], keep=False, together=True)

    # ---- division and functions ----

    def __truediv__(self, other: object) -> Shared:
        right = self._operand(other)
        if isinstance(right, Shared):
            return self.divide(right)
        if not np.all(right != 0):
            raise ParameterError("division by a public zero")
        return self * (1.0 / right)

    def __rtruediv__(self, other: object) -> Shared:
        left = self._operand(other)
        if isinstance(left, Shared):
            raise ParameterError("both sides are shared")
        return self._mpc.public(left, fraction=self.fraction).divide(self)

    def divide(self, divisor: Shared, *, least: float = 0.0) -> Shared:
        """x / y, and 0 where y = 0; see `functions.Division` for the domain and the error.

        `least` is a promise that |y| >= least or y = 0; it makes the bound of the result tighter.
        """
        mpc = self._mpc
        mpc._own(self)
        mpc._own(divisor)
        plan = functions.Division.plan(self.bound, self.fraction, divisor.bound, divisor.fraction, least)
        shape = _broadcast(self.shape, divisor.shape)
        backend = mpc._replicated("division")
        source = mpc._begin(plan.run, backend, self._source, divisor._source)
        return Shared(mpc, source, shape, plan.bound, plan.fraction)

    def _function(self, plan: functions.Plan) -> Shared:
        backend = self._mpc._replicated(plan.name)
        source = self._mpc._begin(plan.run, backend, self._source)
        return Shared(self._mpc, source, self.shape, plan.bound, plan.fraction)

    def reciprocal(self, *, least: float = 0.0) -> Shared:
        """1 / x, and 0 for x = 0; see `functions.Reciprocal`. `least` is a promise as for `divide`."""
        self._mpc._own(self)
        return self._function(functions.Reciprocal.plan(self.bound, self.fraction, least))

    def sqrt(self) -> Shared:
        """The square root; see `functions.Root`."""
        self._mpc._own(self)
        return self._function(functions.Root.plan(self.bound, self.fraction, inverse=False))

    def inverse_sqrt(self) -> Shared:
        """1 / sqrt(x); see `functions.Root`."""
        self._mpc._own(self)
        return self._function(functions.Root.plan(self.bound, self.fraction, inverse=True))

    def sigmoid(self) -> Shared:
        """1 / (1 + exp(-x)); see `functions.Sigmoid`."""
        self._mpc._own(self)
        return self._function(functions.Sigmoid.plan(self.bound, self.fraction))


async def _mul_truncated(backend: ReplicatedBackend, x: Value, y: Value, shift: int, _: int) -> Value:
    return await backend.mul_truncated(x, y, shift)


async def _matmul_truncated(backend: ReplicatedBackend, x: Value, y: Value, shift: int, bound: int) -> Value:
    return await backend.matmul_truncated(x, y, shift, bound)


async def _gram_truncated(backend: ReplicatedBackend, x: Value, _: Value, shift: int, bound: int) -> Value:
    return await backend.gram_truncated(x, shift, bound)


def _matmul_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, ...]]:
    """Both as matrices, and the shape of the result."""
    if not 1 <= len(a) <= 2 or not 1 <= len(b) <= 2 or a[-1] != b[0]:
        raise ParameterError(f"shapes {a} and {b} cannot be multiplied; pass (n, k) or (k,), and (k, m) or (k,)")
    rows = (1, a[0]) if len(a) == 1 else (a[0], a[1])
    columns = (b[0], 1) if len(b) == 1 else (b[0], b[1])
    return rows, columns, a[:-1] + b[1:]


class SharedBits:
    """Bits that nobody sees, as comparisons give them: & | ^ ~, `number()`, `Mpc.where`, `Mpc.open`.

    Attributes:
        shape: as NumPy's.
    """

    __slots__ = ("_mpc", "_source", "shape")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, mpc: Mpc, source: Bits | Task[Bits], shape: tuple[int, ...]) -> None:
        self._mpc = mpc
        self._source = source
        self.shape = shape

    def __repr__(self) -> str:
        return f"SharedBits(shape={self.shape}, <hidden>)"

    def __bool__(self) -> bool:
        raise ParameterError("a shared bit has no truth value; open it, or choose with `where`")

    def __await__(self) -> Any:
        """Wait until it has been computed; gives the bits themselves."""
        self._mpc._own(self)
        if isinstance(self._source, Task):
            yield from self._source.__await__()
        return self

    async def value(self) -> Bits:
        """What this party holds of it."""
        self._mpc._own(self)
        return await self._source if isinstance(self._source, Task) else self._source

    def reshape(self, *shape: int | tuple[int, ...]) -> SharedBits:
        """The same bits in C order."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        try:
            found = np.broadcast_to(np.False_, self.shape).reshape(cast("tuple[int, ...]", wanted)).shape
        except (ValueError, TypeError):
            raise ParameterError(f"shape {self.shape} cannot become {wanted}") from None
        self._mpc._note("reshape bits", self.shape, found)
        return SharedBits(self._mpc, self._source, found)

    def _backend(self) -> ReplicatedBackend:
        self._mpc._own(self)
        return self._mpc._replicated("bits")

    def _other(self, other: object) -> SharedBits | U64Array:
        """The other operand: bits of the same shape, or one public plane."""
        if isinstance(other, SharedBits):
            self._mpc._own(other)
            if other.shape != self.shape:
                raise ParameterError(f"bits of shapes {self.shape} and {other.shape}; they have to agree")
            return other
        array = self._booleans(other)
        flat = np.broadcast_to(array, self.shape).reshape(-1).astype(np.uint64)
        self._mpc._encode(flat.view(np.int64))
        plane: U64Array = _core.to_planes(flat, 1)
        return plane

    def _booleans(self, other: object) -> BoolArray:
        """Public booleans that go with these bits: nothing else is taken for true or false."""
        try:
            array = np.asarray(other)
        except ValueError:  # lists of several lengths
            array = np.asarray(None)
        if array.dtype.kind != "b" or _broadcast(array.shape, self.shape) != self.shape:
            raise ParameterError(f"bits of shape {self.shape} go with bits or booleans of that shape")
        return array

    def __xor__(self, other: object) -> SharedBits:
        backend, right = self._backend(), self._other(other)
        self._mpc._note("xor", self.shape, isinstance(right, SharedBits))
        if isinstance(right, SharedBits):
            source = self._mpc._local(backend.xor, self._source, right._source)
        else:
            plane = right
            source = self._mpc._local(lambda bits: backend.xor_public(bits, plane), self._source)
        return SharedBits(self._mpc, source, self.shape)

    def __invert__(self) -> SharedBits:
        backend = self._backend()
        self._mpc._note("invert", self.shape)
        return SharedBits(
            self._mpc, self._mpc._local(lambda bits: circuits.invert(backend, bits), self._source), self.shape
        )

    def __and__(self, other: object) -> SharedBits:
        backend, right = self._backend(), self._other(other)
        if isinstance(right, SharedBits):
            source = self._mpc._begin(backend.bit_and, self._source, right._source)
            return SharedBits(self._mpc, source, self.shape)
        plane = right
        self._mpc._note("and public", self.shape)
        masked = self._mpc._local(lambda bits: bits.map(lambda part: part & plane), self._source)
        return SharedBits(self._mpc, masked, self.shape)

    def __or__(self, other: object) -> SharedBits:
        if not isinstance(other, SharedBits):
            return ~(~self & ~self._booleans(other))
        return ~(~self & ~other)

    __rxor__ = __xor__
    __rand__ = __and__
    __ror__ = __or__

    def __eq__(self, other: object) -> SharedBits:  # type: ignore[override]
        return ~(self ^ other)

    def __ne__(self, other: object) -> SharedBits:  # type: ignore[override]
        return self ^ other

    def number(self) -> Shared:
        """0 and 1 as a tensor of integers."""
        backend, shape = self._backend(), self.shape

        async def work(bits: Bits) -> Value:
            numbers = await backend.to_number(bits, 64)
            return numbers.map(lambda part: part.reshape(_held(shape)))

        return Shared(self._mpc, self._mpc._begin(work, self._source), shape, 1, 0)

"""Replicated sharing among three parties, one of whom may look but not lie.

x = x_0 + x_1 + x_2 modulo 2^64 (or XOR, for bits); party i holds x_i and x_{i+1}: two parties know everything, one
knows nothing. Key k_j goes with component j: parties j and j - 1 know it. Indices count modulo 3. Both draw from it in
the same order: whatever an operation draws, it draws at the same point of its rounds at every party.

* A product: party i computes z_i = x_i y_i + x_i y_{i+1} + x_{i+1} y_i + F(k_i) - F(k_{i+1}) and sends it to party
  i - 1. The z_i add up to x y, and the F make each of them uniform on its own. A dot product adds up before it is sent.
* Of matrices, party 1 takes x_2 y_2 over from party 2 and computes (x_1 + x_2)(y_1 + y_2): five products of matrices in
  all instead of six. Three, one each, would need coefficients a b' = 1 and a + a' = 1 that are all units modulo 2^64,
  and the sum of two units is even.
* Of twice the product, three are enough:
      2 x y = -2 (x_0 - x_1)(y_0 - y_1) + (2 x_1 + x_2)(2 y_1 + y_2) + (x_2 + 2 x_0)(y_2 + 2 y_0),
  one for each party. A truncation by one more bit takes the factor away, where there is room for it, and comparisons
  do not see it.
* A product that is truncated is not reshared first: u = z_0 + F(k_0) + F(k_1) is known to party 0, and parties 1 and 2
  tell each other z_1 - F(k_1) and z_2 - F(k_0), which add up to t. Both messages are uniform to their receiver.
* Addends: u = x_0 + x_1 is known to party 0, t = x_2 to parties 1 and 2. Their product: u = u_0 + u_1 with u_0 =
  F(k_0), which parties 0 and 2 know, and u_1, which party 0 sends to party 1; party 2 has u_0 t, party 1 has u_1 t, and
  both pass what they have, masked by a key that the other lacks.

Security: semi-honest, one of three, with private and authentic channels and AES-128 as a pseudo-random function. A
party that lies changes results unnoticed.

Sources: Araki, Furukawa, Lindell, Nof, Ohara, "High-Throughput Semi-Honest Secure Three-Party Computation with an
Honest Majority", CCS 2016, section 2; Mohassel, Rindal, "ABY3", CCS 2018. Truncation, bits to numbers and extension are
derived where they stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, Change, ReplicatedBackend, Value, as_words, words
from privcomp.mpc.blocks import Sums, monomials, plan
from privcomp.mpc.circuits import carry
from privcomp.mpc.engine import Exchange, Scheduler, Section, Session
from privcomp.mpc.packing import narrow, narrow_bytes, widen
from privcomp.mpc.security import Adversary, Guarantee, Security
from privcomp.mpc.streams import KEY_BYTES, Stream, add_at, add_streams, xor_streams
from privcomp.typing import U64Array

__all__ = ["Rep3"]

_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_OFFSET: Final = np.uint64(1 << 62)
_THIN: Final = 2
_ROOM: Final = 1 << 62
"""What is truncated is smaller."""
_DOUBLED: Final = ((1, -1), (2, 1), (1, 2))
"""By party: p, q of the factors p x_i + q x_{i+1} whose products, with the next number, add up to 2 x y."""
_WEIGHTS: Final = (-2, 1, 1)


def _zeros(shape: tuple[int, ...]) -> U64Array:
    """An array of zeros that takes no memory; never written to, as no part of a value is."""
    return np.broadcast_to(_ZERO, shape)


def _array(section: memoryview, shape: tuple[int, ...]) -> U64Array:
    return np.frombuffer(section, np.uint64).reshape(shape)


class Rep3(ReplicatedBackend):
    """One party of three. See the module for the protocol."""

    security = Security(
        Adversary.SEMI_HONEST,
        3,
        1,
        Guarantee.CORRECT_IF_HONEST,
        ("private, authentic channels between each two parties", "AES-128 is a pseudo-random function"),
    )

    def __init__(self, scheduler: Scheduler, session: Session, me: int) -> None:
        super().__init__(scheduler, session, me)
        if self.n != 3:
            raise ParameterError(f"rep3 runs among 3 parties; the session names {self.n}")
        self.next = (me + 1) % 3
        self.held = (me, self.next)
        self.previous = (me - 1) % 3
        self._streams: dict[int, Stream] = {}

    async def setup(self, rng: Callable[[int], bytes]) -> None:
        self.scheduler.spawn(self._at_end(self._wipe))
        key = rng(KEY_BYTES)
        got = await Exchange("setup", {self.previous: key}, {self.next: KEY_BYTES})
        for component, secret in ((self.me, key), (self.next, bytes(got[self.next]))):
            self._streams[component] = Stream(secret, self.session.digest, bytes([component]))

    def _wipe(self) -> None:
        for stream in self._streams.values():
            stream.wipe()
        self._streams.clear()

    @property
    def _mine(self) -> Stream:
        return self._streams[self.me]

    @property
    def _second(self) -> Stream:
        return self._streams[self.next]

    # ---- numbers ----

    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        # Component `owner` is common randomness, component owner + 2 is zero, and component owner + 1 is what is left.
        self._check_party("owner", owner)
        label = f"input {owner} {shape}"
        zero = _zeros(shape)
        if self.me == owner:
            if values is None or values.shape != shape:
                raise ParameterError(f"party {owner} owns this input and has to pass an array of shape {shape}")
            first = self._mine.words(shape)
            second = as_words("the input", values) - first
            await Exchange(label, {self.next: second}, {})
            return Value((first, second))
        if self.me == (owner + 1) % 3:
            got = await Exchange(label, {}, {owner: 8 * zero.size})
            return Value((_array(got[owner], shape), zero))
        second = self._second.words(shape)
        await Exchange(label, {}, {}, 8 * zero.size)
        return Value((zero, second))

    async def open(self, a: Value, to: int | None = None) -> U64Array | None:
        self._check_party("to", to)
        # Party i lacks component i - 1, which party i - 1 holds as its first.
        sends: dict[int, Section] = {self.next: a.parts[0]} if to in (None, self.next) else {}
        wants = {self.previous: 8 * a.parts[0].size} if to in (None, self.me) else {}
        got = await Exchange(f"open {to} {a.shape}", sends, wants, 8 * a.parts[0].size)
        if not wants:
            return None
        total: U64Array = a.parts[0] + a.parts[1] + _array(got[self.previous], a.shape)
        return total

    async def _reshare(self, label: str, mine: U64Array) -> Value:
        """From one additive share per party, masked in place, to a replicated sharing."""
        add_streams(mine, self._mine, self._second)
        got = await Exchange(f"{label} {mine.shape}", {self.previous: mine}, {self.next: mine.nbytes})
        return Value((mine, _array(got[self.next], mine.shape)))

    def _mul(self, a: Value, b: Value) -> U64Array:
        """This party's additive share of a b, not masked yet."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        x, y = (
            [np.ascontiguousarray(np.broadcast_to(part, shape)).reshape(-1) for part in value.parts] for value in (a, b)
        )
        mine = np.empty(x[0].size, np.uint64)
        _core.rep3_product(*x, *y, out=mine)
        return mine.reshape(shape)

    async def mul(self, a: Value, b: Value) -> Value:
        return await self._reshare("mul", self._mul(a, b))

    async def mul_truncated(self, a: Value, b: Value, shift: int) -> Value:
        return await self._truncated("mul", self._mul(a, b), shift)

    def _matmul(self, a: Value, b: Value) -> U64Array:
        """This party's additive share of a b."""
        x, y = ([np.ascontiguousarray(part) for part in value.parts] for value in (a, b))
        mine = np.empty((a.shape[0], b.shape[1]), np.uint64)
        for i, (left, right) in enumerate(self._factors(x, y)):
            _core.ring_matmul(left, right, out=mine, accumulate=i > 0)
        return mine

    def _matmul_doubled(self, a: Value, b: Value) -> U64Array:
        """This party's additive share of 2 a b."""
        p, q = _DOUBLED[self.me]
        weight = _WEIGHTS[self.me]
        x, y = ([np.ascontiguousarray(part) for part in value.parts] for value in (a, b))
        left, right = _core.ring_combine(x[0], weight * p, x[1], weight * q), _core.ring_combine(y[0], p, y[1], q)
        return _core.ring_matmul(left, right)

    @staticmethod
    def _check_matmul(a: Value, b: Value) -> None:
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
            raise ParameterError(f"shapes {a.shape} and {b.shape} cannot be multiplied; pass (n, k) and (k, m)")

    async def matmul(self, a: Value, b: Value) -> Value:
        self._check_matmul(a, b)
        return await self._reshare("matmul", self._matmul(a, b))

    async def matmul_truncated(self, a: Value, b: Value, shift: int, bound: int) -> Value:
        self._check_matmul(a, b)
        # Thin ones are as fast as the other matrix is read, and adding that up costs more.
        if self._has_room(shift, bound) and min(a.shape[0], b.shape[1]) > _THIN:
            return await self._truncated("matmul", self._matmul_doubled(a, b), shift + 1)
        return await self._truncated("matmul", self._matmul(a, b), shift)

    @staticmethod
    def _has_room(shift: int, bound: int) -> bool:
        """Whether twice a number can be truncated by one bit more."""
        return 2 * bound < _ROOM and shift < 62

    def _factors(self, x: list[U64Array], y: list[U64Array]) -> list[tuple[U64Array, U64Array]]:
        """Pairs of matrices whose products add up to what this party computes; the smaller operand is added up."""
        if self.me == 2:
            return [(x[0], y[1]), (x[1], y[0])]  # x_2 y_0 + x_0 y_2: party 1 has x_2 y_2
        if self.me == 0:  # x_0 y_0 + x_0 y_1 + x_1 y_0
            return [(x[0] + x[1], y[0]), (x[0], y[1])] if x[0].size < y[0].size else [(x[0], y[0] + y[1]), (x[1], y[0])]
        if x[0].shape[0] <= _THIN:  # as fast as the other matrix is read: adding that up first costs more
            return [(x[0] + x[1], y[0]), (x[0] + x[1], y[1])]
        if y[0].shape[1] <= _THIN:
            return [(x[0], y[0] + y[1]), (x[1], y[0] + y[1])]
        return [(x[0] + x[1], y[0] + y[1])]

    @staticmethod
    def _check_gram(a: Value) -> None:
        if len(a.shape) != 2:
            raise ParameterError(f"shape is {a.shape}; a Gram matrix is taken of (n, d)")

    def _gram(self, a: Value) -> U64Array:
        """This party's additive share of a a^T."""
        x = [np.ascontiguousarray(part) for part in a.parts]
        if self.me == 0:
            return _core.rep3_gram(x[0], x[1])
        if self.me == 1:
            return _core.ring_gram(x[0], 1, x[1], 1)
        return _core.cross_gram(x[0], x[1])

    def _gram_doubled(self, a: Value) -> U64Array:
        """This party's additive share of 2 a a^T: of the three products for matrices, each is symmetric here."""
        x = [np.ascontiguousarray(part) for part in a.parts]
        p, q = _DOUBLED[self.me]
        mine = _core.ring_gram(x[0], p, x[1], q)
        mine *= np.uint64(_WEIGHTS[self.me] % (1 << 64))
        return mine

    async def gram(self, a: Value) -> Value:
        self._check_gram(a)
        return await self._reshare("gram", self._gram(a))

    async def gram_truncated(self, a: Value, shift: int, bound: int) -> Value:
        self._check_gram(a)
        if self._has_room(shift, bound):
            return await self._truncated("gram", self._gram_doubled(a), shift + 1)
        return await self._truncated("gram", self._gram(a), shift)

    async def gram_doubled(self, blocks: Sequence[Value]) -> Value:
        for block in blocks:
            self._check_gram(block)
        mine = self._gram_doubled(blocks[0])
        for block in blocks[1:]:
            mine += self._gram_doubled(block)
        return await self._reshare("gram-doubled", mine)

    # ---- bits ----

    async def input_bits(self, owner: int, planes: U64Array | None, count: int, n: int) -> Bits:
        self._check_party("owner", owner)
        shape = (count, words(n))
        label = f"input-bits {owner} {shape}"
        zero = _zeros(shape)
        if self.me == owner:
            if planes is None or planes.shape != shape:
                raise ParameterError(f"party {owner} owns these bits and has to pass planes of shape {shape}")
            first = np.zeros(shape, np.uint64)
            xor_streams(first, self._mine)
            second = as_words("the input", planes) ^ first
            await Exchange(label, {self.next: second}, {})
            return Bits((first, second), n)
        if self.me == (owner + 1) % 3:
            got = await Exchange(label, {}, {owner: zero.nbytes})
            return Bits((_array(got[owner], shape), zero), n)
        second = np.zeros(shape, np.uint64)
        xor_streams(second, self._second)
        await Exchange(label, {}, {}, zero.nbytes)
        return Bits((zero, second), n)

    async def bit_and(self, a: Bits, b: Bits) -> Bits:
        mine = np.empty(a.parts[0].shape, np.uint64)
        x, y = ([np.ascontiguousarray(part).reshape(-1) for part in bits.parts] for bits in (a, b))
        _core.rep3_and(*x, *y, out=mine.reshape(-1))
        xor_streams(mine, self._mine, self._second)
        got = await Exchange(f"and {mine.shape}", {self.previous: mine}, {self.next: mine.nbytes})
        return Bits((mine, _array(got[self.next], mine.shape)), a.n)

    async def open_bits(self, a: Bits, to: int | None = None) -> U64Array | None:
        self._check_party("to", to)
        shape = a.parts[0].shape
        sends: dict[int, Section] = {self.next: a.parts[0]} if to in (None, self.next) else {}
        wants = {self.previous: a.parts[0].nbytes} if to in (None, self.me) else {}
        got = await Exchange(f"open-bits {to} {shape}", sends, wants, a.parts[0].nbytes)
        if not wants:
            return None
        total: U64Array = a.parts[0] ^ a.parts[1] ^ _array(got[self.previous], shape)
        return total

    # ---- between numbers and bits: u is party 0's, t is known to parties 1 and 2 ----

    def _known(self, a: Value) -> U64Array:
        """The addend that this party knows, modulo 2^64: component 2, or for party 0 the sum of 0 and 1."""
        if self.me == 0:
            total: U64Array = a.parts[0] + a.parts[1]
            return total
        return a.parts[1] if self.me == 1 else a.parts[0]

    async def addends(
        self, a: Value, width: int, sizes: Sequence[int] = (), change: Change | None = None
    ) -> tuple[Bits, Bits]:
        known = np.ascontiguousarray(self._known(a)).reshape(a.shape)
        known = (known if change is None else change(known)).reshape(-1)
        return await self._known_bits(known, width, sizes)

    async def _known_bits(self, known: U64Array, width: int, sizes: Sequence[int]) -> tuple[Bits, Bits]:
        """The bits of u, which party 0 knows, and of t, which parties 1 and 2 know and which is component 2."""
        n = known.size
        planes = _core.to_planes(known, width)
        if sizes:
            planes = monomials(planes, sizes)
        u = await self.input_bits(0, planes if self.me == 0 else None, len(planes), n)
        zero = _zeros(planes.shape)
        return u, Bits({0: (zero, zero), 1: (zero, planes), 2: (planes, zero)}[self.me], n)

    async def and_addends(self, u: Bits, t: Bits, sums: Sums | None = None) -> Bits:
        # u = u_0 ^ u_1, t = t_2: party 2 has u_0 t, party 1 has u_1 t; z_0 = F(k_0), z_1 = F(k_1).
        shape = u.parts[0].shape if sums is None else (sums.ends.size, u.parts[0].shape[1])
        label = f"and-addends {shape}" if sums is None else f"and-addends {shape} {sums.label}"
        if self.me == 0:
            first, second = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
            xor_streams(first, self._mine)
            xor_streams(second, self._second)
            await Exchange(label, {}, {}, first.nbytes)
            return Bits((first, second), u.n)
        stream, at = (self._mine, 0) if self.me == 1 else (self._second, 1)
        known = np.ascontiguousarray(t.parts[1 - at])
        if sums is None:
            message = u.parts[at] & known
        else:
            message = _core.planes_dot(np.ascontiguousarray(u.parts[at]), known, sums.ends, sums.left, sums.right)
        mask = np.zeros(shape, np.uint64)
        xor_streams(mask, stream)
        message ^= mask
        peer = 3 - self.me
        got = await Exchange(label, {peer: message}, {peer: message.nbytes})
        total = message ^ _array(got[peer], shape)
        return Bits((mask, total) if self.me == 1 else (total, mask), u.n)

    async def _known_share(self, name: str, known: U64Array | None, n: int, width: int) -> Value:
        """[u] of u, which party 0 knows (others pass None), without component 2; right modulo 2^width."""
        if known is not None:
            first = self._mine.words((n,))
            second = known - first
            await Exchange(name, {1: narrow(second, width)}, {})
            return Value((first, second))
        zero = np.zeros(n, np.uint64)
        if self.me == 1:
            got = await Exchange(name, {}, {0: narrow_bytes(n, width)})
            return Value((widen(got[0], n, width), zero))
        part = self._second.words((n,))
        await Exchange(name, {}, {}, narrow_bytes(n, width))
        return Value((zero, part))

    async def _known_times(self, name: str, share: Value, known: U64Array, width: int) -> Value:
        """[u t] from [u], and t, which parties 1 and 2 know; both modulo 2^width."""
        n = known.size
        if self.me == 0:
            product = Value((self._mine.words((n,)), self._second.words((n,))))
            await Exchange(name, {}, {}, narrow_bytes(n, width))
            return product
        part, mask = (share.parts[0], self._mine) if self.me == 1 else (share.parts[1], self._second)
        drawn = mask.words((n,))
        message = part * known
        message -= drawn
        peer = 3 - self.me
        got = await Exchange(name, {peer: narrow(message, width)}, {peer: narrow_bytes(n, width)})
        message = message + widen(got[peer], n, width)
        return Value((drawn, message) if self.me == 1 else (message, drawn))

    async def _known_product(self, label: str, known: U64Array, width: int) -> tuple[Value, Value]:
        """From u, which party 0 knows, and t, which parties 1 and 2 know: [u] and [u t], right modulo 2^width.

        Both as sharings of Z_{2^width} in 64-bit words; [u] has no component 2.
        """
        name = f"{label} {width} ({known.size},)"
        share = await self._known_share(name, known if self.me == 0 else None, known.size, width)
        return share, await self._known_times(name, share, known, width)

    def _assembled(
        self, u: Value, t: U64Array, product: Value, factor: int, constant: int, shape: tuple[int, ...]
    ) -> Value:
        """u + t + factor * product + constant: u has no component 2, and t, which parties 1 and 2 know, is that."""
        parts = []
        for component, first, part in zip((self.me, self.next), u.parts, product.parts, strict=True):
            total = _core.ring_combine(part, factor, t if component == 2 else first, 1)
            if component == 0 and constant:
                total += np.uint64(constant % (1 << 64))
            parts.append(total.reshape(shape))
        return Value(tuple(parts))

    async def to_number(self, bits: Bits, width: int) -> Value:
        # b = u ^ t = u + t - 2 u t with u = b_0 ^ b_1 and t = b_2.
        if bits.planes != 1:
            raise ParameterError(f"{bits.planes} planes; pass one")
        plane = {0: bits.parts[0] ^ bits.parts[1], 1: bits.parts[1], 2: bits.parts[0]}[self.me]
        known = _core.from_planes(np.ascontiguousarray(plane), bits.n)
        u, product = await self._known_product("to-number", known, width)
        return self._assembled(u, known, product, -2, 0, known.shape)

    def _addend_bits(self, bits: Bits, n: int) -> U64Array:
        """What this party knows of all planes, b_0 ^ b_1 or b_2, behind each other: words 0 and 1."""
        planes = {0: bits.parts[0] ^ bits.parts[1], 1: bits.parts[1], 2: bits.parts[0]}[self.me]
        return _core.from_planes(np.ascontiguousarray(planes).reshape(1, -1), n)

    async def _give(self, label: str, numbers: U64Array) -> None:
        """Party 0's end of `_take`; the numbers are overwritten."""
        flat = numbers.reshape(-1)
        add_at(flat, self._mine, self._mine.take(flat.size), negate=True)
        await Exchange(label, {1: flat}, {})

    async def _take(self, label: str, shape: tuple[int, ...]) -> U64Array:
        """One addend of numbers that party 0 has: party 2 draws F(k_0), as party 0 does, and party 1 gets the rest."""
        if self.me == 1:
            got = await Exchange(label, {}, {0: 8 * math.prod(shape)})
            return _array(got[0], shape)
        part = self._second.words(shape)
        await Exchange(label, {}, {}, part.nbytes)
        return part

    async def choose_sum(self, bits: Bits, a: Value) -> Value:
        # Each bit is b = u ^ t = t + s u with s = 1 - 2 t, so that b x = t x + s (u (x_0 + x_1) + u x_2). Party 0 knows
        # u and u (x_0 + x_1) and shares them additively between parties 1 and 2, v and w. These know t and x_2, and
        # x_1 or x_0 besides: y = w + v x_2 and y + t (x_1 + x_2 - 2 y) or y + t (x_0 - 2 y) are theirs, added up first.
        shape = a.shape
        known = self._addend_bits(bits, math.prod(shape)).reshape(shape)
        label = f"choose-sum {shape}"
        x = a.parts
        if self.me == 0:
            both = np.empty((2, *shape), np.uint64)
            both[0] = known
            np.add(x[0], x[1], out=both[1])
            both[1] *= known
            await self._give(label, both)
            return await self._reshare(label, np.zeros(shape[1:], np.uint64))
        given = await self._take(label, (2, *shape))
        own, last = (x[0] + x[1], x[1]) if self.me == 1 else (x[1], x[0])
        y = given[0] * last
        y += given[1]
        # Arrays, also where no axis is left and NumPy would give scalars: the mask is added in place.
        total = np.empty(shape[1:], np.uint64)
        y.sum(axis=0, dtype=np.uint64, out=total)
        y <<= _ONE
        np.subtract(own, y, out=y)
        y *= known
        total += y.sum(axis=0, dtype=np.uint64)
        return await self._reshare(label, total)

    async def weigh(self, bits: Bits, weights: U64Array) -> Value:
        # b = t + s u with s = 1 - 2 t, as in `choose_sum`: party 0 shares u between parties 1 and 2, who know t. What
        # they have of the sum they add up before anything else is sent.
        planes, lanes, n = bits.planes, 64 * words(bits.n), bits.n
        known = self._addend_bits(bits, planes * lanes).reshape(planes, lanes)
        label = f"weigh {known.shape}"
        if self.me == 0:
            await self._give(label, known)
            return await self._reshare(label, np.zeros(n, np.uint64))
        part = await self._take(label, known.shape)
        # t + s v = v + t (1 - 2 v) at party 2; s v = v - 2 t v at party 1.
        change = part << _ONE
        np.subtract(_ONE if self.me == 2 else _ZERO, change, out=change)
        change *= known
        change += part
        change *= as_words("the weights", weights)[:, None]
        return await self._reshare(label, np.ascontiguousarray(change.sum(axis=0, dtype=np.uint64)[:n]))

    async def truncate(self, a: Value, shift: int) -> Value:
        return await self._quotient(a.shape, self._flat(a, _OFFSET), shift)

    async def _truncated(self, label: str, mine: U64Array, shift: int) -> Value:
        """From one additive share per party, masked in place, to a sharing of the truncated sum."""
        flat = mine.reshape(-1)
        if self.me == 0:
            add_streams(flat, self._mine)
            add_streams(flat, self._second)
            flat += _OFFSET
        else:
            mask = self._mine if self.me == 1 else self._second
            add_at(flat, mask, mask.take(flat.size), negate=True)
        return await self._quotient(mine.shape, flat, shift, f"{label}-truncated {mine.shape}")

    async def _quotient(self, shape: tuple[int, ...], known: U64Array, shift: int, label: str | None = None) -> Value:
        """c / 2^shift - 2^62 / 2^shift from the addend of c, flat, that this party knows.

        With a label, parties 1 and 2 know two summands of t instead, of which neither says anything to the other one,
        and tell them each other in the first round.
        """
        # c = a + 2^62 lies in [0, 2^63). Of its addends u, t let s, r be the top bits: u + t = c + 2^64 w, and as c has
        # no top bit, w = s or r: both set wraps, none set does not, and one set would leave the top bit if it did not
        # wrap. c / 2^shift = floor(u / 2^shift) + ceil(t / 2^shift) - 2^(64-shift) (s + r - s r), up to less than one
        # unit.
        if not 1 <= shift <= 62:
            raise ParameterError(f"shift is {shift}; allowed is [1, 62]")
        n, name = known.size, f"truncate {shift} ({known.size},)"
        # Party 0 inputs floor(u / 2^shift) - 2^(64-shift) s as a number modulo 2^64; s alone travels modulo 2^shift.
        quotient, top = self._cut(known, shift) if self.me == 0 else (None, None)
        share = self.scheduler.spawn(self._known_share(name, top, n, shift))
        addend = self.scheduler.spawn(self.input(0, quotient, (n,)))
        if label is not None:
            if self.me == 0:
                await Exchange(label, {}, {}, known.nbytes)
            else:
                peer = 3 - self.me
                got = await Exchange(label, {peer: known}, {peer: known.nbytes})
                known = known + _array(got[peer], known.shape)
        if quotient is None or top is None:
            quotient, top = self._cut(known, shift)
        product = await self._known_times(name, await share, top, shift)
        return self._assembled(await addend, quotient, product, 1 << (64 - shift), 0, shape)

    def _cut(self, known: U64Array, shift: int) -> tuple[U64Array, U64Array]:
        """Of u at party 0: floor(u / 2^shift) - 2^(64-shift) s - 2^(62-shift), and s; of t elsewhere: the same with
        ceil and r, and without the last term."""
        by, top = np.uint64(shift), known >> np.uint64(63)
        # With its top bit as a sign, a word is 2^64 less where that is set.
        quotient: U64Array = (known.view(np.int64) >> np.int64(shift)).view(np.uint64)
        if self.me == 0:
            quotient -= _OFFSET >> by
        else:
            quotient += known & ((_ONE << by) - _ONE) != 0
        return quotient, top

    def _flat(self, a: Value, constant: np.uint64) -> U64Array:
        """A copy of the addend of a + constant that this party knows, flat: the constant is in component 0."""
        addend = self._known(a)
        # Party 0's is a sum, new already, but in the order in which its terms lie in memory.
        known = np.array(addend, order="C", copy=None if self.me == 0 else True).reshape(-1)
        if self.me == 0:
            known += constant
        return known

    async def extend(self, a: Value, width: int) -> Value:
        # a + 2^(width-1) modulo 2^width is y in [0, 2^width); u = x_0 + x_1 over the integers, of which party 0 inputs
        # u mod 2^width, and t = x_2 < 2^width: y = (u mod 2^width) + t - 2^width c, c the carry.
        if not 1 <= width <= 62:
            raise ParameterError(f"width is {width}; allowed is [1, 62]")
        known = self._flat(a, np.uint64(1 << (width - 1)))
        known &= np.uint64((1 << width) - 1)
        n = known.size
        addend = self.scheduler.spawn(self.input(0, known if self.me == 0 else None, (n,)))
        below = plan(width)
        u, t = await self._known_bits(known, width, below.sizes)
        overflow = await self.to_number(await carry(self, u, t, below), 64 - width)
        return self._assembled(await addend, known, overflow, -(1 << width), -(1 << (width - 1)), a.shape)

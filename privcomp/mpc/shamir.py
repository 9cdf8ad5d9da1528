"""Shamir sharing among n parties, t < n / 2 of whom may look but not lie.

A number x of a prime field is the value at 0 of a polynomial of degree t; party i holds the value at i + 1. Any t of
these are uniform and independent of x, any t + 1 give it.

* Linear operations are local: each party does to its values what is to be done to the numbers.
* A product: f g has degree 2 t and x y at 0, so that x y = sum of w_i f(i) g(i) over the first 2 t + 1 parties with the
  Lagrange weights w. Each of these shares its own product anew, with degree t, and everybody adds up what it received
  with the same weights: the sum of degree-t polynomials with x y at 0. A dot product adds up before it is shared.
* An opening: each receiver gets the values of the t parties behind it, which with its own make t + 1.

Numbers are signed: those up to (p - 1) / 2 in absolute value, negative ones as p - |x|. Nothing wraps below that.

Security: semi-honest, t of n, with private and authentic channels and AES-128 as a pseudo-random generator (for the
polynomials). A party that lies changes results unnoticed.

Sources: Ben-Or, Goldwasser, Wigderson, "Completeness theorems for non-cryptographic fault-tolerant distributed
computation", STOC 1988; Gennaro, Rabin, Rabin, "Simplified VSS and fast-track multiparty computations with applications
to threshold cryptography", PODC 1998, section 2, for the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from privcomp import _core
from privcomp.algebra.fields import M61, PrimeField
from privcomp.errors import CodecError, ParameterError, StateError
from privcomp.mpc.backend import Backend, Elements, Value, as_words
from privcomp.mpc.engine import Exchange, Scheduler, Section, Session
from privcomp.mpc.security import Adversary, Guarantee, Security
from privcomp.typing import I64Array, U64Array

__all__ = ["Shamir"]

_SEED: Final = _core.SEED_BYTES[_core.AES128_CTR]
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64((1 << 32) - 1)
_TERMS: Final = 1 << 28  # in one sum: of halves below 2^32 it stays below 2^60, of halves times words below 2^124


class Shamir(Backend):
    """One party of n. See the module for the protocol.

    Args:
        scheduler: of the party.
        session: of the computation; three parties or more.
        me: this party's index; its point is me + 1.
        field: M61 (p = 2^61 - 1) or GOLDILOCKS (p = 2^64 - 2^32 + 1); the same at every party.
        corruptions: t, 1 <= t < n / 2; None: as many as there can be.

    Attributes:
        field: of the shares.
        corruptions: t.

    Raises:
        ParameterError: fewer than three parties, t out of range.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        session: Session,
        me: int,
        *,
        field: PrimeField = M61,
        corruptions: int | None = None,
    ) -> None:
        super().__init__(scheduler, session, me)
        if self.n < 3:
            raise ParameterError(f"shamir runs among 3 parties or more; the session names {self.n}")
        most = (self.n - 1) // 2
        t = most if corruptions is None else corruptions
        if not 1 <= t <= most:
            raise ParameterError(f"corruptions is {t} of {self.n} parties; allowed is [1, {most}], less than half")
        self.field = field
        self.corruptions = t
        self.largest = min((field.modulus - 1) // 2, (1 << 63) - 1)
        self.security = Security(
            Adversary.SEMI_HONEST,
            self.n,
            t,
            Guarantee.CORRECT_IF_HONEST,
            ("private, authentic channels between each two parties", "AES-128 is a pseudo-random generator"),
        )
        self._p = np.uint64(field.modulus)
        self._points: U64Array = np.arange(1, self.n + 1, dtype=np.uint64)
        self._weights = [int(w) for w in self._at_zero(self._points[: 2 * t + 1])]
        self._nearest = [(me + step) % self.n for step in range(t + 1)]
        self._opening = [int(w) for w in self._at_zero(self._points[self._nearest])]
        self._rng: Callable[[int], bytes] | None = None

    def _at_zero(self, points: U64Array) -> U64Array:
        """Lagrange weights for the value at 0."""
        weights: U64Array = _core.lagrange_weights(self.field.core_id, points, np.zeros(1, np.uint64))[0]
        return weights

    async def setup(self, rng: Callable[[int], bytes]) -> None:
        # No keys; but whoever has another field or another t notices it here, by the label.
        self._rng = rng
        await Exchange(f"setup shamir {self.field.name} {self.corruptions}", {}, {})

    # ---- elements ----

    def encode(self, values: I64Array) -> U64Array:
        """Signed integers as elements: x, or p - |x|.

        Raises:
            ParameterError: a number beyond `largest`.
        """
        if values.size and (values.max() > self.largest or values.min() < -self.largest):
            raise ParameterError(
                f"a number is beyond {self.largest} in absolute value: {self.field.name} cannot tell it from another"
            )
        elements: U64Array = values.view(np.uint64) + np.where(values < 0, self._p, np.uint64(0))
        return elements

    def decode(self, elements: U64Array) -> I64Array:
        """Elements as the signed integers of least absolute value."""
        negative = elements > np.uint64((self.field.modulus - 1) // 2)
        signed: U64Array = elements - np.where(negative, self._p, np.uint64(0))
        return signed.view(np.int64)

    def _canonical(self, what: str, values: U64Array) -> U64Array:
        """Public or own elements, checked."""
        elements = as_words(what, values)
        if (elements >= self._p).any():
            raise ParameterError(f"{what} holds a number that is no element of {self.field.name}; encode it first")
        return elements

    def _received(self, section: memoryview, sender: int, stage: str) -> U64Array:
        elements = np.frombuffer(section, np.uint64)
        if (elements >= self._p).any():
            raise CodecError("a share is not below the modulus", self.session.parties[sender], stage)
        return elements

    def _reduced(self, words: U64Array) -> U64Array:
        """Any words modulo p."""
        bits = self.field.modulus.bit_length()
        if bits < 64:  # 2^61 = 1: at most p + 7 is left
            words = (words & self._p) + (words >> np.uint64(bits))
        return words - np.where(words >= self._p, self._p, np.uint64(0))

    def _both(self, a: U64Array, b: U64Array) -> tuple[tuple[int, ...], U64Array, U64Array]:
        """Broadcast, flat."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        x, y = (np.ascontiguousarray(np.broadcast_to(part, shape)).reshape(-1) for part in (a, b))
        return shape, x, y

    # ---- local ----

    def public(self, values: U64Array) -> Value:
        return Elements((self._canonical("a public array", values).copy(),))

    def _binary(self, work: Callable[[U64Array, U64Array], U64Array], a: U64Array, b: U64Array) -> Value:
        shape, x, y = self._both(a, b)
        return Elements((work(x, y).reshape(shape),))

    def add(self, a: Value, b: Value) -> Value:
        return self._binary(self.field.add, a.parts[0], b.parts[0])

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary(self.field.sub, a.parts[0], b.parts[0])

    def scale(self, a: Value, factor: U64Array) -> Value:
        return self._binary(self.field.mul, a.parts[0], self._canonical("a factor", factor))

    def add_public(self, a: Value, values: U64Array) -> Value:
        return self._binary(self.field.add, a.parts[0], self._canonical("a public array", values))

    def sum(self, a: Value, axis: int | tuple[int, ...]) -> Value:
        part = a.parts[0]
        axes = {at % part.ndim for at in ((axis,) if isinstance(axis, int) else axis)}
        if math.prod(part.shape[at] for at in axes) > _TERMS:
            raise ParameterError(f"a sum has more than {_TERMS} terms; take it in pieces")
        # Halves of 32 bits: sums of up to 2^28 of them are below 2^60, and so below p.
        low, high = (np.asarray(half.sum(axis=tuple(axes), dtype=np.uint64)) for half in (part & _LOW, part >> _HALF))
        total = self.field.axpy((1 << 32) % self.field.modulus, high.reshape(-1), low.reshape(-1))
        return Elements((total.reshape(low.shape),))

    def _product(self, a: U64Array, b: U64Array) -> U64Array:
        """a @ b modulo p."""
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ParameterError(f"shapes {a.shape} and {b.shape} cannot be multiplied; pass (n, k) and (k, m)")
        if a.shape[1] > _TERMS:
            raise ParameterError(f"a dot product has more than {_TERMS} terms; take it in pieces")
        # a = a_0 + 2^32 a_1: a_i @ b is exact: below 2^(32 + 64 + 28); of lo + 2^64 hi, hi is below 2^60 < p.
        right = np.zeros((*b.shape, 2), np.uint64)
        right[..., 0] = b
        total = np.zeros(a.shape[0] * b.shape[1], np.uint64)
        for half in (a >> _HALF, a & _LOW):
            left = np.zeros((*a.shape, 2), np.uint64)
            left[..., 0] = half
            exact = _core.ring128_matmul(left, right).reshape(-1, 2)
            low, high = self._reduced(exact[:, 0]), np.ascontiguousarray(exact[:, 1])
            low = self.field.axpy((1 << 64) % self.field.modulus, high, low)
            total = self.field.axpy((1 << 32) % self.field.modulus, total, low)
        return total.reshape(a.shape[0], b.shape[1])

    def matmul_public(self, a: Value, b: U64Array) -> Value:
        return Elements((self._product(a.parts[0], self._canonical("a public matrix", b)),))

    # ---- with messages ----

    def _share(self, secrets: U64Array) -> U64Array:
        """A fresh sharing of what this party knows: row i for party i."""
        if self._rng is None:
            raise StateError("setup comes before anything else")
        seed = self._rng(_SEED)
        if len(seed) != _SEED:
            raise ParameterError(f"rng gave {len(seed)} bytes where {_SEED} were asked for")
        return _core.shamir_share(self.field.core_id, secrets, self._points, self.corruptions + 1, seed)

    async def _deal(self, label: str, dealers: list[int], secrets: U64Array, n: int) -> dict[int, U64Array]:
        """Each dealer shares its n secrets; returns this party's value of each sharing."""
        own: dict[int, U64Array] = {}
        sends: dict[int, Section] = {}
        if self.me in dealers:
            rows = self._share(secrets)
            own[self.me] = rows[self.me].copy()
            sends = {peer: rows[peer] for peer in range(self.n) if peer != self.me}
        got = await Exchange(label, sends, {peer: 8 * n for peer in dealers if peer != self.me})
        return own | {peer: self._received(section, peer, label) for peer, section in got.items()}

    def _weighted(self, weights: list[int], rows: list[U64Array]) -> U64Array:
        total = np.zeros(rows[0].size, np.uint64)
        for weight, row in zip(weights, rows, strict=True):
            total = self.field.axpy(weight, row, total)
        return total

    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        self._check_party("owner", owner)
        own = np.zeros(0, np.uint64)
        if self.me == owner:
            if values is None or values.shape != shape:
                raise ParameterError(f"party {owner} owns this input and has to pass an array of shape {shape}")
            own = np.ascontiguousarray(self._canonical("the input", values)).reshape(-1)
        rows = await self._deal(f"input {owner} {shape}", [owner], own, math.prod(shape))
        return Elements((rows[owner].reshape(shape),))

    async def open(self, a: Value, to: int | None = None) -> U64Array | None:
        self._check_party("to", to)
        # Party i has the values of i + 1 .. i + t: those before it send to it.
        mine = np.ascontiguousarray(a.parts[0]).reshape(-1)
        label = f"open {to} {a.shape}"
        before = [(self.me - step) % self.n for step in range(1, self.corruptions + 1)]
        receives = to in (None, self.me)
        wants = dict.fromkeys(self._nearest[1:], mine.nbytes) if receives else {}
        got = await Exchange(label, {peer: mine for peer in before if to in (None, peer)}, wants, mine.nbytes)
        if not receives:
            return None
        rows = [mine, *(self._received(got[peer], peer, label) for peer in self._nearest[1:])]
        return self._weighted(self._opening, rows).reshape(a.shape)

    async def _reshare(self, label: str, product: U64Array) -> Value:
        """From values of polynomials of degree 2 t to values of polynomials of degree t with the same secrets."""
        dealers = list(range(2 * self.corruptions + 1))
        rows = await self._deal(f"{label} {product.shape}", dealers, product.reshape(-1), product.size)
        return Elements((self._weighted(self._weights, [rows[dealer] for dealer in dealers]).reshape(product.shape),))

    async def mul(self, a: Value, b: Value) -> Value:
        shape, x, y = self._both(a.parts[0], b.parts[0])
        return await self._reshare("mul", self.field.mul(x, y).reshape(shape))

    async def matmul(self, a: Value, b: Value) -> Value:
        return await self._reshare("matmul", self._product(a.parts[0], b.parts[0]))

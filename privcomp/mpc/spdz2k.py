"""Additive sharing with authentication among n parties, of whom all but one may send whatever they like; and a dealer.

A number x modulo 2^64 is the low word of a number x' modulo 2^128. x' = sum of x_i, and alpha x' = sum of m_i, modulo
2^128, where alpha = sum of alpha_i is a key that nobody knows: party i holds x_i, m_i, and alpha_i < 2^64. Whatever is
linear is done to both. Constants go to x_0, and alpha_i times them to every m_i.

* A product takes a triple, random a, b and c = a b: d = x - a and e = y - b are revealed, x y = c + d b + a e + d e.
* An input takes a random r that its owner knows, who tells all x - r.
* An opening: x' + 2^64 r with a random r is revealed, for the high word of x' says more than x. To one party: x' + r
  with a random r that this party knows.
* A revealed number is what all parties' shares of it add up to, y = sum of y_i, all 128 bits: it is not to be believed
  before z_i = m_i - alpha_i y is found to be a sharing of zero. `Spdz2k._check` does this for many at once, as a sum
  with random weights: before anything is opened, and again before what was opened is handed out.

**The dealer.** Triples and masks come from one more party, the last one of the session. It is told nothing but that a
check is over, so that it does not run ahead. It knows all of them: with any one party's messages it knows all inputs,
and with a lie of its own it changes results unnoticed. It stands where a joint protocol of the parties belongs, and is
for experiments and for those who have somebody to trust; thus the names. Whoever takes it says so:
`insecure_dealer=True`.

Party i and the dealer share a stream, from which come all of party i's parts of random numbers; what these lack to be
products and to be authentic goes to party 0 (to an input's owner, for its mask): 64 bytes a triple. A triple's message
travels in the round in which d and e are revealed, so that a product takes one round; or it is dealt before:
`Spdz2k.triple`.

Security: malicious, n - 1 of n, with abort, given an honest dealer; docs/mpc-others.md has the argument. A check misses
a number whose low word is wrong with probability below 2^-58. A number that is wrong in its high word alone may pass,
by 2^127 three times of four: no low word, and thus no result, depends on it, and each bit of alpha that a liar learns
by passing cost it an even chance of being found.

Source: Cramer, Damgard, Escudero, Scholl, Xing, "SPDZ2k: Efficient MPC mod 2^k for Dishonest Majority", CRYPTO 2018,
with k = s = 64, for sharing, products, masks and the weighted sum. Here all 128 bits of a number are revealed before
weights are drawn: nothing is said about high words afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp import _core
from privcomp.codec import digest, lp
from privcomp.errors import ParameterError, RemoteError, StateError
from privcomp.mpc.backend import Backend, Elements, Value, as_words
from privcomp.mpc.engine import Exchange, Scheduler, Section, Session, Task
from privcomp.mpc.security import Adversary, Guarantee, Security
from privcomp.mpc.streams import KEY_BYTES, Stream
from privcomp.typing import U64Array

__all__ = ["Spdz2k", "Triple"]

_log = logging.getLogger("privcomp.mpc")

_MOST: Final = 5
_HASH: Final = 32
_SUM_BYTES: Final = 16
_LOG: Final = 1 << 20  # revealed numbers after which a check starts by itself: 16 bytes are kept of each
_SEED: Final = "privcomp/mpc/spdz2k/seed/v1"
_COIN: Final = "privcomp/mpc/spdz2k/coin/v1"
_SUM: Final = "privcomp/mpc/spdz2k/sum/v1"
_ECHO: Final = "privcomp/mpc/spdz2k/echo/v1"

Bilinear = Callable[[U64Array, U64Array], U64Array]
"""A product of two flat arrays of 128-bit numbers, u64 (., 2)."""


def _wide(values: U64Array) -> U64Array:
    """Words as 128-bit numbers, flat: u64 (n, 2)."""
    out = np.zeros((values.size, 2), np.uint64)
    out[:, 0] = values.reshape(-1)
    return out


def _shifted(numbers: U64Array) -> U64Array:
    """Times 2^64."""
    out = np.zeros_like(numbers)
    out[:, 1] = numbers[:, 0]
    return out


def _times(numbers: U64Array, factor: int) -> U64Array:
    out = np.zeros_like(numbers)
    _core.ring128_axpy(out, numbers, factor)
    return out


def _total(*several: U64Array) -> U64Array:
    out = several[0].copy()
    for one in several[1:]:
        _core.ring128_axpy(out, one)
    return out


def _minus(a: U64Array, b: U64Array) -> U64Array:
    out = a.copy()
    _core.ring128_axpy(out, b, -1)
    return out


def _matrices(n: int, k: int, m: int) -> Bilinear:
    def product(a: U64Array, b: U64Array) -> U64Array:
        return _core.ring128_matmul(a.reshape(n, k, 2), b.reshape(k, m, 2)).reshape(-1, 2)

    return product


def _received(section: memoryview) -> U64Array:
    return np.frombuffer(section, np.uint64).reshape(-1, 2)


@dataclass(eq=False, repr=False)
class _Dealt:
    """Random numbers: this party's parts, which are complete once `task` has ended.

    Attributes:
        x: u64 (n, 2).
        m: u64 (n, 2), parts of alpha times the numbers.
        plain: the numbers themselves, at the party that is to know them.
        task: takes what the dealer sends.
    """

    x: U64Array
    m: U64Array
    plain: U64Array | None
    task: Task[None]


class Triple:
    """Random a, b and their product c, shared, good for one product: the second one raises.

    Two products with one triple would reveal x - a and x' - a, and with these x - x'. Made by `Spdz2k.triple` and
    `Spdz2k.matrix_triple`.

    Attributes:
        left: shape of a.
        right: shape of b.
    """

    __slots__ = ("_dealt", "_owner", "left", "right")

    def __init__(self, owner: Spdz2k, left: tuple[int, ...], right: tuple[int, ...], dealt: _Dealt) -> None:
        self.left = left
        self.right = right
        self._owner = owner
        self._dealt: _Dealt | None = dealt

    def _take(self, user: Spdz2k, left: tuple[int, ...], right: tuple[int, ...]) -> _Dealt:
        if user is not self._owner:
            raise StateError("a triple of another computation; the parties' parts would not belong together")
        if (left, right) != (self.left, self.right):
            raise ParameterError(f"a triple for shapes {self.left} and {self.right}, used for {left} and {right}")
        dealt, self._dealt = self._dealt, None
        if dealt is None:
            raise StateError(
                "this triple has been used; a second product with it would reveal the difference of factors"
            )
        return dealt

    def __repr__(self) -> str:
        return f"Triple({self.left}, {self.right}, {'used' if self._dealt is None else '<hidden>'})"


class Spdz2k(Backend):
    """One party of n, or the dealer. See the module for the protocol.

    Args:
        scheduler: of the party.
        session: names the n parties, then the dealer: 2 <= n <= 5.
        me: this party's index; n is the dealer. The dealer runs the program like everybody; it has no inputs, and its
            openings give None.
        insecure_dealer: has to be True: the caller knows that the dealer is trusted with everything.

    Attributes:
        n: parties that compute; the dealer is not among them.
        dealer: its index, n.

    Raises:
        ParameterError: a number of parties out of range, or `insecure_dealer` is not True.
    """

    def __init__(self, scheduler: Scheduler, session: Session, me: int, *, insecure_dealer: bool = False) -> None:
        super().__init__(scheduler, session, me)
        self.n = self.dealer = len(session.parties) - 1
        if not 2 <= self.n <= _MOST:
            raise ParameterError(
                f"spdz2k runs among 2 to {_MOST} parties and a dealer, which is named last; the session names "
                f"{len(session.parties)} in all"
            )
        name = session.parties[self.dealer]
        if insecure_dealer is not True:
            raise ParameterError(
                f"party {name!r} would deal all random numbers, and know with them what everybody inputs: pass "
                "insecure_dealer=True if it is trusted with that, or take rep4"
            )
        _log.warning(
            "insecure dealer: %r knows every mask; it can learn all inputs, and change results unnoticed", name
        )
        self.security = Security(
            Adversary.MALICIOUS,
            self.n,
            self.n - 1,
            Guarantee.ABORT,
            (
                f"INSECURE DEALER: {name!r} is honest and tells nobody what it dealt; it can learn all inputs",
                "private, authentic channels between each two parties, and from the dealer",
                "AES-128 is a pseudo-random generator",
                "SHA-256 is a random oracle",
            ),
        )
        self._dealing = me == self.dealer
        self._peers = [] if self._dealing else [party for party in range(self.n) if party != me]
        self._streams: list[Stream] = []  # with the dealer; the dealer's: with every party
        self._alpha = 0  # this party's part of the key; the dealer's: the key
        self._rng: Callable[[int], bytes] | None = None
        # Of what was revealed since the last check began: z_i, how many, and a hash that all parties have alike.
        self._zs: list[U64Array] = []
        self._revealed = 0
        self._said = 0
        self._view = hashlib.sha256(session.digest)
        self._seed = b""
        self._sealed: dict[int, bytes] = {}
        self._checks = 0
        self._waiting: Task[None] | None = None  # a check that has not begun
        self._last: Task[None] | None = None

    # ---- keys ----

    async def setup(self, rng: Callable[[int], bytes]) -> None:
        self.scheduler.spawn(self._at_end(self._wipe))
        self._rng = rng
        self.scheduler.spawn(self._keep())
        label = f"setup spdz2k {self.n}"
        if self._dealing:
            keys = [rng(KEY_BYTES) for _ in range(self.n)]
            await Exchange(label, dict(enumerate(keys)), {})
        else:
            self._seed = rng(_HASH)
            mine = self._commitment(_SEED, 0, self.me, self._seed)
            wants = dict.fromkeys(self._peers, _HASH) | {self.dealer: KEY_BYTES}
            got = await Exchange(label, dict.fromkeys(self._peers, mine), wants)
            self._sealed = {peer: bytes(got[peer]) for peer in self._peers}
            keys = [bytes(got[self.dealer])]
        for party, key in zip(range(self.n) if self._dealing else [self.me], keys, strict=True):
            self._streams.append(Stream(key, self.session.digest, bytes([party])))
        self._alpha = sum(int(stream.words((1,))[0]) for stream in self._streams)

    def _commitment(self, label: str, number: int, party: int, *values: bytes) -> bytes:
        return digest(label, self.session.digest, number.to_bytes(8, "little"), bytes([party]), *values)

    async def _keep(self) -> None:
        """Wait until the party is closed, because it has ended or failed, and wipe the keys then."""
        try:
            await Task[None](-1, None)
        finally:
            self._wipe()

    def _wipe(self) -> None:
        for stream in self._streams:
            stream.wipe()
        self._streams.clear()
        self._zs.clear()
        self._alpha = 0
        self._seed = b""

    def _refuse(self, suspects: list[int], stage: str, message: str) -> RemoteError:
        """The error to raise; the keys are gone. One of `suspects` lied: all that is known of it."""
        self._wipe()
        if len(suspects) == 1:
            name = self.session.parties[suspects[0]]
            return RemoteError(name, stage, f"{message}; nothing was opened, begin a new session without it")
        return RemoteError(None, stage, f"{message}; which party lied cannot be told; nothing was opened")

    # ---- what the dealer gives ----

    def _drawn(self, stream: Stream, count: int, known: bool) -> tuple[U64Array, U64Array, U64Array | None]:
        """A party's parts of `count` numbers and their authentication, and the numbers if it is to know them."""
        x, m = stream.words((count, 2)), stream.words((count, 2))
        return x, m, stream.words((count, 2)) if known else None

    def _deal(
        self,
        label: str,
        free: int,
        derived: int = 0,
        rule: Bilinear | None = None,
        *,
        split: int = 0,
        to: int | None = None,
    ) -> _Dealt:
        """Random numbers, authenticated; what the dealer has to say comes in the next round.

        Args:
            label: of the exchange.
            free: how many are uniform.
            derived: how many more are `rule` of the first `split` and the rest of the free ones.
            to: a party that is to know them.
        """
        if not self._streams:
            raise StateError("there are no keys: setup comes before anything else, and nothing after a failure")
        count = free + derived
        fixer, low = (0, free) if to is None else (to, 0)
        name = f"offline {label}"
        if self._dealing:
            parts = [self._drawn(stream, count, party == to) for party, stream in enumerate(self._streams)]
            total = _total(*(x for x, _, _ in parts))
            known = None if to is None else parts[to][2]
            if known is not None:
                wanted = known
            elif rule is not None:
                wanted = np.concatenate([total[:free], rule(total[:split], total[split:free])])
            else:
                wanted = total
            numbers = _minus(wanted, total)[low:]
            macs = _minus(_times(wanted, self._alpha), _total(*(m for _, m, _ in parts)))
            both = np.concatenate([numbers, macs]) if fixer == 0 else macs
            sends: dict[int, Section] = {0: both}
            if fixer != 0:
                sends[fixer] = numbers
            zeros = np.zeros((count, 2), np.uint64)
            return _Dealt(zeros, zeros, None, self.scheduler.spawn(self._dealt(name, sends)))
        x, m, plain = self._drawn(self._streams[0], count, self.me == to)
        corrected = [x[low:]] if self.me == fixer else []
        if self.me == 0:
            corrected.append(m)
        return _Dealt(x, m, plain, self.scheduler.spawn(self._corrected(name, corrected, 32 * count)))

    async def _dealt(self, name: str, sends: dict[int, Section]) -> None:
        await Exchange(name, sends, {})

    async def _corrected(self, name: str, arrays: list[U64Array], most: int) -> None:
        """Add what the dealer sends, at most so many bytes, in place: nobody has used these parts yet."""
        size = sum(array.nbytes for array in arrays)
        got = await Exchange(name, {}, {self.dealer: size} if arrays else {}, most)
        if arrays:
            whole = _received(got[self.dealer])
            at = 0
            for array in arrays:
                _core.ring128_axpy(array, whole[at : at + len(array)])
                at += len(array)

    def triple(self, shape: tuple[int, ...]) -> Triple:
        """For one elementwise product of this shape, dealt in the next round: `mul(a, b, triple=...)`."""
        n = math.prod(shape)
        dealt = self._deal(f"mul {shape}", 2 * n, n, _core.ring128_mul, split=n)
        return Triple(self, shape, shape, dealt)

    def matrix_triple(self, n: int, k: int, m: int) -> Triple:
        """For one product of matrices (n, k) and (k, m): `matmul(a, b, triple=...)`."""
        product = _matrices(n, k, m)
        dealt = self._deal(f"matmul {n} {k} {m}", n * k + k * m, n * m, product, split=n * k)
        return Triple(self, (n, k), (k, m), dealt)

    # ---- revealing, and the check ----

    def _seen(self, label: str, numbers: U64Array) -> None:
        """What all parties have been told alike."""
        self._said += 1
        if not self._dealing:
            self._view.update(lp(label.encode(), numbers.size.to_bytes(8, "little")))
            self._view.update(np.ascontiguousarray(numbers).data)

    async def _reveal(self, label: str, mine: U64Array) -> U64Array:
        """What the parties' numbers add up to; not yet to be believed. The dealer gets zeros."""
        wants = dict.fromkeys(self._peers, mine.nbytes)
        got = await Exchange(label, dict.fromkeys(self._peers, mine), wants, mine.nbytes)
        return _total(mine, *(_received(got[peer]) for peer in self._peers))

    def _record(self, label: str, y: U64Array, m: U64Array) -> None:
        """To be checked: alpha y = sum of m."""
        self._seen(label, y)
        self._revealed += len(y)
        if not self._dealing:
            self._zs.append(_minus(m, _times(y, self._alpha)))
        if self._revealed >= _LOG:
            self._start_check()

    def _start_check(self) -> None:
        if self._waiting is None:
            self._waiting = self._last = self.scheduler.spawn(self._check(self._last))

    async def _verified(self) -> None:
        """Return once everything revealed and said up to now has been checked.

        What other operations reveal in this round goes into the same check: it begins when all of them have run.
        """
        if self._said:
            self._start_check()
        if self._last is not None:
            await self._last

    async def _check(self, before: Task[None] | None) -> None:
        """Whether every y of the log has sum of z_i = sum of (m_i - alpha_i y) = 0; raises if not.

        1. Everybody opens the seed that it committed to before, commits to the next one, and sends a hash of all it was
           told: whoever told two parties different things is found out. The seeds give random weights.
        2. Everybody commits to its weighted sum of z_i, and repeats what it got in step 1.
        3. The sums are opened, and add up to zero.

        A wrong y, off by d, would need other parties' sums to be off by alpha times the weighted sum of all d.
        """
        zs, self._zs, self._revealed, self._said = self._zs, [], 0, 0
        view, number, self._waiting = self._view.digest(), self._checks, None
        self._checks += 1
        if before is not None:
            await before
        stages = [f"check {number} {step}" for step in ("weights", "commit", "sums")]
        if self._dealing:
            for stage in stages:
                await Exchange(stage, {}, dict.fromkeys(range(self.n), 0) if stage == stages[2] else {})
            return
        if self._rng is None or not self._seed:
            raise StateError("there are no keys: setup comes before anything else, and nothing after a failure")
        everybody = range(self.n)

        following, salt = self._rng(_HASH), self._rng(_HASH)
        mine = self._seed + self._commitment(_SEED, number + 1, self.me, following)
        sends = dict.fromkeys(self._peers, mine + view)
        got = await Exchange(stages[0], dict(sends), dict.fromkeys(self._peers, 3 * _HASH))
        heard = {self.me: mine} | {peer: bytes(got[peer][: 2 * _HASH]) for peer in self._peers}
        for peer in self._peers:
            self._check_seed(number, peer, heard[peer][:_HASH], stages[0])
            self._sealed[peer] = heard[peer][_HASH:]
            self._check_view(view, bytes(got[peer][2 * _HASH :]), peer, stages[0])
        self._seed = following
        coin = self._commitment(_COIN, number, self.n, *(heard[party][:_HASH] for party in everybody))

        sum_ = self._weighted(coin, zs).astype("<u8").tobytes()
        echo = self._commitment(_ECHO, number, self.n, *(heard[party] for party in everybody))
        sealed = self._commitment(_SUM, number, self.me, sum_, salt)
        got = await Exchange(
            stages[1], dict.fromkeys(self._peers, sealed + echo), dict.fromkeys(self._peers, 2 * _HASH)
        )
        promised = {peer: bytes(got[peer][:_HASH]) for peer in self._peers}
        for peer in self._peers:
            self._check_echo(echo, bytes(got[peer][_HASH:]), stages[1])

        got = await Exchange(
            stages[2],
            dict.fromkeys(self._peers, sum_ + salt) | {self.dealer: b""},
            dict.fromkeys(self._peers, _SUM_BYTES + _HASH),
        )
        sums = [sum_]
        for peer in self._peers:
            said, salted = bytes(got[peer][:_SUM_BYTES]), bytes(got[peer][_SUM_BYTES:])
            self._check_promise(promised[peer], number, peer, said, salted, stages[2])
            sums.append(said)
        self._check_zero(sums, stages[2])

    def _weighted(self, coin: bytes, zs: list[U64Array]) -> U64Array:
        """The sum of all z, each times 64 bits that come from `coin`."""
        weights = Stream(coin, self.session.digest)
        total = np.zeros((1, 1, 2), np.uint64)
        for z in zs:
            row = _wide(weights.words((len(z),))).reshape(1, -1, 2)
            _core.ring128_matmul(row, z.reshape(-1, 1, 2), out=total, accumulate=True)
        return total

    def _check_seed(self, number: int, peer: int, seed: bytes, stage: str) -> None:
        if self._commitment(_SEED, number, peer, seed) != self._sealed[peer]:
            raise self._refuse([peer], stage, "a commitment opened to something else")

    def _check_view(self, mine: bytes, other: bytes, peer: int, stage: str) -> None:
        if not hmac.compare_digest(mine, other):
            suspects = [peer] if self.n == 2 else self._peers
            raise self._refuse(suspects, stage, "two parties were told different things")

    def _check_echo(self, mine: bytes, other: bytes, stage: str) -> None:
        if not hmac.compare_digest(mine, other):
            raise self._refuse(self._peers, stage, "two parties were told different seeds")

    def _check_promise(self, promised: bytes, number: int, peer: int, said: bytes, salt: bytes, stage: str) -> None:
        if self._commitment(_SUM, number, peer, said, salt) != promised:
            raise self._refuse([peer], stage, "a commitment opened to something else")

    def _check_zero(self, sums: list[bytes], stage: str) -> None:
        if sum(int.from_bytes(one, "little") for one in sums) % (1 << 128):
            raise self._refuse(self._peers, stage, "a revealed number is not authentic")

    # ---- local ----

    def _value(self, shape: tuple[int, ...], x: U64Array, m: U64Array) -> Value:
        return Elements(tuple(words[:, i].reshape(shape) for words in (x, m) for i in (0, 1)))

    def _zeros(self, shape: tuple[int, ...]) -> Value:
        """What the dealer has of any number."""
        return Elements((np.zeros(shape, np.uint64),) * 4)

    def _pairs(self, a: Value, shape: tuple[int, ...] | None = None) -> tuple[U64Array, U64Array]:
        """x and m, flat, broadcast to a shape."""
        words = [np.broadcast_to(part, a.shape if shape is None else shape).reshape(-1) for part in a.parts]
        return np.stack(words[:2], axis=1), np.stack(words[2:], axis=1)

    def _constant(self, numbers: U64Array) -> tuple[U64Array, U64Array]:
        """A public number's x and m, u64 (n, 2) each."""
        return numbers if self.me == 0 else np.zeros_like(numbers), _times(numbers, self._alpha)

    def public(self, values: U64Array) -> Value:
        if self._dealing:
            return self._zeros(np.shape(values))
        known = as_words("a public array", values)
        return self._value(known.shape, *self._constant(_wide(known)))

    def _linear(self, a: Value, b: Value, sign: int) -> Value:
        shape = np.broadcast_shapes(a.shape, b.shape)
        if self._dealing:
            return self._zeros(shape)
        both = self._pairs(a, shape)
        for left, right in zip(both, self._pairs(b, shape), strict=True):
            _core.ring128_axpy(left, right, sign)
        return self._value(shape, *both)

    def add(self, a: Value, b: Value) -> Value:
        return self._linear(a, b, 1)

    def sub(self, a: Value, b: Value) -> Value:
        return self._linear(a, b, -1)

    def scale(self, a: Value, factor: U64Array) -> Value:
        factor = as_words("a factor", factor)
        shape = np.broadcast_shapes(a.shape, factor.shape)
        if self._dealing:
            return self._zeros(shape)
        by = _wide(np.broadcast_to(factor, shape))
        return self._value(shape, *(_core.ring128_mul(one, by) for one in self._pairs(a, shape)))

    def add_public(self, a: Value, values: U64Array) -> Value:
        return self.add(a, self.public(values))

    def sum(self, a: Value, axis: int | tuple[int, ...]) -> Value:
        axes = tuple(at % len(a.shape) for at in ((axis,) if isinstance(axis, int) else axis))
        shape = tuple(size for at, size in enumerate(a.shape) if at not in axes)
        if self._dealing:
            return self._zeros(shape)
        rows, terms = math.prod(shape), math.prod(a.shape[at] for at in axes)
        moved = a.map(lambda part: np.moveaxis(part, axes, range(-len(axes), 0)))
        ones = _wide(np.ones(terms, np.uint64))
        return self._value(shape, *(_matrices(rows, terms, 1)(one, ones) for one in self._pairs(moved)))

    def matmul_public(self, a: Value, b: U64Array) -> Value:
        n, k, m = self._shapes(a.shape, b.shape)
        if self._dealing:
            return self._zeros((n, m))
        right = _wide(as_words("a public matrix", b))
        return self._value((n, m), *(_matrices(n, k, m)(one, right) for one in self._pairs(a)))

    def _shapes(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int]:
        if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
            raise ParameterError(f"shapes {a} and {b} cannot be multiplied; pass (n, k) and (k, m)")
        return a[0], a[1], b[1]

    # ---- with messages ----

    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        if not 0 <= owner < self.n:
            raise ParameterError(f"owner is {owner}; parties 0 .. {self.n - 1} have inputs, and the dealer has none")
        n = math.prod(shape)
        label = f"input {owner} {shape}"
        dealt = self._deal(label, n, to=owner)
        if self.me == owner:
            if values is None or values.shape != shape or dealt.plain is None:
                raise ParameterError(f"party {owner} owns this input and has to pass an array of shape {shape}")
            told = _minus(_wide(np.ascontiguousarray(as_words("the input", values))), dealt.plain)
            await Exchange(label, dict.fromkeys(self._peers, told), {})
        else:
            got = await Exchange(label, {}, {} if self._dealing else {owner: 16 * n}, 16 * n)
            told = np.zeros((n, 2), np.uint64) if self._dealing else _received(got[owner])
        await dealt.task
        self._seen(label, told)
        if self._dealing:
            return self._zeros(shape)
        x, m = self._constant(told)
        return self._value(shape, _total(dealt.x, x), _total(dealt.m, m))

    async def open(self, a: Value, to: int | None = None) -> U64Array | None:
        if to is not None and not 0 <= to < self.n:
            raise ParameterError(f"to is {to}; parties 0 .. {self.n - 1} can be told")
        label = f"open {to} {a.shape}"
        dealt = self._deal(label, math.prod(a.shape), to=to)
        await self._verified()
        x, m = self._pairs(a)
        if to is None:  # nothing of the mask's x is to come
            y = await self._reveal(label, _total(x, _shifted(dealt.x)))
            await dealt.task
            self._record(label, y, _total(m, _shifted(dealt.m)))
        else:
            await dealt.task
            y = await self._reveal(label, _total(x, dealt.x))
            self._record(label, y, _total(m, dealt.m))
        await self._verified()
        if self._dealing or to not in (None, self.me):
            return None
        if dealt.plain is not None:
            y = _minus(y, dealt.plain)
        opened: U64Array = np.ascontiguousarray(y[:, 0]).reshape(a.shape)
        return opened

    async def _multiply(
        self, label: str, a: Value, b: Value, shape: tuple[int, ...], product: Bilinear, triple: Triple
    ) -> Value:
        """x y = c + d b + a e + d e with d = x - a and e = y - b; a and b of the shapes that the triple is for."""
        dealt = triple._take(self, a.shape, b.shape)
        both = [np.concatenate(pair) for pair in zip(self._pairs(a), self._pairs(b), strict=True)]
        split, free = math.prod(a.shape), len(both[0])
        told = await self._reveal(label, _minus(both[0], dealt.x[:free]))
        await dealt.task
        self._record(label, told, _minus(both[1], dealt.m[:free]))
        if self._dealing:
            return self._zeros(shape)
        d, e = told[:split], told[split:]
        done = [
            _total(part[free:], product(d, part[split:free]), product(part[:split], e), constant)
            for part, constant in zip((dealt.x, dealt.m), self._constant(product(d, e)), strict=True)
        ]
        return self._value(shape, *done)

    async def mul(self, a: Value, b: Value, *, triple: Triple | None = None) -> Value:
        """Elementwise product, with broadcasting.

        Raises:
            StateError: the triple has been used, or is of another computation. ParameterError: it has another shape.
        """
        shape = np.broadcast_shapes(a.shape, b.shape)
        triple = self.triple(shape) if triple is None else triple
        a, b = (value.map(lambda part: np.broadcast_to(part, shape)) for value in (a, b))
        return await self._multiply(f"mul {shape}", a, b, shape, _core.ring128_mul, triple)

    async def matmul(self, a: Value, b: Value, *, triple: Triple | None = None) -> Value:
        """(n, k) @ (k, m); errors as `mul`."""
        n, k, m = self._shapes(a.shape, b.shape)
        triple = self.matrix_triple(n, k, m) if triple is None else triple
        return await self._multiply(f"matmul {n} {k} {m}", a, b, (n, m), _matrices(n, k, m), triple)

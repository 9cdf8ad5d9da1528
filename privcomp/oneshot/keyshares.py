"""The secret-shared key: packed Shamir shares modulo 65521, and the test that names a client whose shares are
malformed.

Notation. N coefficients of a short key, |s_k| <= 96, lie rho to a row in L = ceil(N / rho) rows (the last one padded
with zeros). Row r is a polynomial f_r of degree <= T - 1, T = t_p + rho, over F_p, p = 65521:

    f_r(p - 1 - l) = s[rho r + l],  l < rho;     f_r(j) = seed stream of member j,  j = 1 .. t_p.

Member j holds f_r(j) for all r: a 32-byte seed for j <= t_p, explicit rows for the others. Any t_p of these values are
uniform whatever s is, as T values of a polynomial of degree <= T - 1 are free. Values of zero are legal.

The test (against a malicious client). Ten more rows are uniform polynomials g of degree <= T - 1. With the values of
both the client commits to every member's share by a salted hash, a leaf; the root of the tree over the leaves gives the
challenge R in F_p^(10 x L), and the client publishes u = g + R f by its values at x = 1 .. T. Member j checks its leaf
and g(j) + R f(j) = u(j). If the committed values at c points are no codeword of degree T - 1, each row of R finds it
with probability 1 - 1/p: soundness p^-10 = 2^-160 for each hash query. u tells nothing, as g is uniform of full degree
and only one challenge exists: R is a function of the client's own commitments.

Answers of members are words of a Reed-Solomon code [A, T]: A - T wrong members are detected, floor((A - T) / 2) named.

Values lie in float64, in which these sums are exact: a matrix product of residues with K terms is below K p^2 < 2^53
for K <= 2^21. Reduction uses the exact quotient's floor, with no division by a secret and no branch on one.

Sources: Franklin, Yung, STOC 1992; Atapoor, Baghery, Cozzo, Pedersen, "VSS from Distributed ZK Proofs and
Applications", eprint 2023/992; Cascudo, David, "SCRAPE", ACNS 2017 (the dual-code test); Berlekamp, Welch (decoding).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from privcomp._core import AES128_CTR, keystream
from privcomp.codec import digest, lp
from privcomp.errors import CodecError, ParameterError, RoundAborted
from privcomp.typing import F64Array, I64Array

__all__ = [
    "MASK_ROWS",
    "PRIME",
    "Dealt",
    "Opened",
    "Sharing",
    "center",
    "challenge",
    "leaf",
    "merkle_path",
    "merkle_root",
    "root_from_path",
]

PRIME: Final = 65521
#: Rows of the low-degree test.
MASK_ROWS: Final = 10
#: A key coefficient's bound: the cut of the sampler's support.
KEY_BOUND: Final = 96
SEED_BYTES: Final = 32
_P: Final = float(PRIME)


# ---- arithmetic modulo p ----


def _mod(values: F64Array) -> F64Array:
    """Integers 0 <= v < 2^53 modulo p, as float64, without a division by or a branch on v.

    floor(v / p) computed with the rounded 1/p is off by at most one: v/p has relative error below 2^-51, so absolute
    error below 2^37 * 2^-51 < 1. Then v - q p lies in [-p, 2p) and both corrections are masks.
    """
    rest = values - np.floor(values * (1.0 / _P)) * _P
    rest += _P * (rest < 0)
    rest -= _P * (rest >= _P)
    return rest


def _product(a: F64Array, b: F64Array) -> F64Array:
    """a b mod p; exact, as every entry of the product is below K p^2 with K <= 2^21 terms."""
    return _mod(a @ b)


def _inverse(values: I64Array) -> I64Array:
    """Inverses of non-zero public residues: v^(p-2)."""
    out, power, exponent = np.ones_like(values), values.copy(), PRIME - 2
    while exponent:
        if exponent & 1:
            out = out * power % PRIME
        power = power * power % PRIME
        exponent >>= 1
    return out


@lru_cache(maxsize=256)
def _lagrange(xs: tuple[int, ...], ys: tuple[int, ...]) -> F64Array:
    """Matrix (len(ys), len(xs)) that takes a polynomial's values at xs to those at ys; all points different in xs.

    Entry (b, a) = prod_{m != a} (y_b - x_m) / (x_a - x_m): as numerator / denominator, each a product over m in which
    the factor m = a is replaced by 1.
    """
    x, y = np.array(xs, dtype=np.int64), np.array(ys, dtype=np.int64)
    numerator = np.ones((len(y), len(x)), dtype=np.int64)
    denominator = np.ones(len(x), dtype=np.int64)
    for m in range(len(x)):
        factor = (y - x[m]) % PRIME
        column = numerator[:, m].copy()
        numerator = numerator * factor[:, None] % PRIME
        numerator[:, m] = column
        factor = (x - x[m]) % PRIME
        factor[m] = 1
        denominator = denominator * factor % PRIME
    out = (numerator * _inverse(denominator) % PRIME).astype(np.float64)
    out.flags.writeable = False
    return out


def center(values: I64Array) -> I64Array:
    """Residues in 0 .. p-1 as the representatives in -(p-1)/2 .. (p-1)/2."""
    return values - PRIME * (values > PRIME // 2)


def _accepted(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return words[words < PRIME]


def _expand(seed: bytes, count: int) -> F64Array:
    """`count` uniform residues of a 32-byte seed: AES-256-CTR from counter 0, 16-bit little-endian words, those >= p
    left out (which tells nothing about those that are kept)."""
    encryptor = Cipher(AES(seed), CTR(bytes(16))).encryptor()
    found: list[NDArray[np.uint16]] = []
    have = 0
    while have < count:
        # Of 65536 words 15 are left out: the margin makes a second turn rare, and the stream goes on where it stopped.
        words = np.frombuffer(encryptor.update(bytes(2 * (count - have + 32))), dtype="<u2")
        found.append(_accepted(words))
        have += len(found[-1])
    return np.concatenate(found)[:count].astype(np.float64)


def challenge(ctx: bytes, client: bytes, root: bytes, rows: int) -> F64Array:
    """R of a client's commitments, (10, rows): accepted 16-bit words of AES-128-CTR, row by row."""
    count = MASK_ROWS * rows
    seed = digest("privcomp-oneshot-1/chal", ctx, client, root)[:16] + bytes(16)
    found: list[NDArray[np.uint16]] = []
    have = at = 0
    while have < count:
        size = 2 * (count - have + 32)
        found.append(_accepted(np.frombuffer(keystream(seed, size, offset=at, cipher=AES128_CTR), dtype="<u2")))
        have, at = have + len(found[-1]), at + size
    return np.concatenate(found)[:count].astype(np.float64).reshape(MASK_ROWS, rows)


# ---- commitments ----


def leaf(ctx: bytes, client: bytes, member: int, salt: bytes, values: F64Array) -> bytes:
    """The commitment to one member's share: SHA-256 over context, client, place (1..c), salt, rows and masks."""
    data = values.astype("<u2").tobytes()
    return digest("privcomp-oneshot-1/leaf", ctx, client, member.to_bytes(4, "little"), salt, data)


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(lp(b"privcomp-oneshot-1/node", left, right)).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The tree from the leaves up; an odd node at the end of a level moves up unchanged."""
    levels = [list(leaves)]
    while len(below := levels[-1]) > 1:
        level = [_node(below[k], below[k + 1]) for k in range(0, len(below) - 1, 2)]
        levels.append(level + below[len(below) - len(below) % 2 :])
    return levels


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over at least one leaf of 32 bytes."""
    return _levels(leaves)[-1][0]


def merkle_paths(leaves: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """For every leaf the hashes beside its way to the root, from the bottom."""
    levels = _levels(leaves)[:-1]
    return [
        tuple(level[index >> k ^ 1] for k, level in enumerate(levels) if index >> k ^ 1 < len(level))
        for index in range(len(leaves))
    ]


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """One path of `merkle_paths`."""
    return merkle_paths(leaves)[index]


def root_from_path(own: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of `size` leaves in which `own` is leaf `index`, or None where the path has another length."""
    rest, last, node = list(path), size - 1, own
    while last > 0:
        if index % 2 or index < last:
            if not rest:
                return None
            sibling = rest.pop(0)
            node = _node(sibling, node) if index % 2 else _node(node, sibling)
        index, last = index // 2, last // 2
    return None if rest else node


# ---- dealing and checking ----


@dataclass(frozen=True)
class Dealt:
    """What a client gives to the members, and what it publishes.

    Attributes:
        plain: per member the box's plaintext: a seed of 32 bytes for the first t_p, else rows (and masks) as u16; for a
            single key-holder the coefficients as int8.
        values: (c, L + masks) shares as residues.
    """

    plain: tuple[bytes, ...]
    values: F64Array

    def __repr__(self) -> str:
        return f"Dealt({len(self.plain)} members, <redacted>)"


@dataclass(frozen=True)
class Opened:
    """One client's share as a member holds it: rows (L,), and mask rows (10,) or none."""

    rows: F64Array
    masks: F64Array

    def __repr__(self) -> str:
        return "Opened(<redacted>)"


class Sharing:
    """Packed sharing of keys of N coefficients among c members.

    Args:
        degree: N.
        members, privacy, packing: c, t_p, rho.
        tested: whether the ten rows of the low-degree test are dealt.

    Raises:
        ParameterError: the numbers do not fit together.

    >>> key = np.arange(-5, 5, dtype=np.int8)
    >>> sharing = Sharing(10, 5, 1, 2)
    >>> dealt = sharing.deal(key)
    >>> answers = {j: sharing.open(j, dealt.plain[j]).rows.astype(np.int64) for j in (0, 2, 3, 4)}
    >>> sharing.reconstruct(answers)[0].tolist() == key.tolist()
    True
    """

    def __init__(self, degree: int, members: int, privacy: int, packing: int, *, tested: bool = True) -> None:
        if degree < 1 or not 1 <= privacy + packing <= members or packing < 1 or members + packing >= PRIME:
            raise ParameterError(f"sharing: N = {degree}, c = {members}, t_p = {privacy}, rho = {packing}")
        self.degree, self.members, self.privacy, self.packing = degree, members, privacy, packing
        self.reconstruct_size = privacy + packing
        self.rows = -(-degree // packing)
        self.masks = MASK_ROWS if tested else 0
        self._secret_points = tuple(PRIME - 1 - k for k in range(packing))
        self._points = tuple(range(1, members + 1))

    @property
    def columns(self) -> int:
        """Values of one member's share: L rows, and the masks."""
        return self.rows + self.masks

    @property
    def is_single(self) -> bool:
        """One key-holder: no sharing, the coefficients themselves."""
        return self.members == 1

    def box_bytes(self, place: int) -> int:
        """Length of the plaintext for the member at a place (from 0)."""
        if self.is_single:
            return self.degree
        return SEED_BYTES if place < self.privacy else 2 * self.columns

    @cached_property
    def _generator(self) -> F64Array:
        """Takes the values at secret points and x = 1 .. t_p to those at x = t_p + 1 .. c."""
        return _lagrange(self._secret_points + self._points[: self.privacy], self._points[self.privacy :])

    def deal(self, key: NDArray[Any], rng: Callable[[int], bytes] = os.urandom) -> Dealt:
        """Share a key.

        Args:
            key: int8 (N,), |s| <= 96.
            rng: entropy; 32 bytes for each of the first t_p members, and 32 for the masks.

        Raises:
            ParameterError: not a key of this ring.
        """
        if key.shape != (self.degree,) or key.dtype != np.int8:
            raise ParameterError(f"sharing: a key is int8 of shape ({self.degree},), not {key.dtype} {key.shape}")
        if self.is_single:
            values = key.astype(np.float64)
            return Dealt((key.tobytes(),), (values + _P * (values < 0))[None, :])
        known = np.zeros((self.reconstruct_size, self.columns), dtype=np.float64)
        padded = np.zeros(self.rows * self.packing, dtype=np.float64)
        padded[: self.degree] = key
        padded += _P * (padded < 0)
        known[: self.packing, : self.rows] = padded.reshape(self.rows, self.packing).T
        if self.masks:
            free = _expand(_draw(rng), self.packing * self.masks)
            known[: self.packing, self.rows :] = free.reshape(self.packing, self.masks)
        seeds = [_draw(rng) for _ in range(self.privacy)]
        for place, seed in enumerate(seeds):
            known[self.packing + place] = _expand(seed, self.columns)
        explicit = _product(self._generator, known)
        rows = explicit.astype("<u2")
        plain = (*seeds, *(row.tobytes() for row in rows))
        return Dealt(plain, np.concatenate([known[self.packing :], explicit]))

    def test_values(self, values: F64Array, ctx: bytes, client: bytes, root: bytes) -> bytes:
        """u by its values at x = 1 .. T: u16 (T, 10), little endian."""
        first = values[: self.reconstruct_size]
        r = challenge(ctx, client, root, self.rows)
        u = _mod(first[:, self.rows :] + first[:, : self.rows] @ r.T)
        return u.astype("<u2").tobytes()

    @property
    def test_bytes(self) -> int:
        """Length of the published test values."""
        return 2 * self.masks * self.reconstruct_size

    def open(self, place: int, plain: bytes) -> Opened:
        """A box's plaintext as a share.

        Raises:
            CodecError: wrong length, or a value that is not below p (or, for a single key-holder, beyond 96).
        """
        if len(plain) != self.box_bytes(place):
            raise CodecError(f"a share of {len(plain)} bytes, {self.box_bytes(place)} are needed")
        if self.is_single:
            key = np.frombuffer(plain, dtype=np.int8).astype(np.float64)
            if np.abs(key).max() > KEY_BOUND:
                raise CodecError(f"a key coefficient is beyond {KEY_BOUND}")
            return Opened(key + _P * (key < 0), np.empty(0))
        if place < self.privacy:
            values = _expand(plain, self.columns)
        else:
            values = np.frombuffer(plain, dtype="<u2").astype(np.float64)
            if values.max() >= PRIME:
                raise CodecError("a share is not below 65521")
        return Opened(values[: self.rows], values[self.rows :])

    def check(
        self,
        place: int,
        share: Opened,
        *,
        ctx: bytes,
        client: bytes,
        salt: bytes,
        path: Sequence[bytes],
        test: bytes,
    ) -> bytes | None:
        """The member's part of the low-degree test.

        Returns:
            The root that the member's own leaf and the path give, if the share passes; None if not. The client's
            signature must verify over this root.
        """
        if len(test) != self.test_bytes:
            return None
        u = np.frombuffer(test, dtype="<u2").astype(np.float64).reshape(self.reconstruct_size, self.masks)
        if u.max() >= PRIME:
            return None
        own = leaf(ctx, client, place + 1, salt, np.concatenate([share.rows, share.masks]))
        root = root_from_path(own, place, self.members, path)
        if root is None:
            return None
        row = _lagrange(self._points[: self.reconstruct_size], (place + 1,))
        seen = _mod(share.masks + challenge(ctx, client, root, self.rows) @ share.rows)
        return root if bool((seen == _product(row, u)[0]).all()) else None

    def add(self, rows: Iterable[NDArray[np.uint16]]) -> bytes:
        """A member's answer: the sum of its rows (u16, (L,)) over all clients of U, modulo p; the masks never."""
        total = np.zeros(self.rows, dtype=np.int64)
        for row in rows:
            total += row
        return _mod(total.astype(np.float64)).astype("<u2").tobytes()

    def parse_answer(self, data: bytes) -> I64Array:
        """An answer's residues, (L,).

        Raises:
            CodecError: wrong length, or a value that is not below p.
        """
        if len(data) != 2 * self.rows:
            raise CodecError(f"an answer of {len(data)} bytes, {2 * self.rows} are needed")
        values = np.frombuffer(data, dtype="<u2").astype(np.int64)
        if values.max() >= PRIME:
            raise CodecError("an answer is not below 65521")
        return values

    # ---- the sum of the keys ----

    def reconstruct(self, answers: Mapping[int, I64Array]) -> tuple[I64Array, tuple[int, ...]]:
        """The sum of the keys from the members' answers.

        Args:
            answers: place (from 0) -> residues (L,); at least T + 1 (one for a single key-holder).

        Returns:
            (centred sum, int64 (N,); places of members whose answer was wrong and left out).

        Raises:
            RoundAborted: too few answers, or more wrong ones than floor((A - T) / 2).
        """
        if self.is_single:
            if set(answers) != {0}:
                raise RoundAborted(None, "answer", "the key-holder has not answered; nothing was opened")
            return center(answers[0]), ()
        places, t = sorted(answers), self.reconstruct_size
        if len(places) <= t:
            raise RoundAborted(None, "answer", f"{len(places)} answers, {t + 1} are needed; nothing was opened")
        values = np.stack([answers[place] for place in places]).astype(np.float64)
        points = tuple(place + 1 for place in places)
        most, wrong = (len(places) - t) // 2, np.zeros(len(places), dtype=np.bool_)
        while not self._consistent(points, values, wrong):
            wrong = wrong | self._wrong_places(points, values, wrong, most)
            if wrong.sum() > most:
                raise RoundAborted(
                    None,
                    "answer",
                    f"the {len(places)} answers do not fit together, and more than {most} of them are wrong: nobody "
                    "can be named; more answers may still come",
                )
        good = np.flatnonzero(~wrong)[:t]
        back = _lagrange(tuple(points[k] for k in good), self._secret_points)
        total = _product(back, values[good]).T.reshape(-1)[: self.degree]
        return center(total.astype(np.int64)), tuple(places[k] for k in np.flatnonzero(wrong))

    def _consistent(self, points: tuple[int, ...], values: F64Array, wrong: NDArray[np.bool_]) -> bool:
        """Whether the answers that are not left out are values of polynomials of degree < T, row by row."""
        good = np.flatnonzero(~wrong)
        base, rest = good[: self.reconstruct_size], good[self.reconstruct_size :]
        across = _lagrange(tuple(points[k] for k in base), tuple(points[k] for k in rest))
        return bool((_product(across, values[base]) == values[rest]).all())

    def _wrong_places(
        self, points: tuple[int, ...], values: F64Array, wrong: NDArray[np.bool_], most: int
    ) -> NDArray[np.bool_]:
        """Further wrong answers: a random combination of all rows is one word of the same code, in which every wrong
        answer stands out but with probability 1/p; decode that."""
        good = np.flatnonzero(~wrong)
        coins = _expand(os.urandom(SEED_BYTES), self.rows)
        word = _mod(values[good] @ coins).astype(np.int64)
        found = np.zeros(len(points), dtype=np.bool_)
        errors = _decode_word([points[k] for k in good], word, self.reconstruct_size, most - int(wrong.sum()))
        if errors is None or not errors.any():
            found[:] = True  # beyond the distance: nobody can be named
        else:
            found[good[errors]] = True
        return found


def _decode_word(points: Sequence[int], word: I64Array, size: int, most: int) -> NDArray[np.bool_] | None:
    """Positions at which a word differs from the polynomial of degree < size nearest to it, at most `most`; or None.

    Berlekamp and Welch: find E monic of degree e = most and Q of degree < size + e with Q(x) = y E(x) at all points;
    then Q = f E for the polynomial f that the word is made of, whatever else E's zeros are.
    """
    e, a = most, len(points)
    if e < 1:
        return None
    x = np.array(points, dtype=np.int64)
    powers = np.ones((a, size + e), dtype=np.int64)
    for k in range(1, size + e):
        powers[:, k] = powers[:, k - 1] * x % PRIME
    # Unknowns: size + e coefficients of Q, e of E below its leading one: Q(x) - y (E(x) - x^e) = y x^e.
    system = np.concatenate(
        [powers, (PRIME - word)[:, None] * powers[:, :e] % PRIME, (word * powers[:, e] % PRIME)[:, None]], axis=1
    )
    solution = _solve(system)
    if solution is None:
        return None
    q, locator = solution[: size + e], np.append(solution[size + e :], 1)
    f, rest = _divide(q, locator)
    if rest.any():
        return None
    value = np.zeros(a, dtype=np.int64)
    for coefficient in f[::-1]:
        value = (value * x + coefficient) % PRIME
    wrong: NDArray[np.bool_] = value != word
    return wrong if wrong.sum() <= most else None


def _solve(system: I64Array) -> I64Array | None:
    """One solution of the equations [A | b] modulo p (free unknowns zero), or None."""
    rows, unknowns = system.shape[0], system.shape[1] - 1
    pivots, top = [], 0
    for column in range(unknowns):
        nonzero = np.flatnonzero(system[top:, column])
        if not len(nonzero):
            continue
        pivot = top + int(nonzero[0])
        system[[top, pivot]] = system[[pivot, top]]
        system[top] = system[top] * pow(int(system[top, column]), -1, PRIME) % PRIME
        others = system[:, column].copy()
        others[top] = 0
        system = (system - others[:, None] * system[top]) % PRIME
        pivots.append(column)
        top += 1
        if top == rows:
            break
    if system[top:, -1].any():
        return None
    out = np.zeros(unknowns, dtype=np.int64)
    out[pivots] = system[: len(pivots), -1]
    return out


def _divide(q: I64Array, e: I64Array) -> tuple[I64Array, I64Array]:
    """Quotient and remainder of q by a monic e, coefficients from the constant up."""
    rest, degree = q.copy(), len(e) - 1
    quotient = np.zeros(max(len(q) - degree, 1), dtype=np.int64)
    for k in range(len(q) - 1, degree - 1, -1):
        lead = rest[k]
        quotient[k - degree] = lead
        rest[k - degree : k + 1] = (rest[k - degree : k + 1] - lead * e) % PRIME
    return quotient, rest


def _draw(rng: Callable[[int], bytes]) -> bytes:
    data = rng(SEED_BYTES)
    if type(data) is not bytes or len(data) != SEED_BYTES:
        raise ParameterError("rng(32) must return exactly 32 bytes; use os.urandom")
    return data

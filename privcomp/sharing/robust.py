"""Opening although some shares are wrong: they are found, named and left out.

Notation: m shares at points x_i of polynomials of degree < k. They are words of a Reed-Solomon code of distance m - k +
1: up to (m - k) / 2 wrong parties are corrected, whatever they send; of more than that up to m - k - `most` are
noticed.

A party that is wrong is wrong in a whole vector, so one word decides: a random combination of all columns, made after
the shares are here, is a word of the same code, in which each wrong party stands out but with probability 2^-60. Its
errors are located; then everybody else's shares are checked in all columns. The result does not depend on that
probability: what is returned lies on polynomials of degree < k that all but at most `most` parties agree with, and by
the code's distance there is only one such vector.

Locating works on syndromes, S_j = sum over i of v_i x_i^j y_i for j < m - k, v_i = 1 / product over l != i of (x_i -
x_l), which are zero for words of the code: they are functions of the errors alone. So the time of the search depends on
what the wrong parties sent, and not on the secrets.

Source: Reed, Solomon, J. SIAM 8 (1960); Massey, "Shift-register synthesis and BCH decoding", IEEE Trans. IT 15 (1969),
for the locator; it corrects what the algorithms of Berlekamp and Welch (US patent 4,633,470) and of Gao (2003) do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from privcomp import _core
from privcomp.algebra.fields import GOLDILOCKS, PrimeField
from privcomp.errors import ParameterError, RemoteError
from privcomp.sharing._parts import draw_seed
from privcomp.sharing.packed import PackedShare, gather_packed
from privcomp.sharing.shamir import Share, gather
from privcomp.typing import BoolArray, U64Array

__all__ = ["Opened", "combine_packed_robust", "combine_robust"]

_STAGE: Final = "combine"
_ATTEMPTS: Final = 8  # combinations that miss an error with probability 2^-60 each


@dataclass(frozen=True, repr=False, eq=False)
class Opened:
    """What was opened, and who was wrong.

    Attributes:
        values: u64 (d,), the secrets.
        wrong: the points (Shamir) or party numbers (packed) whose shares were wrong in some place and were not used
            there.
    """

    values: U64Array
    wrong: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Opened(values=<{self.values.size} hidden>, wrong={self.wrong})"


def combine_robust(
    shares: Sequence[Share],
    *,
    owner: bytes,
    context: bytes,
    most: int | None = None,
    scattered: bool = False,
    rng: Callable[[int], bytes] = os.urandom,
) -> Opened:
    """The secrets of Shamir's sharing, although up to `most` of the shares are wrong.

    Args:
        shares: m of one owner, session, field, threshold k and length, at distinct points; m >= k.
        owner: whose secrets are wanted.
        context: digest of the session in which they were shared.
        most: wrong parties that are corrected, 0 .. (m - k) / 2; None: as many as can be. With fewer, more are noticed.
        scattered: False: at most `most` parties are wrong at all, else nothing is opened. True: at most `most` in each
            place of the vector, which may be others in every place (transmission errors, not an adversary).
        rng: fresh random bytes, for the combination.

    Raises:
        ParameterError: shares that do not belong together or to owner and context, too few, a point that is 0 or occurs
            twice, most out of range.
        RemoteError: more shares are wrong than that; nobody can be named.

    >>> from privcomp.sharing.shamir import share
    >>> shares = share(np.array([7, 8], np.uint64), 2, range(1, 6), owner=b"a", context=b"session")
    >>> shares[3].values[1] += np.uint64(1)
    >>> opened = combine_robust(shares, owner=b"a", context=b"session")
    >>> opened.values, opened.wrong
    (array([7, 8], dtype=uint64), (4,))
    """
    xs, rows = gather(shares, owner, context)
    first = shares[0]
    at = np.zeros(1, np.uint64)
    values, wrong = _open(first.field, xs, rows, first.threshold, at, most, scattered, rng)
    return Opened(values[0], tuple(int(x) for x in xs[wrong]))


def combine_packed_robust(
    shares: Sequence[PackedShare],
    *,
    owner: bytes,
    context: bytes,
    most: int | None = None,
    scattered: bool = False,
    rng: Callable[[int], bytes] = os.urandom,
) -> Opened:
    """The secrets of packed sharing (or of a product), although up to `most` of the shares are wrong.

    Arguments and errors as `combine_robust`, with k = degree + 1; `Opened.wrong` holds numbers of parties.
    """
    xs, rows = gather_packed(shares, owner, context)
    first = shares[0]
    values, wrong = _open(GOLDILOCKS, xs, rows, first.degree + 1, first.params.secret_points, most, scattered, rng)
    return Opened(
        values.reshape(-1)[: first.length].copy(), tuple(s.party for s, bad in zip(shares, wrong, strict=True) if bad)
    )


def _open(
    field: PrimeField,
    points: U64Array,
    rows: U64Array,
    k: int,
    at: U64Array,
    most: int | None,
    scattered: bool,
    rng: Callable[[int], bytes],
) -> tuple[U64Array, BoolArray]:
    """Values at `at`, (len(at), d), of the polynomials of degree < k; and which rows (m, d) were wrong somewhere."""
    m, d = rows.shape
    if m < k:
        raise ParameterError(f"threshold is {k} with {m} shares; allowed is [1, {m}]")
    limit = (m - k) // 2
    most = limit if most is None else most
    if not 0 <= most <= limit:
        raise ParameterError(f"most is {most}; {m} shares of which {k} open correct up to {limit} wrong ones")
    out, wrong = np.zeros((len(at), d), np.uint64), np.zeros(m, np.bool_)
    ranges = [(0, d)]
    while ranges:
        first, last = ranges.pop()
        block = rows[:, first:last]
        bad = _wrong_rows(field, points, block, k, most, rng)
        if bad is not None:
            wrong |= bad
            good = np.flatnonzero(~bad)[:k]
            out[:, first:last] = _core.shamir_interpolate(
                field.core_id, points[good], np.ascontiguousarray(block[good]), at
            )
        elif scattered and last - first > 1:
            middle = (first + last) // 2
            ranges += [(middle, last), (first, middle)]
        else:
            raise RemoteError(
                None,
                _STAGE,
                f"{m} shares do not lie on polynomials of degree {k - 1}, and more than {most} of them are wrong: "
                "nobody can be named; nothing is returned",
            )
    return out, wrong


def _wrong_rows(
    field: PrimeField, points: U64Array, rows: U64Array, k: int, most: int, rng: Callable[[int], bytes]
) -> BoolArray | None:
    """At most `most` rows without which all others lie on polynomials of degree < k, in every column; None: no such
    rows were found."""
    # What is no element is no share, whatever the others say.
    bad: BoolArray = np.any(rows >= np.uint64(field.modulus), axis=1)
    for _ in range(_ATTEMPTS):
        good = np.flatnonzero(~bad)
        left = most - int(bad.sum())
        if left < 0:
            return None
        known = np.ascontiguousarray(rows[good])
        base, rest = known[:k], known[k:]
        seen = _core.shamir_interpolate(field.core_id, points[good[:k]], base, points[good[k:]])
        if not np.bitwise_or.reduce(seen ^ rest, axis=None, initial=0):
            return bad
        coins = _coins(field, rows.shape[1], rng)
        word = np.array([field.dot(row, coins) for row in known], np.uint64)
        errors = locate(field, points[good], word, k, left)
        if errors is None:
            return None
        bad[good[errors]] = True
    return None


def _coins(field: PrimeField, count: int, rng: Callable[[int], bytes]) -> U64Array:
    """Field elements, each value with probability at most 2^-60."""
    words = np.frombuffer(_core.keystream(draw_seed(rng), 8 * count), np.dtype("<u8")).astype(np.uint64)
    words >>= np.uint64(64 - field.modulus.bit_length())
    p = np.uint64(field.modulus)
    return np.where(words >= p, words - p, words)


def locate(field: PrimeField, points: U64Array, word: U64Array, k: int, most: int) -> BoolArray | None:
    """Where a word differs from the values of a polynomial of degree < k, if it does so in at most `most` places.

    Args:
        field: M61 or GOLDILOCKS.
        points: u64 (m,), canonical, distinct, non-zero.
        word: u64 (m,), canonical.
        k: 1 .. m.
        most: 0 .. (m - k) / 2.

    Returns:
        bool (m,); or None. (Beyond `most` errors it may also be wrong: whoever uses it checks.)

    The locator L(z) = product over the errors of (1 - x_i z) is the shortest recurrence of the syndromes, and unique
    for at most (m - k) / 2 errors: the generalised Reed-Solomon code with multipliers v_i is dual to this one.
    """
    m = points.size
    none: BoolArray = np.zeros(m, np.bool_)
    zero = np.zeros(1, np.uint64)
    if m == k:
        return none
    # Lagrange's weight of x_i at 0 is v_i times the product of all -x_l but -x_i: times x_i it is v_i times a constant.
    weights = field.mul(_core.lagrange_weights(field.core_id, points, zero)[0], points)
    terms, syndromes = field.mul(weights, word), []
    powers: U64Array = np.ones(m, np.uint64)
    for _ in range(m - k):
        syndromes.append(field.dot(terms, powers))
        powers = field.mul(powers, points)
    locator = _shortest_recurrence(syndromes, field.modulus)
    count = len(locator) - 1
    if count > most:
        return None
    # z^count L(1/z), whose zeros are the x_i themselves.
    values: U64Array = np.ones(m, np.uint64)
    for coefficient in locator[1:]:
        values = field.add(field.mul(values, points), np.full(m, coefficient, np.uint64))
    found: npt.NDArray[np.bool_] = values == 0
    return found if int(found.sum()) == count else None


def _shortest_recurrence(sequence: Sequence[int], p: int) -> list[int]:
    """1, c_1, ..., c_L with s_j + c_1 s_{j-1} + ... + c_L s_{j-L} = 0 modulo p for L <= j < len(sequence), L least.

    Source: Massey, IEEE Trans. IT 15 (1969), algorithm 2.
    """
    current, previous, length, shift, last = [1], [1], 0, 1, 1
    for j, value in enumerate(sequence):
        gap = (value + sum(c * sequence[j - i] for i, c in enumerate(current[1 : length + 1], 1))) % p
        if gap == 0:
            shift += 1
            continue
        factor, before = gap * pow(last, -1, p) % p, current
        current = current + [0] * (len(previous) + shift - len(current))
        for i, c in enumerate(previous):
            current[i + shift] = (current[i + shift] - factor * c) % p
        if 2 * length <= j:
            length, previous, last, shift = j + 1 - length, before, gap, 1
        else:
            shift += 1
    return (current + [0] * (length + 1 - len(current)))[: length + 1]

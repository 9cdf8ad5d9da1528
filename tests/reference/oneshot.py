"""Slow plain twins of the key shares of one-shot aggregation: Python integers, straight from the definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from math import comb

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

P = 65521
MASKS = 10


def interpolate(points: Mapping[int, int], x: int) -> int:
    """The value at x of the polynomial through the points, by Lagrange's formula."""
    total = 0
    for a, y in points.items():
        numerator = denominator = 1
        for b in points:
            if b != a:
                numerator = numerator * (x - b) % P
                denominator = denominator * (a - b) % P
        total += y * numerator * pow(denominator, -1, P)
    return total % P


def words(key: bytes, counter: bytes, count: int) -> list[int]:
    """Accepted 16-bit little-endian words of an AES-CTR keystream."""
    stream = Cipher(AES(key), CTR(counter)).encryptor()
    out: list[int] = []
    while len(out) < count:
        word = int.from_bytes(stream.update(bytes(2)), "little")
        if word < P:
            out.append(word)
    return out


def shares(
    key: Sequence[int], privacy: int, packing: int, members: int, seeds: Sequence[bytes], masks: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Row values (and mask values) of every member.

    Args:
        key: coefficients.
        privacy, packing, members: t_p, rho, c.
        seeds: of the first t_p members.
        masks: values of the mask rows at the secret points, (rho, masks).
    """
    rows = -(-len(key) // packing)
    padded = [*key, *[0] * (rows * packing - len(key))]
    count = rows + len(masks[0])
    drawn = [words(seed, bytes(16), count) for seed in seeds]
    out = [[0] * count for _ in range(members)]
    for r in range(count):
        known = {}
        for k in range(packing):
            known[P - 1 - k] = padded[packing * r + k] % P if r < rows else masks[k][r - rows]
        for j in range(privacy):
            known[j + 1] = drawn[j][r]
        for j in range(members):
            out[j][r] = interpolate(known, j + 1)
    return out


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def leaf(ctx: bytes, client: bytes, member: int, salt: bytes, values: Sequence[int]) -> bytes:
    data = b"".join(value.to_bytes(2, "little") for value in values)
    label = b"privcomp-oneshot-1/leaf"
    return sha256(lp(label, ctx, client, member.to_bytes(4, "little"), salt, data)).digest()


def merkle(leaves: Sequence[bytes]) -> bytes:
    """Pairs from the left; an odd node moves up unchanged."""
    level = list(leaves)
    while len(level) > 1:
        pairs = [level[k : k + 2] for k in range(0, len(level), 2)]
        level = [
            sha256(lp(b"privcomp-oneshot-1/node", *pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs
        ]
    return level[0]


def test_polynomial(
    values: Sequence[Sequence[int]], rows: int, reconstruct: int, ctx: bytes, client: bytes, root: bytes
) -> list[list[int]]:
    """u at x = 1 .. T: u_k = g_k + sum_r R_kr f_r."""
    seed = sha256(lp(b"privcomp-oneshot-1/chal", ctx, client, root)).digest()[:16]
    drawn = words(seed, bytes(16), MASKS * rows)
    out = []
    for j in range(reconstruct):
        own = values[j]
        out.append([(own[rows + k] + sum(drawn[k * rows + r] * own[r] for r in range(rows))) % P for k in range(MASKS)])
    return out


test_polynomial.__test__ = False  # type: ignore[attr-defined]


def reconstruct(answers: Mapping[int, Sequence[int]], size: int, packing: int, degree: int) -> list[int] | None:
    """The key sum on which the most answers agree, by trying every subset of T answers; None where it is not unique
    within half the distance."""
    places = sorted(answers)
    most = (len(places) - size) // 2
    found: set[tuple[int, ...]] = set()
    for chosen in combinations(places, size):
        wrong = sum(
            any(
                interpolate({j + 1: answers[j][r] for j in chosen}, k + 1) != answers[k][r]
                for r in range(len(answers[k]))
            )
            for k in places
        )
        if wrong <= most:
            out = []
            for r in range(len(answers[places[0]])):
                base = {j + 1: answers[j][r] for j in chosen}
                out += [interpolate(base, P - 1 - k) for k in range(packing)]
            found.add(tuple(value - P if value > P // 2 else value for value in out[:degree]))
    return list(found.pop()) if len(found) == 1 else None


def hypergeometric_tail(population: int, marked: int, draws: int, above: int) -> Fraction:
    """P[HG > above]."""
    good = sum(comb(marked, k) * comb(population - marked, draws - k) for k in range(above + 1, draws + 1))
    return Fraction(good, comb(population, draws))


def binomial_below(draws: int, chance: Fraction, below: int) -> Fraction:
    """P[Bin < below]."""
    return sum((Fraction(comb(draws, k)) * chance**k * (1 - chance) ** (draws - k) for k in range(below)), Fraction(0))

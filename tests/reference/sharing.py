"""Sharing in plain integers: packed polynomials, decoding by Berlekamp and Welch, streams; one value at a time."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.reference.shamir import interpolate

GOLDILOCKS = 2**64 - 2**32 + 1


def stream(seed: bytes, count: int, size: int) -> list[int]:
    """Little-endian words of `size` bytes of a seed's AES-128-CTR stream."""
    data = Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:])).encryptor().update(bytes(size * count))
    return [int.from_bytes(data[size * k : size * (k + 1)], "little") for k in range(count)]


def root_points(size: int, shift: int = 1) -> list[int]:
    """shift w^rev(i) for w of order `size`."""
    bits = size.bit_length() - 1
    w = pow(7, (GOLDILOCKS - 1) // size, GOLDILOCKS)
    return [shift * pow(w, int(f"{i:0{bits}b}"[::-1], 2) if bits else 0, GOLDILOCKS) % GOLDILOCKS for i in range(size)]


def packed_share(secrets: Sequence[Sequence[int]], parties: int, privacy: int, seed: bytes) -> list[list[int]]:
    """Rows of shares of secrets[slot][polynomial]: P + (x^l - 1) r at 7 w^rev(i)."""
    p, size, d = GOLDILOCKS, len(secrets), len(secrets[0])
    draws = stream(seed, privacy * d, 8)
    assert max(draws) < p  # a rejected draw would be another test
    points = root_points(1 << (parties - 1).bit_length(), 7)[:parties]
    at = root_points(size)
    rows = [[0] * d for _ in points]
    for j in range(d):
        values = [secrets[k][j] for k in range(size)]
        for i, x in enumerate(points):
            r = sum(draws[k * d + j] * pow(x, k, p) for k in range(privacy))
            rows[i][j] = (interpolate(at, values, x, p) + (pow(x, size, p) - 1) * r) % p
    return rows


def solve(rows: list[list[int]], p: int) -> list[int] | None:
    """One solution of [A | b] modulo p, free unknowns zero; or None."""
    rows, unknowns, pivots = [list(row) for row in rows], len(rows[0]) - 1, []
    for column in range(unknowns):
        top = len(pivots)
        pivot = next((r for r in range(top, len(rows)) if rows[r][column] % p), None)
        if pivot is None:
            continue
        rows[top], rows[pivot] = rows[pivot], rows[top]
        scale = pow(rows[top][column], -1, p)
        rows[top] = [v * scale % p for v in rows[top]]
        for r in range(len(rows)):
            if r != top and rows[r][column] % p:
                factor = rows[r][column]
                rows[r] = [(a - factor * b) % p for a, b in zip(rows[r], rows[top], strict=True)]
        pivots.append(column)
    if any(row[-1] % p for row in rows[len(pivots) :]):
        return None
    out = [0] * unknowns
    for top, column in enumerate(pivots):
        out[column] = rows[top][-1]
    return out


def berlekamp_welch(points: Sequence[int], word: Sequence[int], k: int, most: int, p: int) -> list[int] | None:
    """Where a word differs from a polynomial of degree < k, in at most `most` places; or None.

    Q of degree < k + most and E monic of degree `most` with Q(x) = y E(x) at all points; then f = Q / E.
    """
    system = [
        [pow(x, j, p) for j in range(k + most)]
        + [-y * pow(x, j, p) % p for j in range(most)]
        + [y * pow(x, most, p) % p]
        for x, y in zip(points, word, strict=True)
    ]
    found = solve(system, p)
    if found is None:
        return None
    rest, locator = found[: k + most], [*found[k + most :], 1]
    quotient = [0] * k
    for j in range(k - 1, -1, -1):
        quotient[j] = rest[j + most]
        rest[j : j + most + 1] = [
            (a - quotient[j] * b) % p for a, b in zip(rest[j : j + most + 1], locator, strict=True)
        ]
    if any(rest):
        return None
    values = [sum(c * pow(x, j, p) for j, c in enumerate(quotient)) % p for x in points]
    wrong = [i for i, (a, b) in enumerate(zip(values, word, strict=True)) if a != b % p]
    return wrong if len(wrong) <= most else None

"""Shamir sharing in plain integers, as csrc/include/privcomp.h states it: one value at a time, with %."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def interpolate(points: Sequence[int], values: Sequence[int], at: int, p: int) -> int:
    """f(at) for the polynomial of degree < len(points) through (points[i], values[i]), by Lagrange's formula."""
    total = 0
    for j, xj in enumerate(points):
        top, bottom = values[j], 1
        for k, xk in enumerate(points):
            if k != j:
                top = top * (at - xk) % p
                bottom = bottom * (xj - xk) % p
        total += top * pow(bottom, -1, p)
    return total % p


def coefficients(points: Sequence[int], values: Sequence[int], p: int) -> list[int]:
    """The coefficients of that polynomial, from degree 0 up."""
    out = [0] * len(points)
    for j, xj in enumerate(points):
        basis, bottom = [1], 1
        for k, xk in enumerate(points):
            if k != j:
                basis = [(low - xk * high) % p for low, high in zip([0, *basis], [*basis, 0], strict=True)]
                bottom = bottom * (xj - xk) % p
        scale = values[j] * pow(bottom, -1, p)
        out = [(a + scale * b) % p for a, b in zip(out, basis, strict=True)]
    return out


def share(secrets: Sequence[int], points: Sequence[int], threshold: int, seed: bytes, p: int) -> list[list[int]]:
    """One row of shares per point."""
    d, n, drawn, bits = len(secrets), len(points), threshold - 1, p.bit_length()
    stream = Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:])).encryptor().update(bytes(8 * drawn * d * 3))
    order = [(n - 1) // 2 + ((k + 1) // 2 if k % 2 else -(k // 2)) for k in range(n)]
    rows = [[0] * d for _ in points]
    for j in range(d):
        xs, ys = [0], [secrets[j]]
        for k in range(drawn):
            e = k * d + j
            while (value := int.from_bytes(stream[8 * e : 8 * e + 8], "little") >> (64 - bits)) >= p:
                e += drawn * d
            xs.append(points[order[k]])
            ys.append(value)
        for i, x in enumerate(points):
            rows[i][j] = interpolate(xs, ys, x, p)
    return rows

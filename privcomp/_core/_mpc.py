"""Kernels of multi-party computation."""

from __future__ import annotations

import numpy as np

from privcomp.typing import U64Array


def ring_matmul(out: U64Array, a: U64Array, b: U64Array, accumulate: bool = False) -> None:
    if accumulate:
        out += a @ b
    else:
        out[...] = a @ b


def rep3_gram(out: U64Array, x1: U64Array, x2: U64Array) -> None:
    s = x1 + x2
    out[...] = s @ s.T - x2 @ x2.T


def ring_gram(out: U64Array, x: U64Array) -> None:
    out[...] = x @ x.T


def rep3_product(out, x1, x2, y1, y2):
    out[...] = x1 * (y1 + y2) + x2 * y1


def rep3_and(out, x1, x2, y1, y2):
    out[...] = (x1 & (y1 ^ y2)) ^ (x2 & y1)


def cross_product(out, xi, yi, xj, yj):
    out[...] = xi * yj + xj * yi


def cross_and(out, xi, yi, xj, yj):
    out[...] = (xi & yj) ^ (xj & yi)


def mask_xor(acc, seeds, *, offset=0, cipher=0):
    from privcomp import _core

    for seed in seeds:
        acc ^= np.frombuffer(_core.keystream(seed.tobytes(), acc.size * 8, offset=8 * offset, cipher=cipher), np.uint64)


def to_planes(values, bits):
    n = values.size
    w = -(-n // 64)
    v = np.zeros(64 * w, np.uint64)
    v[:n] = values
    out = np.empty((bits, w), np.uint64)
    for b in range(bits):
        plane = ((v >> np.uint64(b)) & np.uint64(1)).astype(np.uint8)
        out[b] = np.packbits(plane, bitorder="little").view(np.uint64)
    return out


def from_planes(planes, n):
    out = np.zeros(n, np.uint64)
    for b in range(planes.shape[0]):
        bits = np.unpackbits(planes[b].view(np.uint8), bitorder="little")[:n].astype(np.uint64)
        out |= bits << np.uint64(b)
    return out

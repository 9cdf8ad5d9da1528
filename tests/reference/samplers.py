"""Slow plain twins: the samplers of Canonne, Kamath and Steinke; the candidates of sampler_exp.h in fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from tests.reference.strobe import keccak_f1600

# ---- a stream of bytes


def turboshake128(message: bytes) -> Callable[[int], bytes]:
    """RFC 9861, domain byte 1: take(n) gives the next n bytes of the output."""
    rate = 168
    state, padded = bytearray(200), message + b"\x01"
    padded += bytes(-len(padded) % rate)
    padded = padded[:-1] + bytes([padded[-1] ^ 0x80])
    for at in range(0, len(padded), rate):
        state[:rate] = (a ^ b for a, b in zip(state, padded[at : at + rate], strict=False))
        state = keccak_f1600(state, 12)
    ready = bytearray(state[:rate])

    def take(n: int) -> bytes:
        nonlocal state
        while len(ready) < n:
            state = keccak_f1600(state, 12)
            ready.extend(state[:rate])
        out = bytes(ready[:n])
        del ready[:n]
        return out

    return take


# ---- Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020), algorithms 1 to 3

Below = Callable[[int], int]
"""below(n): uniform in 0 .. n - 1."""


def below_from_bytes(take: Callable[[int], bytes]) -> Below:
    """Whole 32-bit words, little endian, the last one cut from below to the bits that are wanted; too large: again."""

    def below(n: int) -> int:
        bits = n.bit_length()
        while True:
            words, rest = divmod(bits, 32)
            drawn = take(4 * (words + (rest > 0)))
            value = int.from_bytes(drawn, "little")
            if rest:
                low = value & ((1 << (32 * words)) - 1)
                value = low | value >> (32 * words) >> (32 - rest) << (32 * words)
            if value < n:
                return value

    return below


def bernoulli(p: Fraction, below: Below) -> bool:
    return below(p.denominator) < p.numerator


def bernoulli_exp(gamma: Fraction, below: Below) -> bool:
    """Algorithm 1: True with probability exp(-gamma)."""
    while gamma > 1:
        if not bernoulli_exp(Fraction(1), below):
            return False
        gamma -= 1
    k = 1
    while bernoulli(gamma / k, below):
        k += 1
    return k % 2 == 1


def laplace(scale: int, below: Below) -> int:
    """Algorithm 2, for an integer scale."""
    while True:
        negative = bernoulli(Fraction(1, 2), below)
        while True:
            u = below(scale)
            if bernoulli_exp(Fraction(u, scale), below):
                break
        v = 0
        while bernoulli_exp(Fraction(1), below):
            v += 1
        value = u + scale * v
        if not (negative and value == 0):
            return -value if negative else value


def gaussian(sigma: Fraction, below: Below) -> int:
    """Algorithm 3."""
    t = int(sigma) + 1
    while True:
        y = laplace(t, below)
        if bernoulli_exp((abs(y) - sigma**2 / t) ** 2 / (2 * sigma**2), below):
            return y


# ---- exp(-phi) in plain integers


def exp_bounds(phi: Fraction, bits: int) -> tuple[int, int]:
    """low <= exp(-phi) 2^bits <= high: Taylor's series for phi / 2^halvings, then squarings, rounded both ways."""
    if phi > bits:
        return 0, 1
    halvings = int(phi).bit_length() + 8
    places = bits + halvings + 64
    z = int(phi * (1 << places)) >> halvings
    term, total, k = 1 << places, 0, 0
    while term:
        total += -term if k % 2 else term
        k += 1
        term = term * z // (k << places)
    # each term is off by at most 3 units, and what is left out, alternating and falling, by less than one
    low, high = total - 3 * k - 4, total + 3 * k + 4
    for _ in range(halvings):
        low, high = low * low >> places, -(-high * high >> places)
    return low >> (places - bits), -(-high >> (places - bits))


# ---- the candidates


def candidates(
    *,
    gauss: bool,
    q: Fraction,
    shift: int,
    scale: int,
    weights: Sequence[int],
    alias: Sequence[int],
    first: bytes,
    extension: Callable[[int, int], int],
) -> Iterator[tuple[int, bool, bool, int]]:
    """(value, accepted, in the tail, words of the uniform that were read) of each candidate of a stream.

    Args:
        first: stream 1, 16 bytes per candidate.
        extension: extension(i, k) is extension word k of candidate i.
    """
    w = 1 << shift

    def bin_of(word: int) -> int:
        threshold, other = divmod(alias[word % 64], 64)
        return word % 64 if word >> 6 & 0xFFFF < threshold else other

    for i in range(len(first) // 16):
        a, b = (int.from_bytes(first[16 * i + 8 * k : 16 * i + 8 * k + 8], "little") for k in range(2))
        bin, word, used, block, factor = bin_of(a), a, 0, 0, Fraction(1)
        tail = bin == 63
        if tail and gauss:
            g = 0
            while (drawn := extension(i, used)) == 0:
                g, used = g + 64, used + 1
            g, used = g + (drawn & -drawn).bit_length() - 1, used + 1
            block, factor = g, Fraction(2) ** (g + 1)
        while bin == 63 and not gauss:
            word, used = extension(i, used), used + 1
            block, factor, bin = block + 63, factor * Fraction(1 << 22, weights[63]), bin_of(word)
        sign = a >> 22 & 1
        y = (block + bin) * w + (word >> (64 - shift) if shift else 0)
        x = y + sign
        phi = x * x / (2 * q) if gauss else x / q
        ratio = Fraction(scale, weights[bin] << 40) * factor
        uniform, words = b, 1
        while True:
            bits = 64 * words + 32 + max(0, ratio.numerator.bit_length())
            low, high = exp_bounds(Fraction(phi), bits)
            if Fraction(uniform + 1, 1 << (64 * words)) <= ratio * Fraction(low, 1 << bits):
                accepted = True
                break
            if Fraction(uniform, 1 << (64 * words)) >= ratio * Fraction(high, 1 << bits):
                accepted = False
                break
            uniform, words = uniform << 64 | extension(i, used + words - 1), words + 1
        yield (-y - 1 if sign else y), accepted, tail, words

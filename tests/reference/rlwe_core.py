"""Additive ring-LWE in plain integers, from the equations of csrc/include/privcomp.h."""

from __future__ import annotations

from collections.abc import Sequence

import gmpy2
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import mpfr

SIGMA = gmpy2.mpq(64, 10)
CUT = 96


def primes_below(bits: int, degree: int, count: int) -> list[int]:
    """The largest primes below 2^bits that are 1 modulo 2N."""
    q = ((1 << bits) - 2) // (2 * degree) * (2 * degree) + 1
    found: list[int] = []
    while len(found) < count:
        if gmpy2.is_prime(q):
            found.append(q)
        q -= 2 * degree
    return found


def root_of(q: int, degree: int) -> int:
    """Some psi with psi^N = -1."""
    x = 2
    while True:
        psi = pow(x, (q - 1) // (2 * degree), q)
        if pow(psi, degree, q) == q - 1:
            return psi
        x += 1


def reversed_bits(i: int, degree: int) -> int:
    return int(format(i, f"0{degree.bit_length() - 1}b")[::-1], 2)


def transform(a: Sequence[int], q: int, psi: int) -> list[int]:
    """a^[i] = a(psi^(2 brv(i) + 1)), by evaluation."""
    n = len(a)
    powers = [pow(psi, k, q) for k in range(2 * n)]
    return [sum(x * powers[(2 * reversed_bits(i, n) + 1) * k % (2 * n)] for k, x in enumerate(a)) % q for i in range(n)]


def inverse_transform(a: Sequence[int], q: int, psi: int) -> list[int]:
    """a with a^ given: a[k] = 1/N sum over i of a^[i] psi^(-k (2 brv(i) + 1))."""
    n = len(a)
    powers = [pow(psi, k, q) for k in range(2 * n)]
    scale = pow(n, -1, q)
    return [
        sum(x * powers[-(2 * reversed_bits(i, n) + 1) * k % (2 * n)] for i, x in enumerate(a)) * scale % q
        for k in range(n)
    ]


def product(a: Sequence[int], b: Sequence[int], q: int) -> list[int]:
    """a b modulo x^N + 1."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[(i + j) % n] += x * y if i + j < n else -x * y
    return [x % q for x in out]


def aes_words(key: bytes, counter: bytes, count: int) -> list[int]:
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(8 * count))
    return [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(count)]


def expand(expander: bytes, j: int, r: int, q: int, degree: int) -> list[int]:
    """The first N words below q, of the stream of polynomial j and prime number r."""
    block = j.to_bytes(4, "little") + r.to_bytes(4, "little") + bytes(8)
    mask = (1 << q.bit_length()) - 1
    words = [w & mask for w in aes_words(expander, block, 8 * degree + 64)]
    return [w for w in words if w < q][:degree]


def tails() -> list[int]:
    """2^127 P[|x| > k] for k < 96, to the nearest integer."""
    with gmpy2.context(gmpy2.get_context(), precision=600):
        mass = [gmpy2.exp(mpfr(-k * k / (2 * SIGMA * SIGMA))) for k in range(CUT + 1)]
        total = mass[0] + 2 * sum(mass[1:])
        return [int(gmpy2.rint(2 * sum(mass[k + 1 :]) / total * mpfr(2) ** 127)) for k in range(CUT)]


def gaussian(seed: bytes, stream: int, count: int, thresholds: Sequence[int]) -> list[int]:
    """Samples from blocks of AES: bit 0 is the sign, the rest is compared with all thresholds."""
    start = (int.from_bytes(seed[16:], "big") + (stream << 64)) % (1 << 128)
    words = aes_words(seed[:16], start.to_bytes(16, "big"), 2 * count)
    out = []
    for low, high in zip(words[::2], words[1::2], strict=True):
        v = (high << 64 | low) >> 1
        size = sum(v < t for t in thresholds)
        out.append(-size if low & 1 else size)
    return out


def bits_of(residues: Sequence[tuple[int, int]]) -> bytes:
    """Residues with their widths, lowest bit first."""
    total = at = 0
    for value, width in residues:
        total |= value << at
        at += width
    return total.to_bytes((at + 7) // 8, "little")


def encrypt(
    degree: int,
    primes: Sequence[int],
    radix: int,
    digits: int,
    secret: Sequence[int],
    a: Sequence[Sequence[Sequence[int]]],
    e: Sequence[Sequence[int]],
    values: Sequence[int],
) -> bytes:
    """c = a s + e + Delta m modulo each prime, a[j][r] in coefficients, packed."""
    q = 1
    for prime in primes:
        q *= prime
    delta = q // radix**digits
    residues = []
    for j in range(-(-len(values) // (degree * digits))):
        part = values[j * degree * digits : (j + 1) * degree * digits]
        m = [sum(v * radix**i for i, v in enumerate(part[k : k + digits])) for k in range(0, len(part), digits)]
        for r, prime in enumerate(primes):
            masked = product(a[j][r], secret, prime)
            residues += [
                ((masked[i] + e[j][i] + delta * value) % prime, prime.bit_length()) for i, value in enumerate(m)
            ]
    return bits_of(residues)

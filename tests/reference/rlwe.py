"""Additive ring-LWE with Python integers, written from its description alone: slow, exact, and sharing no line with
the core.

A `Scheme` holds N, the primes q_r, 2N-th roots of unity psi_r, the radix M and k. Polynomials are lists of Python
integers.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import gmpy2
import mpmath
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Poly = list[int]


def is_prime(n: int) -> bool:
    return bool(gmpy2.is_prime(n, 40))


def primes_below(bits: int, degree: int, count: int) -> list[int]:
    """The largest primes below 2^bits that are 1 mod 2 * degree, in falling order."""
    found, q = [], (1 << bits) - 2 * degree + 1
    while len(found) < count:
        if is_prime(q):
            found.append(q)
        q -= 2 * degree
    return found


def least_root(q: int, degree: int) -> int:
    """The least psi with psi^degree = -1 mod q: the odd powers of any of them are all of them."""
    x = 2
    while pow(some := pow(x, (q - 1) // (2 * degree), q), degree, q) != q - 1:
        x += 1
    best = power = some
    for _ in range(degree - 1):
        power = power * some * some % q
        best = min(best, power)
    return best


def reverse_bits(value: int, width: int) -> int:
    return int(format(value, f"0{width}b")[::-1], 2) if width else 0


def multiply(a: Sequence[int], b: Sequence[int], q: int) -> Poly:
    """a * b in Z_q[x] / (x^N + 1), for a in 0..q-1 and any small b: one product of two large integers.

    Coefficients are written side by side in slots so wide that no sum of N products reaches the next one (Kronecker).
    """
    n = len(a)
    slot = 2 * q.bit_length() + n.bit_length() + 8

    def pack(poly: Sequence[int]) -> int:
        width = -(-slot // 8)
        return int.from_bytes(b"".join((c % q).to_bytes(width, "little") for c in poly), "little")

    width = -(-slot // 8)
    product = (pack(a) * pack(b)).to_bytes(2 * n * width, "little")
    full = [int.from_bytes(product[i * width : (i + 1) * width], "little") for i in range(2 * n)]
    return [(full[i] - full[i + n]) % q for i in range(n)]


def evaluate(a: Sequence[int], point: int, q: int) -> int:
    """a(point) mod q, by Horner's rule."""
    value = 0
    for c in reversed(a):
        value = (value * point + c) % q
    return value


def ntt(a: Sequence[int], psi: int, q: int) -> Poly:
    """a^[t] = a(psi^(2 brv(t) + 1)), by remainders: Z_q[x] / (x^n - z^2) = Z_q[x] / (x^(n/2) - z) x Z_q[x] / (x^(n/2)
    + z)."""
    n = len(a)

    def split(poly: Sequence[int], exponent: int) -> Poly:
        # poly is reduced modulo x^len - psi^exponent
        m = len(poly)
        if m == 1:
            return [poly[0] % q]
        z = pow(psi, exponent // 2, q)
        low, high = poly[: m // 2], [c * z % q for c in poly[m // 2 :]]
        plus = [(x + y) % q for x, y in zip(low, high, strict=True)]
        minus = [(x - y) % q for x, y in zip(low, high, strict=True)]
        return split(plus, exponent // 2) + split(minus, exponent // 2 + n)  # -z = psi^(exponent / 2 + n)

    return split(list(a), n)


def inverse_ntt(values: Sequence[int], psi: int, q: int) -> Poly:
    """The polynomial with these values, undoing `ntt` step by step."""
    n = len(values)
    half = pow(2, -1, q)

    def join(part: Sequence[int], exponent: int) -> Poly:
        m = len(part)
        if m == 1:
            return [part[0] % q]
        plus, minus = join(part[: m // 2], exponent // 2), join(part[m // 2 :], exponent // 2 + n)
        unscale = half * pow(psi, -(exponent // 2), q) % q
        low = [(x + y) * half % q for x, y in zip(plus, minus, strict=True)]
        return low + [(x - y) * unscale % q for x, y in zip(plus, minus, strict=True)]

    return join(values, n)


def expander(context: bytes) -> bytes:
    """The AES-128 key from which the public polynomials of a round follow."""
    return hashlib.sha256(b"privcomp-oneshot-1/a" + context).digest()[:16]


def expand(key: bytes, j: int, r: int, q: int, degree: int) -> Poly:
    """a^_{j,r}: words of AES-128-CTR from the counter block LE32(j) || LE32(r) || BE64(0), cut to the bits of q; too
    large ones are skipped."""
    block = j.to_bytes(4, "little") + r.to_bytes(4, "little") + bytes(8)
    stream = Cipher(algorithms.AES(key), modes.CTR(block)).encryptor()
    mask, found = (1 << q.bit_length()) - 1, []
    while len(found) < degree:
        word = int.from_bytes(stream.update(bytes(8)), "little") & mask
        if word < q:
            found.append(word)
    return found


@cache
def _tails() -> list[int]:
    """tail[k] = 2^127 P[|x| > k] for D(Z, 6.4), rounded to the nearest integer; from 60 digits."""
    with mpmath.workdps(60):
        weights = [mpmath.exp(-mpmath.mpf(x * x) / (2 * mpmath.mpf("6.4") ** 2)) for x in range(120)]
        whole = weights[0] + 2 * sum(weights[1:])
        return [int(mpmath.nint(2**127 * 2 * sum(weights[k + 1 :]) / whole)) for k in range(96)]


def gaussian(seed: bytes, stream: int, count: int) -> Poly:
    """Samples of D(Z, 6.4).

    Block number seed[16:] + 2^64 stream + i of AES-128 under seed[:16] is a little-endian number: its lowest bit is the
    sign, the others are v, and |x| is the number of k with v < tail[k].
    """
    start = int.from_bytes(seed[16:], "big") + (stream << 64)
    blocks = b"".join(((start + i) % 2**128).to_bytes(16, "big") for i in range(count))
    data = Cipher(algorithms.AES(seed[:16]), modes.ECB()).encryptor().update(blocks)
    out = []
    for i in range(count):
        word = int.from_bytes(data[16 * i : 16 * i + 16], "little")
        # tail is falling, so the k with v < tail[k] are the first ones.
        size = bisect.bisect_left(_tails(), -(word >> 1), key=lambda tail: -tail)
        out.append(-size if word & 1 else size)
    return out


@dataclass(frozen=True)
class Scheme:
    """N, primes, roots, radix M, digits k."""

    degree: int
    primes: tuple[int, ...]
    roots: tuple[int, ...]
    radix: int
    digits: int

    @property
    def modulus(self) -> int:
        return math.prod(self.primes)

    @property
    def delta(self) -> int:
        return self.modulus // self.radix**self.digits

    @cached_property
    def _crt(self) -> tuple[int, ...]:
        return tuple((self.modulus // q) * pow(self.modulus // q, -1, q) for q in self.primes)

    def lift(self, residues: Sequence[int]) -> int:
        """The integer in 0..q-1 with these residues."""
        return sum(r * c for r, c in zip(residues, self._crt, strict=True)) % self.modulus

    def public(self, key: bytes, j: int) -> list[Poly]:
        """a_j modulo each prime, as coefficients."""
        return [
            inverse_ntt(expand(key, j, r, q, self.degree), psi, q)
            for r, (q, psi) in enumerate(zip(self.primes, self.roots, strict=True))
        ]

    def messages(self, values: Sequence[int]) -> list[Poly]:
        """Values to plaintext polynomials: value k t + l of a polynomial is digit l of coefficient t."""
        per = self.degree * self.digits
        padded = [*values, *[0] * (-len(values) % per)]
        return [
            [
                sum(padded[start + self.digits * t + i] * self.radix**i for i in range(self.digits))
                for t in range(self.degree)
            ]
            for start in range(0, len(padded), per)
        ]

    def encrypt(
        self, key: bytes, secret: Sequence[int], errors: Sequence[Sequence[int]], values: Sequence[int], first: int = 0
    ) -> list[list[Poly]]:
        """Residues [polynomial][prime][coefficient]; of the last polynomial only the coefficients in use."""
        out = []
        left = -(-len(values) // self.digits)
        for i, message in enumerate(self.messages(values)):
            rows = []
            for a, q in zip(self.public(key, first + i), self.primes, strict=True):
                product = multiply(a, secret, q)
                row = [(p + e + self.delta * m) % q for p, e, m in zip(product, errors[i], message, strict=True)]
                rows.append(row[:left])
            out.append(rows)
            left -= self.degree
        return out

    def pack(self, residues: list[list[Poly]]) -> bytes:
        """Prime by prime within a polynomial, least significant bit first."""
        bits, width = 0, 0
        for rows in residues:
            for row, q in zip(rows, self.primes, strict=True):
                for value in row:
                    bits |= value << width
                    width += q.bit_length()
        return bits.to_bytes(-(-width // 8), "little")

    def unpack(self, data: bytes, count: int) -> list[list[Poly]]:
        """The residues of `count` values; ValueError for a length, a residue or padding that is not canonical."""
        left = -(-count // self.digits)
        total = left * sum(q.bit_length() for q in self.primes)
        bits = int.from_bytes(data, "little")
        if len(data) != -(-total // 8) or bits >> total:
            raise ValueError("length or padding")
        out = []
        while left > 0:
            used, rows = min(left, self.degree), []
            for q in self.primes:
                row = []
                for _ in range(used):
                    value = bits & ((1 << q.bit_length()) - 1)
                    bits >>= q.bit_length()
                    if value >= q:
                        raise ValueError("residue")
                    row.append(value)
                rows.append(row)
            out.append(rows)
            left -= used
        return out

    def add(self, x: list[list[Poly]], y: list[list[Poly]]) -> list[list[Poly]]:
        return [
            [
                [(a + b) % q for a, b in zip(row, other, strict=True)]
                for row, other, q in zip(rows, others, self.primes, strict=True)
            ]
            for rows, others in zip(x, y, strict=True)
        ]

    def phase(self, key: bytes, key_sum: Sequence[int], residues: list[list[Poly]], first: int = 0) -> list[int]:
        """c - a S in 0..q-1, one integer per coefficient in use."""
        out = []
        for i, rows in enumerate(residues):
            products = [multiply(a, key_sum, q) for a, q in zip(self.public(key, first + i), self.primes, strict=True)]
            for t in range(len(rows[0])):
                out.append(
                    self.lift([(row[t] - p[t]) % q for row, p, q in zip(rows, products, self.primes, strict=True)])
                )
        return out

    def open(self, phase: Sequence[int], count: int) -> tuple[list[int], list[int]]:
        """(the `count` values, the noise of every coefficient); ValueError where a message reaches M^k."""
        half, values, noise = self.delta // 2, [], []
        for x in phase:
            u = (x + half) % self.modulus
            m, rest = divmod(u, self.delta)
            if m >= self.radix**self.digits:
                raise ValueError("overflow")
            noise.append(rest - half)
            for _ in range(self.digits):
                m, digit = divmod(m, self.radix)
                values.append(digit)
        return values[:count], noise

    def decode(
        self, key: bytes, key_sum: Sequence[int], residues: list[list[Poly]], count: int, first: int = 0
    ) -> tuple[list[int], list[int]]:
        """(sums, noise)."""
        return self.open(self.phase(key, key_sum, residues, first), count)

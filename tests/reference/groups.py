"""The two groups in plain integers, written from the RFCs: the slow twin of csrc/src/ristretto255.c and bn254.c."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# ---- edwards25519 and ristretto255 (RFC 9496)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578


def negative(x: int) -> bool:
    return x % P % 2 == 1


def absolute(x: int) -> int:
    return -x % P if negative(x) else x % P


def sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    flipped, flipped_i = check == -u % P, check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        r = r * SQRT_M1 % P
    return check == u % P or flipped, absolute(r)


@dataclass(frozen=True)
class Edwards:
    """An affine point of edwards25519; `==` is that of the curve, `same` that of ristretto255."""

    x: int
    y: int

    def __add__(self, other: Edwards) -> Edwards:
        cross = D * self.x * other.x * self.y * other.y % P
        x = (self.x * other.y + self.y * other.x) * pow(1 + cross, -1, P) % P
        y = (self.y * other.y + self.x * other.x) * pow(1 - cross, -1, P) % P
        return Edwards(x, y)

    def __neg__(self) -> Edwards:
        return Edwards(-self.x % P, self.y)

    def __rmul__(self, scalar: int) -> Edwards:
        total, power = Edwards(0, 1), self
        while scalar:
            if scalar & 1:
                total += power
            power, scalar = power + power, scalar >> 1
        return total

    def same(self, other: Edwards) -> bool:
        return (self.x * other.y - self.y * other.x) % P == 0 or (self.y * other.y - self.x * other.x) % P == 0

    def on_curve(self) -> bool:
        return (self.y**2 - self.x**2 - 1 - D * self.x**2 * self.y**2) % P == 0

    def encode(self) -> bytes:
        x, y, t = self.x, self.y, self.x * self.y % P
        u1 = (1 + y) * (1 - y) % P
        _, invsqrt = sqrt_ratio(1, u1 * t * t % P)
        den1, den2 = invsqrt * u1 % P, invsqrt * t % P
        z_inv = den1 * den2 * t % P
        if negative(t * z_inv):
            x, y, den_inv = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
        else:
            den_inv = den2
        if negative(x * z_inv):
            y = -y % P
        return absolute(den_inv * (1 - y)).to_bytes(32, "little")


def ristretto_decode(data: bytes) -> Edwards | None:
    s = int.from_bytes(data, "little")
    if s >= P or negative(s):
        return None
    ss = s * s % P
    u1, u2 = 1 - ss, 1 + ss
    v = (-D * u1 * u1 - u2 * u2) % P
    square, invsqrt = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = invsqrt * u2 % P
    x, y = absolute(2 * s * den_x), u1 * invsqrt * den_x * v % P
    return Edwards(x, y) if square and not negative(x * y) and y else None


def ristretto_map(t: int) -> Edwards:
    r = SQRT_M1 * t * t % P
    u, v = (r + 1) * (1 - D * D) % P, (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio(u, v)
    if not square:
        s, c = -absolute(s * t) % P, r
    else:
        c = -1
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1, w2, w3 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P, (1 - s * s) % P, (1 + s * s) % P
    return Edwards(w0 * pow(w1, -1, P) % P, w2 * pow(w3, -1, P) % P)


def ristretto_from_uniform(data: bytes) -> Edwards:
    a, b = (int.from_bytes(data[k : k + 32], "little") % 2**255 for k in (0, 32))
    return ristretto_map(a % P) + ristretto_map(b % P)


EDWARDS_BASE = Edwards(
    15112221349535400772501151409588531511454012693041857206046113283949847762202, 4 * pow(5, -1, P) % P
)

# ---- BN254 G1 (EIP-196) and its Shallue-van de Woestijne map (RFC 9380, section 6.6.1)

Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617


@dataclass(frozen=True)
class Weierstrass:
    """An affine point of y^2 = x^3 + 3; (0, 0) is the identity."""

    x: int
    y: int

    def __add__(self, other: Weierstrass) -> Weierstrass:
        if (self.x, self.y) == (0, 0):
            return other
        if (other.x, other.y) == (0, 0):
            return self
        if self.x == other.x:
            if (self.y + other.y) % Q == 0:
                return Weierstrass(0, 0)
            slope = 3 * self.x**2 * pow(2 * self.y, -1, Q)
        else:
            slope = (other.y - self.y) * pow(other.x - self.x, -1, Q)
        x = (slope * slope - self.x - other.x) % Q
        return Weierstrass(x, (slope * (self.x - x) - self.y) % Q)

    def __neg__(self) -> Weierstrass:
        return Weierstrass(self.x, -self.y % Q)

    def __rmul__(self, scalar: int) -> Weierstrass:
        total, power = Weierstrass(0, 0), self
        while scalar:
            if scalar & 1:
                total += power
            power, scalar = power + power, scalar >> 1
        return total

    def same(self, other: Weierstrass) -> bool:
        return self == other

    def on_curve(self) -> bool:
        return (self.x, self.y) == (0, 0) or (self.y**2 - self.x**3 - 3) % Q == 0

    def encode(self) -> bytes:
        return self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")


def bn_decode(data: bytes) -> Weierstrass | None:
    x, y = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
    point = Weierstrass(x, y)
    return point if x < Q and y < Q and point.on_curve() else None


def bn_map(u: int) -> Weierstrass:
    def g(x: int) -> int:
        return (x**3 + 3) % Q

    z = 1
    c1, c2 = g(z), -z * pow(2, -1, Q) % Q
    c3 = pow(-g(z) * 3 * z * z, (Q + 1) // 4, Q)
    c3 = c3 if c3 % 2 == 0 else Q - c3
    c4 = -4 * g(z) * pow(3 * z * z, -1, Q) % Q
    tv1, tv2 = (1 - u * u * c1) % Q, (1 + u * u * c1) % Q
    tv3 = pow(tv1 * tv2, -1, Q) if tv1 * tv2 % Q else 0
    tv4 = u * tv1 * tv3 * c3 % Q
    for x in ((c2 - tv4) % Q, (c2 + tv4) % Q, (z + c4 * (tv2 * tv2 * tv3) ** 2) % Q):
        y = pow(g(x), (Q + 1) // 4, Q)
        if y * y % Q == g(x):
            return Weierstrass(x, y if y % 2 == u % 2 else Q - y)
    raise ArithmeticError("one of the three is on the curve")


def bn_from_uniform(data: bytes) -> Weierstrass:
    return bn_map(int.from_bytes(data[:48], "big") % Q) + bn_map(int.from_bytes(data[48:], "big") % Q)


BN_BASE = Weierstrass(1, 2)


# ---- RFC 9380, section 5.3.1


def expand_message_xmd(hash_name: str, message: bytes, dst: bytes, length: int) -> bytes:
    def h(data: bytes) -> bytes:
        return hashlib.new(hash_name, data).digest()

    suffix = dst + bytes([len(dst)])
    block = hashlib.new(hash_name).block_size
    b0 = h(bytes(block) + message + length.to_bytes(2, "big") + b"\0" + suffix)
    out = last = h(b0 + b"\1" + suffix)
    counter = 2
    while len(out) < length:
        last = h(bytes(x ^ y for x, y in zip(b0, last, strict=True)) + bytes([counter]) + suffix)
        out, counter = out + last, counter + 1
    return out[:length]

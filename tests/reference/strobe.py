"""Merlin over STROBE-128 over Keccak-f[1600] in plain Python: the slow twin of csrc/src/transcript.c."""

from __future__ import annotations

import copy


def keccak_f1600(state: bytearray, rounds: int = 24) -> bytearray:
    """FIPS 202, section 3, with lanes a[x][y] and the constants computed, not listed; the last so many rounds."""

    def turn(lane: int, n: int) -> int:
        return (lane << n % 64 | lane >> (64 - n % 64)) & (2**64 - 1)

    a = [[int.from_bytes(state[8 * (x + 5 * y) : 8 * (x + 5 * y) + 8], "little") for y in range(5)] for x in range(5)]
    lfsr = 1
    for _ in range(7 * (24 - rounds)):
        lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
    for _ in range(rounds):
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        a = [[a[x][y] ^ c[x - 1] ^ turn(c[(x + 1) % 5], 1) for y in range(5)] for x in range(5)]
        b = [[0] * 5 for _ in range(5)]
        b[0][0] = a[0][0]
        x, y = 1, 0
        for t in range(24):
            b[y][(2 * x + 3 * y) % 5] = turn(a[x][y], (t + 1) * (t + 2) // 2)
            x, y = y, (2 * x + 3 * y) % 5
        a = [[b[x][y] ^ (~b[(x + 1) % 5][y] & b[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
        for j in range(7):
            if lfsr & 1:
                a[0][0] ^= 1 << ((1 << j) - 1)
            lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
    return bytearray(b"".join(a[k % 5][k // 5].to_bytes(8, "little") for k in range(25)))


class Merlin:
    """The state of `privcomp.transcript.State`."""

    RATE = 166

    def __init__(self, label: bytes) -> None:
        self.state = keccak_f1600(bytearray(bytes([1, self.RATE + 2, 1, 0, 1, 96]) + b"STROBEv1.0.2").ljust(200, b"\0"))
        self.position = self.begin = 0
        self._begin_op(0x12)
        self._absorb(b"Merlin v1.0")
        self.append(b"dom-sep", label)

    def _run_f(self) -> None:
        self.state[self.position] ^= self.begin
        self.state[self.position + 1] ^= 0x04
        self.state[self.RATE + 1] ^= 0x80
        self.state = keccak_f1600(self.state)
        self.position = self.begin = 0

    def _absorb(self, data: bytes) -> None:
        for byte in data:
            self.state[self.position] ^= byte
            self.position += 1
            if self.position == self.RATE:
                self._run_f()

    def _begin_op(self, flags: int) -> None:
        old, self.begin = self.begin, self.position + 1
        self._absorb(bytes([old, flags]))
        if flags & 0x24 and self.position:
            self._run_f()

    def _frame(self, label: bytes, length: int) -> None:
        self._begin_op(0x12)
        self._absorb(label)
        self._absorb(length.to_bytes(4, "little"))

    def append(self, label: bytes, message: bytes) -> None:
        self._frame(label, len(message))
        self._begin_op(0x02)
        self._absorb(message)

    def challenge(self, label: bytes, length: int) -> bytes:
        self._frame(label, length)
        self._begin_op(0x07)
        out = bytearray()
        for _ in range(length):
            out.append(self.state[self.position])
            self.state[self.position] = 0
            self.position += 1
            if self.position == self.RATE:
                self._run_f()
        return bytes(out)

    def copy(self) -> Merlin:
        return copy.deepcopy(self)

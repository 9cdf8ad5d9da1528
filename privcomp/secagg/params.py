"""Parameters of a secure-aggregation round: frozen, validated once, canonical bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import gmpy2

from privcomp._core import AES128_CTR, CHACHA20
from privcomp.codec import U8, U32, U64, Blob, Bool, Codec, Message, Nested, Seq, Text
from privcomp.errors import ParameterError
from privcomp.secagg import graph

__all__ = ["BONAWITZ", "MALICIOUS", "SECAGGPLUS", "SEMI_HONEST", "Params", "Segment", "Thresholds"]

BONAWITZ = "bonawitz"
SECAGGPLUS = "secaggplus"
SEMI_HONEST = "semi_honest"
MALICIOUS = "malicious"
VERSION = 2


@dataclass(frozen=True)
class Segment(Message):
    """A part of the vector with one modulus: 2^bits (kind 0) or a prime of up to 256 bits (kind 1).

    Args:
        kind: 0 ring, 1 prime field.
        bits: 1..64 for a ring (entries are u32 up to 32 bits, else u64); 0 for a prime.
        modulus: the prime, 32 bytes little endian; empty for a ring.
        length: number of entries, 1 .. 2^40.

    Raises:
        ParameterError: a value is out of range or the modulus is not an odd prime above 2^31.
    """

    TAG: ClassVar[int] = 0x11
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("kind", U8),
        ("bits", U8),
        ("modulus", Blob(32)),
        ("length", U64),
    )
    kind: int
    bits: int
    modulus: bytes
    length: int

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 1 << 40:
            raise ParameterError(f"segment length {self.length}: allowed are 1..2^40 entries")
        if self.kind == 0:
            if not 1 <= self.bits <= 64 or self.modulus:
                raise ParameterError(f"ring segment with {self.bits} bits: allowed are 1..64 and no modulus")
        elif self.kind == 1:
            p = int.from_bytes(self.modulus, "little")
            if self.bits or len(self.modulus) != 32 or p <= 1 << 31 or not gmpy2.is_prime(p):
                raise ParameterError("prime segment: the modulus must be a prime above 2^31 in 32 little-endian bytes")
        else:
            raise ParameterError(f"segment kind {self.kind}: allowed are 0 (2^bits) and 1 (prime)")

    @classmethod
    def ring(cls, bits: int, length: int) -> Segment:
        """A segment modulo 2^bits."""
        return cls(0, bits, b"", length)

    @classmethod
    def prime(cls, modulus: int, length: int) -> Segment:
        """A segment modulo a prime."""
        if not 0 < modulus < 1 << 256:
            raise ParameterError("prime segment: the modulus must lie below 2^256")
        return cls(1, 0, modulus.to_bytes(32, "little"), length)

    @property
    def is_ring(self) -> bool:
        return self.kind == 0

    @property
    def itemsize(self) -> int:
        """Bytes of keystream per entry: 4 or 8 for a ring, 64 for a prime."""
        return 64 if self.kind else 4 if self.bits <= 32 else 8

    def packed_bytes(self, entries: int) -> int:
        """Bytes on the wire of `entries` entries."""
        return 32 * entries if self.kind else (entries * self.bits + 7) // 8


@dataclass(frozen=True)
class Thresholds:
    """What follows from the params once n = |U1| is known.

    Attributes:
        n: clients in the key list.
        neighbours: k, even; n - 1 on the complete graph.
        threshold: t, shares that open a secret (neighbours other than oneself).
        quorum: q, consistency signatures needed (0 where the server is semi-honest).
        complete: whether everybody masks with everybody.
    """

    n: int
    neighbours: int
    threshold: int
    quorum: int
    complete: bool


@dataclass(frozen=True)
class Params(Message):
    """A secure-aggregation round.

    Args:
        protocol: "bonawitz" (complete graph) or "secaggplus" (k neighbours; few clients fall back to the complete
        graph).
        adversary: "semi_honest" or "malicious" (of the server; malicious means the complete graph).
        segments: the vector.
        corrupt: c, corrupt clients to withstand, an absolute number out of the whole roster.
        clients: the most clients that the encoding's range check allows; |U1| may not exceed it.
        threshold: t, or 0: the least that the adversary model allows for the actual |U1|.
        honest_survivors: least |U| - c for which anything is opened.
        cipher: 1 AES-128-CTR, 2 ChaCha20.
        hybrid: X25519 with ML-KEM-768.
        gamma_ppm, delta_ppm: corrupt and vanishing fractions that a sparse graph is made for, in millionths.
        attachment_bytes: most bytes of the opaque attachment of an upload.
        block_entries: entries per block of an upload.
        context: at most 4096 opaque bytes of the layer above (encoding, statement), bound into everything.

    Raises:
        ParameterError: the combination does not add up.
    """

    TAG: ClassVar[int] = 0x10
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("protocol", Text(32)),
        ("adversary", Text(32)),
        ("segments", Seq(Nested(Segment), 64)),
        ("corrupt", U32),
        ("clients", U32),
        ("threshold", U32),
        ("honest_survivors", U32),
        ("cipher", U8),
        ("hybrid", Bool),
        ("gamma_ppm", U32),
        ("delta_ppm", U32),
        ("attachment_bytes", U32),
        ("block_entries", U32),
        ("context", Blob(4096)),
        ("version", U8),
    )
    protocol: str
    adversary: str
    segments: tuple[Segment, ...]
    corrupt: int
    clients: int
    threshold: int = 0
    honest_survivors: int = 3
    cipher: int = AES128_CTR
    hybrid: bool = False
    gamma_ppm: int = 50_000
    delta_ppm: int = 50_000
    attachment_bytes: int = 0
    block_entries: int = 1 << 18
    context: bytes = b""
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ParameterError(f"secure-aggregation version {self.version}: this release speaks version {VERSION}")
        if self.protocol not in (BONAWITZ, SECAGGPLUS):
            raise ParameterError(f"protocol {self.protocol!r}: allowed are {BONAWITZ!r} and {SECAGGPLUS!r}")
        if self.adversary not in (SEMI_HONEST, MALICIOUS):
            raise ParameterError(f"adversary {self.adversary!r}: allowed are {SEMI_HONEST!r} and {MALICIOUS!r}")
        if self.protocol == SECAGGPLUS and self.adversary == MALICIOUS:
            raise ParameterError(
                "secaggplus against a malicious server is not offered: its sparse graph has no written argument; "
                "use bonawitz (the complete graph)"
            )
        if not self.segments:
            raise ParameterError("no segments: there is nothing to sum")
        if self.cipher not in (AES128_CTR, CHACHA20):
            raise ParameterError(
                f"cipher {self.cipher}: allowed are {AES128_CTR} (AES-128-CTR) and {CHACHA20} (ChaCha20)"
            )
        if not 3 <= self.clients <= 1 << 20:
            raise ParameterError(f"clients = {self.clients}: allowed are 3..2^20")
        if self.honest_survivors < 2:
            raise ParameterError("honest_survivors < 2: a sum with one honest addend is that client's update")
        if self.gamma_ppm + self.delta_ppm > 500_000:
            raise ParameterError("gamma + delta must not exceed one half: nobody plans a sparse graph beyond that")
        if self.attachment_bytes > 1 << 26:
            raise ParameterError("attachment_bytes: at most 2^26")
        if not 64 <= self.block_entries <= 1 << 24 or self.block_entries % 64:
            raise ParameterError("block_entries: a multiple of 64 in 64..2^24 (so that every block starts on a byte)")
        if any(-(-s.length // self.block_entries) >= 1 << 32 for s in self.segments):
            raise ParameterError("block_entries is too small: a segment would have 2^32 blocks or more")
        self.thresholds(self.clients)

    def thresholds(self, n: int) -> Thresholds:
        """t, k and q for n = |U1| clients.

        Malicious server: 2t > n + c, 2q > n + c. Semi-honest: t > c and t >= n / 2 on the complete graph, the least
        (k, t) of `graph.degree` on a sparse one.

        Raises:
            ParameterError: an explicit threshold is too low, or n is too small for any.
        """
        c, quorum = self.corrupt, 0
        sparse = graph.degree(n, self.gamma_ppm, self.delta_ppm) if self.protocol == SECAGGPLUS else None
        if sparse is not None:
            k, least = sparse
            if self.threshold and not graph.sparse_conditions(n, k, self.threshold, self.gamma_ppm, self.delta_ppm):
                raise ParameterError(
                    f"threshold {self.threshold} breaks the conditions of the graph; the least is {least}"
                )
            return Thresholds(n, k, self.threshold or least, 0, False)
        if self.adversary == MALICIOUS:
            least = quorum = (n + c) // 2 + 1
        else:
            least = max(c + 1, (n + 1) // 2)
        threshold = self.threshold or least
        if threshold < least:
            raise ParameterError(f"threshold {threshold} with {n} clients and c = {c}: the least allowed is {least}")
        if threshold > n - 1:
            raise ParameterError(
                f"threshold {threshold} needs {threshold + 1} clients, {n} are here; lower c or ask more"
            )
        return Thresholds(n, n - 1, threshold, quorum, True)

"""Parameters of a one-shot round: frozen, validated once, canonical bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

from privcomp.codec import U8, U32, U64, Blob, Bool, Codec, Message, Nested, Text
from privcomp.errors import ParameterError
from privcomp.he.params import RlweParams
from privcomp.oneshot.committee import MAX_MEMBERS, Committee
from privcomp.oneshot.keyshares import Sharing

__all__ = ["MALICIOUS", "ONESHOT", "SEMI_HONEST", "Params", "least_survivors"]

ONESHOT: Final = "oneshot"
MALICIOUS: Final = "malicious"
SEMI_HONEST: Final = "semi_honest"
VERSION: Final = 1
_PPM: Final = 1_000_000


def least_survivors(roster: int, corrupt: int, honest: int) -> int:
    """The least n_min that a careful node accepts: max(c_cl + m, ceil(n / 2)).

    Args:
        roster: n, the size of the pinned roster; never the number of those asked, nor of the uploads.
        corrupt: c_cl, corrupt clients of the roster.
        honest: m, honest survivors at least.

    >>> least_survivors(20, 6, 3), least_survivors(5, 1, 3)
    (10, 4)
    """
    return max(corrupt + honest, -(-roster // 2))


@dataclass(frozen=True)
class Params(Message):
    """A one-shot round.

    Args:
        adversary: of the server: "malicious" (a quorum of members certifies the survivors), or "semi_honest".
        ring: what a sum of ciphertexts may hold: profile, b, n_max, W.
        length: d, entries of the vector, 1 .. 2^40.
        committee: who holds the shares.
        survivors_min: n_min, least |U| for which anything is opened.
        gamma_ppm: corrupt fraction of the roster, in millionths: members that refuse more clients are set aside.
        hybrid: boxes by X25519 with ML-KEM-768.
        block_polynomials: polynomials per block of an upload.
        context: at most 2^16 opaque bytes of the layer above (encoding, task), bound into everything.

    Raises:
        ParameterError: the combination does not add up.
    """

    TAG: ClassVar[int] = 0x0901
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("adversary", Text(32)),
        ("ring", Nested(RlweParams)),
        ("length", U64),
        ("committee", Nested(Committee)),
        ("survivors_min", U32),
        ("gamma_ppm", U32),
        ("hybrid", Bool),
        ("block_polynomials", U32),
        ("context", Blob(1 << 16)),
        ("version", U8),
    )
    EXPANSION: ClassVar[int] = 8
    adversary: str
    ring: RlweParams
    length: int
    committee: Committee
    survivors_min: int
    gamma_ppm: int = 100_000
    hybrid: bool = False
    block_polynomials: int = 8
    context: bytes = b""
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ParameterError(f"one-shot version {self.version}: this release speaks version {VERSION}")
        if self.adversary not in (SEMI_HONEST, MALICIOUS):
            raise ParameterError(f"adversary {self.adversary!r}: allowed are {SEMI_HONEST!r} and {MALICIOUS!r}")
        if type(self.ring) is not RlweParams or type(self.committee) is not Committee:
            raise ParameterError("one-shot: ring is a RlweParams, committee a Committee")
        if not 1 <= self.length <= 1 << 40:
            raise ParameterError(f"length {self.length}: allowed are 1..2^40 entries")
        if not 2 <= self.survivors_min <= self.ring.clients:
            raise ParameterError(
                f"survivors_min = {self.survivors_min}: allowed are 2..{self.ring.clients} (n_max); a sum of one "
                "client is that client's update"
            )
        if not 0 <= self.gamma_ppm <= _PPM // 2:
            raise ParameterError("gamma: allowed are 0 .. 0.5 of the roster")
        if not 1 <= self.block_polynomials <= 1 << 10:
            raise ParameterError("block_polynomials: allowed are 1..1024")
        if self.committee.packing > self.ring.degree or self.committee.size > MAX_MEMBERS:
            raise ParameterError("one-shot: the committee does not fit the ring")
        if self.blocks >= 1 << 32:
            raise ParameterError("block_polynomials is too small: an upload would have 2^32 blocks or more")

    @property
    def protocol(self) -> str:
        """ "oneshot"."""
        return ONESHOT

    @property
    def clients(self) -> int:
        """n_max, the most clients in a sum."""
        return self.ring.clients

    @property
    def certified(self) -> bool:
        """Whether shares are tested and a quorum certifies the survivors: a malicious server and more than one
        member."""
        return self.adversary == MALICIOUS and not self.committee.is_single

    @cached_property
    def sharing(self) -> Sharing:
        """How keys are shared among this committee."""
        c = self.committee
        return Sharing(self.ring.degree, c.size, c.privacy, c.packing, tested=self.certified)

    @property
    def block_values(self) -> int:
        """Entries in one block of an upload."""
        return self.block_polynomials * self.ring.values_per_polynomial

    @property
    def blocks(self) -> int:
        """Blocks of an upload."""
        return -(-self.length // self.block_values)

    def block(self, index: int) -> tuple[int, int, int]:
        """(first entry, entries, bytes) of a block.

        Whole polynomials take N log2 q bits, a multiple of 8, so every block starts on a byte.
        """
        first = index * self.block_values
        count = min(self.block_values, self.length - first)
        return first, count, self.ring.ciphertext_bytes(count)

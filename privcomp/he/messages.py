"""The header of an upload. See `privcomp.he.upload` for what stands around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from privcomp.codec import U8, U32, U64, Blob, Codec, Fixed, Message, Text
from privcomp.errors import ParameterError
from privcomp.keys import ID_MAX_BYTES, check_id

__all__ = ["MAC", "MAX_HEADER_BYTES", "SIGNATURE", "UploadHeader"]

SIGNATURE: Final = 1
MAC: Final = 2
MAX_HEADER_BYTES: Final = 256


@dataclass(frozen=True)
class UploadHeader(Message):
    """What the bytes behind it are, and for which sum they were made.

    Args:
        engine: "rlwe" or the name of another way to encrypt.
        context: digest of the round, 32 bytes.
        params: digest of the engine's parameters, 32 bytes; they hold the budget of clients and weights.
        party: who sends it, 1..64 bytes.
        length: number of values.
        clients: the most ciphertexts that may be added.
        weight: the largest weight.
        payload_bytes: bytes that follow, without the tag.
        tag_kind: 1 an Ed25519 signature, 2 a MAC.

    Raises:
        ParameterError: an id or a tag kind that does not exist.
    """

    TAG: ClassVar[int] = 0x0801
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("engine", Text(16)),
        ("context", Fixed(32)),
        ("params", Fixed(32)),
        ("party", Blob(ID_MAX_BYTES)),
        ("length", U64),
        ("clients", U32),
        ("weight", U32),
        ("payload_bytes", U64),
        ("tag_kind", U8),
    )
    engine: str
    context: bytes
    params: bytes
    party: bytes
    length: int
    clients: int
    weight: int
    payload_bytes: int
    tag_kind: int

    def __post_init__(self) -> None:
        check_id(self.party)
        if self.tag_kind not in (SIGNATURE, MAC):
            raise ParameterError(f"tag kind {self.tag_kind}: allowed are {SIGNATURE} (signature) and {MAC} (MAC)")

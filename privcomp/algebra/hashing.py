"""Bytes for hashing to groups."""

from __future__ import annotations

import hashlib

from privcomp.errors import ParameterError

__all__ = ["expand_message_xmd"]


def expand_message_xmd(hash_name: str, message: bytes, dst: bytes, length: int) -> bytes:
    """Uniform bytes from a message.

    Args:
        hash_name: "sha256" or "sha512".
        message: any bytes.
        dst: domain separation tag, at least 1 byte; one of more than 255 is hashed first (section 5.3.3).
        length: 1 .. 255 times the hash's length.

    Raises:
        ParameterError: any of them is out of range.

    Source: RFC 9380, section 5.3.1.

    >>> expand_message_xmd("sha256", b"abc", b"QUUX-V01-CS02-with-expander-SHA256-128", 32).hex()[:16]
    'd8ccab23b5985cce'
    """
    if hash_name not in ("sha256", "sha512"):
        raise ParameterError(f"hash {hash_name!r}; allowed are 'sha256' and 'sha512'")
    size, block = hashlib.new(hash_name).digest_size, hashlib.new(hash_name).block_size
    if not dst:
        raise ParameterError("an empty domain separation tag; every use needs one of its own")
    if len(dst) > 255:
        dst = hashlib.new(hash_name, b"H2C-OVERSIZE-DST-" + dst).digest()
    if not 1 <= length <= 255 * size:
        raise ParameterError(f"length is {length}; allowed is 1 to {255 * size}")
    suffix = dst + bytes([len(dst)])

    def h(*parts: bytes) -> bytes:
        return hashlib.new(hash_name, b"".join(parts)).digest()

    first = h(bytes(block), message, length.to_bytes(2, "big"), b"\0", suffix)
    found = [h(first, b"\1", suffix)]
    for k in range(2, -(-length // size) + 1):
        mixed = int.from_bytes(first, "big") ^ int.from_bytes(found[-1], "big")
        found.append(h(mixed.to_bytes(size, "big"), bytes([k]), suffix))
    return b"".join(found)[:length]

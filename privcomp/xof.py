"""From a shared secret to the seed of a mask keystream."""

from __future__ import annotations

from privcomp._core import SEED_BYTES
from privcomp.errors import ParameterError
from privcomp.keys import hkdf

__all__ = ["mask_seeds"]


def mask_seeds(secret: bytes, label: str, *context: bytes, cipher: int) -> bytes:
    """Derive the seed (key and initial counter) of one keystream; all of its bits come from HKDF-SHA256 (RFC 5869).

    Args:
        secret: input key material, at least 32 bytes.
        label: purpose of the stream; other purposes give unrelated streams.
        context: everything that the stream is bound to (round digest, ids, ...), each length-prefixed.
        cipher: `AES128_CTR` or `CHACHA20` of `privcomp._core`.

    Returns:
        `SEED_BYTES[cipher]` bytes.

    Raises:
        ParameterError: unknown cipher, or a secret of fewer than 32 bytes.
    """
    if cipher not in SEED_BYTES:
        raise ParameterError(f"cipher {cipher!r} is unknown; allowed are {sorted(SEED_BYTES)}")
    return hkdf(secret, *context, length=SEED_BYTES[cipher], label=label)

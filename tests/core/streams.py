"""Keystreams by `cryptography`, whose OpenSSL shares no line with the core."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privcomp import _core


def reference_stream(seed: bytes, length: int, cipher: int) -> bytes:
    """The first `length` bytes of a seed's stream."""
    if cipher == _core.AES128_CTR:
        return Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:])).encryptor().update(bytes(length))
    # OpenSSL refuses to let the low 32 bits of the counter wrap, so the stream is put together block run by block run.
    counter, out = int.from_bytes(seed[32:40], "little"), b""
    while len(out) < length:
        run = min(length - len(out), 64 * (2**32 - counter % 2**32))
        nonce = counter.to_bytes(8, "little") + seed[40:]
        out += Cipher(algorithms.ChaCha20(seed[:32], nonce), mode=None).encryptor().update(bytes(run))
        counter = (counter + run // 64) % 2**64
    return out

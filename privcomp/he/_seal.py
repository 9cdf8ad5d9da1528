"""The few calls into TenSEAL's bindings of SEAL that addition needs. The only importer of TenSEAL.

Values lie in the slots as complex numbers, two in each: an addition does not care, and half as many ciphertexts travel.

TenSEAL writes and reads SEAL's objects through files. The file here lies in memory (memfd), and only what is public
goes through it: ciphertexts and the public key. A secret key never leaves SEAL.

SEAL draws its keys and noise from the operating system itself; there is no `rng` to pass.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import numpy as np

from privcomp.errors import CodecError, LocalError
from privcomp.typing import F64Array

__all__ = ["BLOB_MAX_BYTES", "DEGREE", "VALUES", "Engine", "Sealer", "engine"]

#: N, the degree of the ring.
DEGREE: Final = 4096
#: Values in one ciphertext: N / 2 complex slots.
VALUES: Final = DEGREE
#: Two polynomials of N words of 64 bits, and SEAL's headers; what zstd cannot compress grows a little.
BLOB_MAX_BYTES: Final = 2 * DEGREE * 8 + 1024

# SEAL's header of everything that it saves: magic, its own size, version, compression, and the size of the whole.
_MAGIC: Final = b"\x5e\xa1\x10"
_HEADER_BYTES: Final = 16


@lru_cache(maxsize=1)
def _sealapi() -> ModuleType:
    try:
        import tenseal.sealapi as sealapi
    except ImportError:
        raise LocalError("CKKS needs TenSEAL: install it with `pip install 'privcomp[he]'`") from None
    module: ModuleType = sealapi
    return module


@contextmanager
def _file() -> Iterator[tuple[int, str]]:
    """A file in memory: its descriptor, and a path under which it can be opened again."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("privcomp-ckks")
        try:
            yield descriptor, f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            yield file.fileno(), file.name


def _saved(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0)
    if len(data) != size or not _is_whole(data):
        # A stream that fails says nothing.
        raise LocalError(f"SEAL wrote {len(data)} bytes that are no object: is there memory left?")
    return data


def _stage(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    if os.pwrite(descriptor, data, 0) != len(data):
        raise LocalError("a ciphertext could not be staged for SEAL: is there memory left?")


def _is_whole(data: bytes) -> bool:
    """Whether SEAL's header stands on top and states the size that there is."""
    return (
        len(data) > _HEADER_BYTES
        and data.startswith(_MAGIC)
        and int.from_bytes(data[8:_HEADER_BYTES], "little") == len(data)
    )


class Sealer:
    """SEAL's encryptor under one key, public or secret."""

    __slots__ = ("_encrypt",)

    def __init__(self, encrypt: Any) -> None:
        self._encrypt = encrypt

    def __repr__(self) -> str:
        return "Sealer(<redacted>)"


class Engine:
    """SEAL's context, encoder and evaluator for one chain: one prime of `modulus_bits` bits, scale 2^scale_bits.

    One prime only: there is no level to rescale to, and no evaluation key exists, so that nothing longer than the
    ciphertext's own modulus is ever published.

    Raises:
        LocalError: TenSEAL is not installed, or SEAL refuses the parameters.
    """

    def __init__(self, modulus_bits: int, scale_bits: int) -> None:
        self._seal = seal = _sealapi()
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(DEGREE)
        chain = seal.CoeffModulus.Create(DEGREE, [modulus_bits])
        parameters.set_coeff_modulus(chain)
        # SEAL compares with the table of the HE standard and refuses what has less than 192 bits there.
        self._context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC192)
        if not self._context.parameters_set() or self._context.using_keyswitching():
            raise LocalError(
                f"SEAL refuses N = {DEGREE} with one prime of {modulus_bits} bits; use CkksParams.for_round"
            )
        self.modulus: int = chain[0].value()
        self.scale = 2.0**scale_bits
        self._encoder = seal.CKKSEncoder(self._context)
        self._evaluator = seal.Evaluator(self._context)
        self._parms_id = self._context.first_parms_id()

    # ---- keys

    def keys(self) -> tuple[Any, bytes]:
        """A fresh secret key, which stays an object of SEAL, and the public key as bytes."""
        seal = self._seal
        generator = seal.KeyGenerator(self._context)
        public = seal.PublicKey()
        generator.create_public_key(public)
        with _file() as (descriptor, path):
            public.save(path)
            return generator.secret_key(), _saved(descriptor)

    def sealer(self, public: bytes) -> Sealer:
        """The encryptor of a public key whose origin has been checked; CodecError where it is none of this chain."""
        key = self._seal.PublicKey()
        with _file() as (descriptor, path):
            self._load(key, public, descriptor, path)
        return Sealer(self._seal.Encryptor(self._context, key).encrypt)

    def own_sealer(self, secret: Any) -> Sealer:
        """The symmetric encryptor of the one who holds the secret key: less noise, and half the work."""
        return Sealer(self._seal.Encryptor(self._context, secret).encrypt_symmetric)

    # ---- vectors

    def encrypt(self, sealer: Sealer, values: F64Array) -> Iterator[bytes]:
        """One ciphertext after another, VALUES values in each; the last one's other slots hold zero.

        Args:
            values: float64, shape (d,), contiguous; their range has been checked.
        """
        seal = self._seal
        with _file() as (descriptor, path):
            for start in range(0, values.size, VALUES):
                piece = values[start : start + VALUES]
                if piece.size % 2:
                    piece = np.append(piece, 0.0)
                plain, cipher = seal.Plaintext(), seal.Ciphertext()
                self._encoder.encode(piece.view(np.complex128).tolist(), self.scale, plain)
                sealer._encrypt(plain, cipher)
                os.ftruncate(descriptor, 0)
                cipher.save(path)
                yield _saved(descriptor)

    def load(self, blobs: tuple[bytes, ...]) -> list[Any]:
        """SEAL's objects from bytes whose origin has been checked.

        Raises:
            CodecError: not a ciphertext of this chain and scale, or one that shows its plaintext.
        """
        ciphers = []
        with _file() as (descriptor, path):
            for blob in blobs:
                cipher = self._seal.Ciphertext()
                self._load(cipher, blob, descriptor, path)
                fits = (
                    cipher.size() == 2
                    and cipher.poly_modulus_degree() == DEGREE
                    and cipher.coeff_modulus_size() == 1
                    and cipher.parms_id() == self._parms_id
                    and cipher.is_ntt_form()
                    and cipher.scale == self.scale
                )
                if not fits or cipher.is_transparent():
                    raise CodecError("a ciphertext is of another size, chain or scale, or shows its plaintext")
                ciphers.append(cipher)
        return ciphers

    def add(self, totals: list[Any], more: list[Any]) -> None:
        """totals += more, ciphertext by ciphertext: all of them or none. The objects of `more` are used up.

        Raises:
            CodecError: a sum would show its plaintext, as `more` has the negative of what was added before.
        """
        try:
            for total, cipher in zip(totals, more, strict=True):
                # Not into the total: SEAL looks at a sum only once it is written.
                self._evaluator.add_inplace(cipher, total)
        except RuntimeError as error:
            raise CodecError(f"SEAL refuses the sum: {error}") from None
        totals[:] = more

    def save(self, ciphers: list[Any]) -> tuple[bytes, ...]:
        """The bytes of ciphertexts."""
        blobs = []
        with _file() as (descriptor, path):
            for cipher in ciphers:
                os.ftruncate(descriptor, 0)
                cipher.save(path)
                blobs.append(_saved(descriptor))
        return tuple(blobs)

    def decrypt(self, secret: Any, ciphers: list[Any]) -> F64Array:
        """All slots as SEAL decodes them, shape (len(ciphers) * VALUES,): whoever sees them can compute the key."""
        seal = self._seal
        decryptor = seal.Decryptor(self._context, secret)
        values = np.empty((len(ciphers), VALUES), dtype=np.float64)
        for row, cipher in zip(values, ciphers, strict=True):
            plain = seal.Plaintext()
            decryptor.decrypt(cipher, plain)
            row.view(np.complex128)[:] = self._encoder.decode_complex(plain)
        return values.reshape(-1)

    def _load(self, into: Any, data: bytes, descriptor: int, path: str) -> None:
        if not _is_whole(data):
            raise CodecError("the bytes do not begin with SEAL's header, or it states another size")
        _stage(descriptor, data)
        try:
            into.load(self._context, path)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise CodecError(f"SEAL refuses the bytes: {error}") from None


@lru_cache(maxsize=8)
def engine(modulus_bits: int, scale_bits: int) -> Engine:
    """The engine of a chain, made once in a process."""
    made = Engine(modulus_bits, scale_bits)
    if made.modulus < math.ldexp(0.9, modulus_bits):
        raise LocalError(f"SEAL chose the modulus {made.modulus}, too far below 2^{modulus_bits} for the range checks")
    return made

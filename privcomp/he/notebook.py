"""A context that holds every key: to see homomorphic addition work, in one process, without parties.

It can open each vector that it encrypted, and so could whoever has the object. Nothing here protects anybody;
`Encryptor`, `Aggregator` and `Decryptor` in different hands do.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from privcomp.encoding import Decoded, FixedPoint
from privcomp.errors import ParameterError
from privcomp.he.params import RlweParams
from privcomp.he.rlwe import Aggregator, Decryptor, Encryptor, Secret
from privcomp.typing import F32Array, F64Array, I32Array

__all__ = ["EncryptedVector", "InsecureContext"]


class InsecureContext:
    """Encrypts vectors, adds them, decrypts any of them: all in one hand.

    Args:
        entries: length of the vectors.
        limit: largest absolute value of an entry; larger ones are clipped.
        bits: of one entry, 4..32.
        additions: the most vectors in one sum.
        rng: entropy, `rng(n)`.

    Raises:
        ParameterError: nothing that is shipped fits.

    Example:
        >>> context = InsecureContext(4, limit=8.0, bits=16, additions=3)
        >>> a, b = context.encrypt(np.array([1.0, -2.0, 0.5, 8.0])), context.encrypt(np.array([0.25, 1.0, 0.5, -8.0]))
        >>> (a + b).decrypt().round(3)
        array([ 1.25, -1. ,  1. ,  0. ])
        >>> a + b
        EncryptedVector(4 entries, 2 vectors)
    """

    def __init__(
        self,
        entries: int,
        *,
        limit: float,
        bits: int = 16,
        additions: int = 64,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.encoding = FixedPoint.for_range(limit, bits=bits, clients=additions, entries=entries)
        # An encoded vector ends with its weight, 1, and the number of clipped entries.
        self.params = RlweParams.for_round(bits, additions)
        self._rng = rng
        self._context = rng(32)

    def encrypt(self, values: F32Array | F64Array) -> EncryptedVector:
        """Encrypt floats of shape (entries,); EncodingError for NaN, infinities and other shapes or dtypes."""
        secret = Secret.draw(self.params, self._rng)
        encryptor = Encryptor(self.params, self._context, self.encoding.length)
        payload = encryptor.payload(self.encoding.encode(values, 1, rng=self._rng), secret, self._rng)
        vector = EncryptedVector(self, (payload,), secret.coefficients.astype(np.int32))
        secret.wipe()
        return vector

    def _decrypt(self, payloads: tuple[bytes, ...], key_sum: I32Array) -> Decoded:
        aggregator = Aggregator(self.params, self._context, self.encoding.length)
        for payload in payloads:
            aggregator.add_payload(payload)
        decryptor = Decryptor(self.params, self._context, self.encoding.length)
        total = decryptor.decode(aggregator.total, key_sum, len(payloads))
        return self.encoding.decode(total, len(payloads))

    def __repr__(self) -> str:
        return f"InsecureContext({self.params.profile}, {self.encoding.entries} entries, opens everything it encrypted)"


class EncryptedVector:
    """A sum of vectors of one `InsecureContext`, encrypted, with the keys that open it."""

    __slots__ = ("_context", "_key_sum", "_payloads")

    def __init__(self, context: InsecureContext, payloads: tuple[bytes, ...], key_sum: I32Array) -> None:
        self._context = context
        self._payloads = payloads
        self._key_sum = key_sum

    def __add__(self, other: EncryptedVector) -> EncryptedVector:
        if type(other) is not EncryptedVector or other._context is not self._context:
            raise ParameterError("only vectors of one context are added; encrypt both with the same InsecureContext")
        if {id(payload) for payload in self._payloads} & {id(payload) for payload in other._payloads}:
            raise ParameterError("a vector counts once in a sum, or its noise would double; encrypt the values again")
        payloads = self._payloads + other._payloads
        if len(payloads) > self._context.params.clients:
            raise ParameterError(
                f"the sum would hold {len(payloads)} vectors, the context was made for {self._context.params.clients}; "
                "pass a larger additions"
            )
        return EncryptedVector(self._context, payloads, self._key_sum + other._key_sum)

    def decrypt(self) -> F64Array:
        """The sum, float64 of shape (entries,): exact up to one granularity per vector."""
        decoded = self._context._decrypt(self._payloads, self._key_sum)
        return decoded.mean * decoded.total_weight

    def __repr__(self) -> str:
        return f"EncryptedVector({self._context.encoding.entries} entries, {len(self._payloads)} vectors)"

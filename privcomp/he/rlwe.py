"""Additive ring-LWE in three roles: encrypt, add, decrypt the sum.

Client i draws a fresh secret s_i and sends, for polynomial j = 0, 1, ..

    c_ij = a_j s_i + e_ij + Delta m_ij   mod q,

with a_j expanded from the round's context, the same for all clients. Whoever has the sum of the ciphertexts and
S = sum s_i gets sum m_i, exactly. S must come from somewhere that sums secrets and shows nothing else: shares of a
committee (`privcomp.oneshot`). A role that has one s_i and the ciphertext opens that client's values.

What is *not* offered, because it breaks: one key for all clients (each could open every upload, and with common a_j the
difference of two ciphertexts is that of their messages); one key for two uploads; a public key.

Constant time in the values, the secret and the noise; the decoder works on public sums and is not.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, cast, overload

import numpy as np
import numpy.typing as npt

from privcomp._core import RlweKey, rlwe_add, rlwe_decode_signed_into, rlwe_encrypt_signed_into, rlwe_gaussian
from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError, RoundAborted, StateError
from privcomp.he.messages import UploadHeader
from privcomp.he.params import CONTEXT_BYTES, SIGMA, RlweParams
from privcomp.he.upload import STAGE, UPLOAD_PREFIX, Receiver, Sender, read_upload, write_upload
from privcomp.typing import I32Array, I64Array, U64Array

__all__ = ["Aggregator", "Decryptor", "Encryptor", "Secret", "expander"]

Rng = Callable[[int], bytes]

ENGINE: Final = "rlwe"
DECODE_STAGE: Final = "he-decode"
_MAX_LENGTH: Final = 1 << 40
_SEED_BYTES: Final = 32
_SECRET_STREAM: Final = 1 << 32  # noise uses the streams below, one per polynomial
_BLOCK_POLYNOMIALS: Final = 4  # of values in flight: 0.5 MB at k = 4, N = 4096
_CALL_POLYNOMIALS: Final = 64  # in one call of the core, which nothing interrupts: some 5 ms


def expander(context: bytes) -> bytes:
    """The AES-128 key from which the public a_j of a round are expanded: 16 bytes of SHA-256(label || context)."""
    return hashlib.sha256(b"privcomp-oneshot-1/a" + context).digest()[:16]


def _filled(size: int, parts: Callable[[memoryview], Iterable[bytes | memoryview]]) -> bytes:
    """The parts one after the other as bytes; those that are views stand in the memory that `parts` is given already.

    A BytesIO hands out its memory when nobody else looks at it: nothing is copied.
    """
    buffer = io.BytesIO()
    buffer.seek(size - 1)
    buffer.write(b"\0")
    at = 0
    with buffer.getbuffer() as view:
        for part in parts(view):
            if isinstance(part, bytes):
                view[at : at + len(part)] = part
            at += len(part)
        del part
    return buffer.getvalue()


def _draw(rng: Rng) -> bytes:
    seed = rng(_SEED_BYTES)
    if type(seed) is not bytes or len(seed) != _SEED_BYTES:
        raise ParameterError(f"rng({_SEED_BYTES}) must return exactly {_SEED_BYTES} bytes; use os.urandom")
    return seed


class Secret:
    """The key of one upload: N discrete Gaussian coefficients, fresh, used once.

    The same key for two uploads gives whoever has both the difference of their values, without any key.

    Example:
        >>> secret = Secret.draw(RlweParams.for_round(16, 3))
        >>> secret.coefficients.shape, secret.coefficients.dtype, secret
        ((4096,), dtype('int8'), Secret(<redacted>))
    """

    __slots__ = ("_coefficients", "_degree", "_seed_hash", "_unused")

    def __init__(self, coefficients: npt.NDArray[np.int8], seed_hash: bytes) -> None:
        # Use `draw`; only a test has coefficients of its own.
        self._degree = coefficients.size
        self._coefficients: npt.NDArray[np.int8] | None = coefficients
        self._seed_hash = seed_hash
        self._unused = [True]  # a list, because pop() is one step for all threads

    @classmethod
    def draw(cls, params: RlweParams, rng: Rng = os.urandom) -> Secret:
        """Draw a secret.

        Args:
            params: the round's.
            rng: entropy of the operating system, `rng(32)`; a generator whose state can be restored repeats keys.

        Raises:
            ParameterError: `rng` does not return what it should.
        """
        seed = _draw(rng)
        return cls(rlwe_gaussian(seed, _SECRET_STREAM, params.degree), hashlib.sha256(seed).digest())

    @property
    def coefficients(self) -> npt.NDArray[np.int8]:
        """int8 (N,), |s| <= 96; to be shared among those who return sums of secrets, and shown to nobody.

        Raises:
            StateError: the secret was wiped.
        """
        if self._coefficients is None:
            raise StateError("the secret was wiped; draw a fresh one for another upload")
        return self._coefficients

    @property
    def used(self) -> bool:
        """Whether something was encrypted under it."""
        return not self._unused

    def wipe(self) -> None:
        """Overwrite the coefficients. What Python copied of them elsewhere stays until it is freed."""
        if self._coefficients is not None:
            self._coefficients[:] = 0
            self._coefficients = None

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __reduce__(self) -> str:
        raise StateError("a secret is not copied or stored: an upload whose secret was lost is made anew")

    def _claim(self, params: RlweParams) -> npt.NDArray[np.int8]:
        """The coefficients, for the one encryption."""
        if self._degree != params.degree:
            raise ParameterError(f"the secret has {self._degree} coefficients, the parameters ask for {params.degree}")
        coefficients = self.coefficients
        try:
            self._unused.pop()
        except IndexError:
            raise StateError(
                "this secret has encrypted before: a second upload under it would show the difference of the two; "
                "draw a fresh one"
            ) from None
        return coefficients

    def _check_seed(self, seed: bytes) -> None:
        if hashlib.sha256(seed).digest() == self._seed_hash:
            raise ParameterError("rng returned the same bytes twice: secret and noise would be equal; use os.urandom")


class _Role:
    """What the three roles have in common: parameters, context, length."""

    def __init__(self, params: RlweParams, context: bytes, length: int) -> None:
        if type(params) is not RlweParams:
            raise ParameterError(f"params is a {type(params).__name__}; pass a RlweParams")
        if type(context) is not bytes or len(context) != CONTEXT_BYTES:
            raise ParameterError(f"the context is a digest of the round, exactly {CONTEXT_BYTES} bytes")
        if type(length) is not int or not 1 <= length <= _MAX_LENGTH:
            raise ParameterError(f"length is {length!r}; allowed are 1..2^40 values")
        if -(-length // params.values_per_polynomial) > 1 << 32:
            raise ParameterError("length needs 2^32 polynomials or more; choose parameters with more digits")
        self.params = params
        self.context = context
        self.length = length
        self._expander = expander(context)

    @property
    def payload_bytes(self) -> int:
        """Bytes of a ciphertext without header and tag."""
        return self.params.ciphertext_bytes(self.length)

    def _steps(self, polynomials: int) -> Iterator[tuple[int, int]]:
        """(first value, values) of so many polynomials at a time; of fewer for the last ones."""
        size = polynomials * self.params.values_per_polynomial
        for start in range(0, self.length, size):
            yield start, min(size, self.length - start)

    def _header(self, party: bytes, tag_kind: int) -> UploadHeader:
        params = self.params
        return UploadHeader(
            ENGINE,
            self.context,
            params.digest,
            party,
            self.length,
            params.clients,
            params.weight,
            self.payload_bytes,
            tag_kind,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.params.profile}, context={self.context.hex()[:8]}..., length={self.length})"
        )


class Encryptor(_Role):
    """The client's role: it can encrypt, and decrypt nothing.

    Args:
        params: what is summed.
        context: digest of everything that the round is, 32 bytes: session, round, model, roster.
        length: number of values.
        sender: authenticates uploads; without it only payloads are made, for a protocol that signs them itself.

    Raises:
        ParameterError: an argument of another type or range.
    """

    def __init__(self, params: RlweParams, context: bytes, length: int, *, sender: Sender | None = None) -> None:
        super().__init__(params, context, length)
        self._sender = sender

    def encrypt(self, values: I64Array | I32Array, secret: Secret, rng: Rng = os.urandom) -> bytes:
        """One upload: header, ciphertext, tag.

        Args:
            values: int64 or int32 (length,), |value| <= params.value_bound, the client's weight inside.
            secret: fresh; it cannot be used again, whatever happens.
            rng: entropy of the operating system, `rng(32)`.

        Returns:
            The bytes for the aggregator's `add`.

        Raises:
            EncodingError: dtype, shape, or a value beyond the bound.
            StateError: the secret was used or wiped.
            ParameterError: there is no sender, the secret is of another ring, or `rng` fails.
        """
        sender = self._signing()
        # A value beyond the bound raises before anything is returned, so one pass over the values will do.
        header = self._header(sender.party, sender.tag_kind)
        before = UPLOAD_PREFIX + len(header.to_bytes())

        def parts(view: memoryview) -> Iterator[bytes | memoryview]:
            blocks = self._encrypted(values, secret, rng, view[before : before + self.payload_bytes])
            return write_upload(header, blocks, sender)

        return _filled(before + self.payload_bytes + sender.tag_bytes, parts)

    def encrypt_blocks(self, values: I64Array | I32Array, secret: Secret, rng: Rng = os.urandom) -> Iterator[bytes]:
        """The same upload in blocks of some 200 kB; everything is checked before the first one is made.

        The values are read while the blocks are taken; they must not change in between.
        """
        sender = self._signing()
        blocks = self.payload_blocks(values, secret, rng)
        return write_upload(self._header(sender.party, sender.tag_kind), blocks, sender)

    def payload(self, values: I64Array | I32Array, secret: Secret, rng: Rng = os.urandom) -> bytes:
        """The ciphertext alone, `payload_bytes` bytes. It is malleable: a protocol must sign it."""
        return _filled(self.payload_bytes, lambda view: self._encrypted(values, secret, rng, view))

    def payload_blocks(self, values: I64Array | I32Array, secret: Secret, rng: Rng = os.urandom) -> Iterator[bytes]:
        """The ciphertext alone, in blocks; as for `encrypt_blocks`."""
        self._check_values(values)
        bound = self.params.value_bound
        if not -bound <= int(values.min()) <= int(values.max()) <= bound:
            raise self._beyond()
        return self._encrypted(values, secret, rng)

    def _signing(self) -> Sender:
        if self._sender is None:
            raise ParameterError("this Encryptor has no sender; pass sender=SigningSender(...), or use payload")
        return self._sender

    def _check_values(self, values: I64Array | I32Array) -> None:
        if type(values) is not np.ndarray or values.dtype not in (np.dtype(np.int64), np.dtype(np.int32)):
            seen = getattr(values, "dtype", type(values).__name__)
            raise EncodingError(f"values are {seen}; encode them first: a native int64 or int32 array is encrypted")
        if values.shape != (self.length,):
            raise EncodingError(f"values have shape {values.shape}; this round has ({self.length},)")

    @overload
    def _encrypted(self, values: I64Array | I32Array, secret: Secret, rng: Rng) -> Iterator[bytes]: ...
    @overload
    def _encrypted(
        self, values: I64Array | I32Array, secret: Secret, rng: Rng, out: memoryview
    ) -> Iterator[memoryview]: ...
    def _encrypted(
        self, values: I64Array | I32Array, secret: Secret, rng: Rng, out: memoryview | None = None
    ) -> Iterator[bytes] | Iterator[memoryview]:
        self._check_values(values)
        coefficients = secret._claim(self.params)
        noise_seed = _draw(rng)
        secret._check_seed(noise_seed)
        made = self._blocks(values, RlweKey(self.params.tables, coefficients), noise_seed, out)
        return cast("Iterator[bytes] | Iterator[memoryview]", made)

    def _blocks(
        self, values: I64Array | I32Array, key: RlweKey, noise_seed: bytes, out: memoryview | None
    ) -> Iterator[bytes | memoryview]:
        """The blocks: bytes, or where in `out` they were written."""
        params, tables = self.params, self.params.tables
        # In memory that is there already, blocks cost calls and nothing else.
        polynomials = _BLOCK_POLYNOMIALS if out is None else _CALL_POLYNOMIALS
        packed = values.flags.c_contiguous
        scratch = np.empty(0 if packed else min(polynomials * params.values_per_polynomial, self.length), values.dtype)
        try:
            for start, step in self._steps(polynomials):
                block = values[start : start + step]
                if not packed:
                    np.copyto(scratch[:step], block)
                    block = scratch[:step]
                length = tables.ciphertext_bytes(step)
                if out is None:
                    part = memoryview(bytearray(length))
                else:
                    begin = tables.ciphertext_bytes(start)  # whole polynomials are whole bytes
                    part = out[begin : begin + length]
                first = start // params.values_per_polynomial
                rlwe_encrypt_signed_into(
                    part, tables, key, self._expander, noise_seed, block, params.value_bound, first
                )
                yield bytes(part) if out is None else part
        except EncodingError:
            raise self._beyond() from None
        finally:
            key.wipe()
            scratch[:] = 0

    def _beyond(self) -> EncodingError:
        return EncodingError(
            f"a value lies beyond +-{self.params.value_bound}, the most for {self.params.bits} bits and weights up to "
            f"{self.params.weight}; clip before encrypting. Nothing was sent"
        )


class Aggregator(_Role):
    """The server's role: it adds ciphertexts, and can open neither one nor the sum.

    Not for several threads at once.

    Args:
        params, context, length: as the clients have them.
        receiver: who may send; without it only `add_payload` works, for a protocol that checks signatures itself.

    Raises:
        ParameterError: an argument of another type or range.
    """

    def __init__(self, params: RlweParams, context: bytes, length: int, *, receiver: Receiver | None = None) -> None:
        super().__init__(params, context, length)
        self._receiver = receiver
        self._parties: dict[bytes, None] = {}
        self._count = 0
        self._total: U64Array = np.zeros(len(params.ring.primes) * -(-length // params.digits), np.uint64)

    @property
    def count(self) -> int:
        """Ciphertexts in the sum."""
        return self._count

    @property
    def parties(self) -> tuple[bytes, ...]:
        """Whose they are, in the order of arrival; of `add` only."""
        return tuple(self._parties)

    @property
    def total(self) -> U64Array:
        """The sum, for `Decryptor.decode`: uint64, a read-only view that later additions change."""
        view = self._total.view()
        view.flags.writeable = False
        return view

    def add(self, data: bytes | Iterable[bytes], party: bytes | None = None) -> bytes:
        """Check one upload and add it: all of it, or nothing.

        Args:
            data: the upload, whole or in blocks. In blocks it is staged, which takes the memory of one ciphertext.
            party: who the transport says is sending, if it knows.

        Returns:
            Id of the sender.

        Raises:
            CodecError: bytes that are no canonical upload.
            RemoteError: another round, other parameters, an unknown sender, a tag that does not verify, or a sender
                that is in the sum already.
            StateError: the sum holds `params.clients` ciphertexts.
            ParameterError: there is no receiver, or a block is not bytes.
        """
        if self._receiver is None:
            raise ParameterError(
                "this Aggregator has no receiver; pass receiver=RosterReceiver(roster), or use add_payload"
            )
        self._check_room()
        sender, payload = read_upload(data, self._header(b"any", self._receiver.tag_kind), self._receiver, party)
        if sender in self._parties:
            raise RemoteError(
                sender, STAGE, "an upload of this client is in the sum already; a client sends one per round"
            )
        self.add_payload(payload, sender)
        self._parties[sender] = None
        return sender

    def add_payload(self, payload: bytes | memoryview, party: bytes | None = None) -> None:
        """Add a ciphertext that somebody else has authenticated, and whose sender somebody else has counted.

        Raises:
            RemoteError: wrong length, a residue that is not below its prime, or padding that is not zero; the sum is
                unchanged.
            StateError: the sum is full.
        """
        self._check_room()
        if len(payload) != self.payload_bytes:
            raise RemoteError(party, STAGE, f"the ciphertext has {len(payload)} bytes, {self.payload_bytes} are due")
        try:
            rlwe_add(self.params.tables, self._total, payload, 0, self.length)
        except CodecError as error:
            raise error.by(party, STAGE) from None
        self._count += 1

    def _check_room(self) -> None:
        if self._count >= self.params.clients:
            raise StateError(
                f"the sum holds {self._count} ciphertexts, all that the parameters have room for; another could "
                "change values silently; plan the round for more clients"
            )


class Decryptor(_Role):
    """Opens one sum, given the sum of the secrets behind it.

    Args:
        params, context, length: as the clients have them.
    """

    def decode(self, total: U64Array, key_sum: I32Array, survivors: int, out: I64Array | None = None) -> I64Array:
        """The exact sum of the survivors' values.

        Args:
            total: uint64, `Aggregator.total`.
            key_sum: int32 (N,): the sum of the survivors' secrets.
            survivors: |U|, 1..params.clients.
            out: int64 (length,), contiguous, where the sum goes, or None for a new array. The first use of new memory
                takes as long as decoding: who opens many rounds keeps one array. It holds zeros if the sum is refused.

        Returns:
            int64 (length,), `out` if given: the sum, centred; |entry| <= survivors * value_bound.

        Raises:
            ParameterError: dtype, shape or number of survivors; an `out` of another kind, or that overlaps `total`.
            RoundAborted: the sum of the secrets is not that of these ciphertexts, or a client sent what no honest
                client sends. Nothing is returned.

        The checks, with n = survivors and mc coefficients in use (each refuses an honest sum with probability below
        2^-128): |S| <= 15 sigma sqrt(n); no digit beyond n W (2^b - 2), and no overflow; |E| <= 15 sigma sqrt(n); mean
        of E^2 <= sigma^2 n (1 + 2 sqrt(89 / mc) + 178 / mc), a chi-square bound for sub-Gaussian E.
        """
        params = self.params
        if type(survivors) is not int or not 1 <= survivors <= params.clients:
            raise ParameterError(f"survivors is {survivors!r}; it must be an int from 1 to {params.clients}")
        coefficients = -(-self.length // params.digits)
        shape = (len(params.ring.primes) * coefficients,)
        if type(total) is not np.ndarray or total.dtype != np.dtype(np.uint64) or total.shape != shape:
            raise ParameterError(
                f"total must be the sum of an Aggregator of this round: a uint64 array of shape {shape}"
            )
        if type(key_sum) is not np.ndarray or key_sum.dtype != np.dtype(np.int32) or key_sum.shape != (params.degree,):
            raise ParameterError(f"key_sum must be an int32 array of shape ({params.degree},)")
        if out is not None and (
            type(out) is not np.ndarray
            or out.dtype != np.dtype(np.int64)
            or out.shape != (self.length,)
            or not (out.flags.c_contiguous and out.flags.writeable)
            or np.may_share_memory(out, total)
        ):
            raise ParameterError(
                f"out must be a writable, contiguous int64 array of shape ({self.length},), and not part of the total"
            )
        result = np.empty(self.length, np.int64) if out is None else out
        try:
            self._decode_into(result, total, key_sum, survivors)
        except BaseException:
            result[:] = 0
            raise
        return result

    def _decode_into(self, result: I64Array, total: U64Array, key_sum: I32Array, survivors: int) -> None:
        params = self.params
        coefficients = -(-self.length // params.digits)
        limit = params.sum_bound(survivors)
        if not -limit <= int(key_sum.min()) <= int(key_sum.max()) <= limit:
            raise _aborted(f"the sum of {survivors} secrets has a coefficient beyond +-{limit}")
        shift = survivors * params.value_bound
        max_abs = sum_squares = 0
        key = RlweKey(params.tables, key_sum)
        try:
            for start, step in self._steps(_CALL_POLYNOMIALS):
                words = total[self._words(start) : self._words(start + step)]
                first = start // params.values_per_polynomial
                block = result[start : start + step]
                largest, noise = rlwe_decode_signed_into(block, params.tables, words, key, self._expander, first, shift)
                if largest > 2 * shift:
                    raise _aborted(f"a sum lies beyond what {survivors} clients can reach")
                max_abs, sum_squares = max(max_abs, noise.max_abs), sum_squares + noise.sum_squares
        except ParameterError as error:  # types, shapes and ranges are right, so it is the sum that does not decode
            raise _aborted(str(error)) from None
        finally:
            key.wipe()
        if max_abs > limit:
            raise _aborted(f"the noise reaches {max_abs}, {survivors} clients stay within {limit}")
        allowed = SIGMA**2 * survivors * (1 + 2 * math.sqrt(89 / coefficients) + 178 / coefficients)
        if sum_squares > allowed * coefficients:
            raise _aborted(
                f"the noise has mean square {sum_squares / coefficients:.6g}, {survivors} clients stay below "
                f"{allowed:.6g}"
            )

    def _words(self, values: int) -> int:
        """Words of a sum of the first `values` values: whole polynomials, or all."""
        return len(self.params.ring.primes) * -(-values // self.params.digits)


def _aborted(what: str) -> RoundAborted:
    return RoundAborted(
        None,
        DECODE_STAGE,
        f"{what}: the secrets are not those of these ciphertexts, or a client sent what no honest client sends; "
        "nothing was decoded, discard this round",
    )

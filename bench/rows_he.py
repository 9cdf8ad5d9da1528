"""Homomorphic sums: CKKS through TenSEAL used well, and ring-LWE, against TenSEAL as NVFlare uses it.

NVFlare's HE filters encrypt with one secret key that every client has: N = 8192, primes of 60, 40 and 40 bits, scale
2^40, of which sums need one prime; a value in a slot; no check of what arrives.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, Unavailable, expect
from bench.peers import absent, tenseal, versioned
from privcomp._core import RlweTables, ntt_forward_inplace, ntt_inverse_inplace
from privcomp.errors import LocalError
from privcomp.he import Aggregator, Decryptor, Encryptor, RlweParams, Secret, SigningSender, ckks
from privcomp.keys import Identity, Roster

__all__ = ["HE_ROWS"]

SEED = 20240601
_N, _QUICK_N = 10**6, 10**4
_CLIENTS = 10
_CLIP = 1.0


def _updates(n: int, quick: bool) -> list[np.ndarray]:
    generator = np.random.default_rng(SEED)
    return [np.clip(generator.normal(0, 0.05, n), -_CLIP, _CLIP) for _ in range(2 if quick else _CLIENTS)]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


@contextmanager
def _quiet() -> Iterator[None]:
    """TenSEAL warns on C++'s standard output that a vector takes several ciphertexts; ours is for rows."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        libc.fflush(None)  # while what is buffered still goes nowhere
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _nvflare(updates: list[np.ndarray]) -> Peer:
    """Encrypt and serialise as NVFlare's HEModelEncryptor does, load and add as its aggregator, decrypt."""
    ts = tenseal()
    if ts is None:
        return absent("TenSEAL as NVFlare uses it")
    module = ts.module
    context = module.context(
        module.SCHEME_TYPE.CKKS, 8192, -1, [60, 40, 40], module.ENCRYPTION_TYPE.SYMMETRIC, n_threads=1
    )
    context.global_scale = 2.0**40

    def run(values: np.ndarray = updates[0]) -> bytes:
        with _quiet():
            return module.ckks_vector(context, values).serialize()  # type: ignore[no-any-return]

    def report(data: bytes) -> dict[str, Any]:
        """The other roles, and the error of the mean of all clients."""
        total = module.ckks_vector_from(context, data)
        seconds = []
        for values in updates[1:]:
            upload = run(values)
            seconds.append(_timed(lambda upload=upload: total.add_(module.ckks_vector_from(context, upload)))[0])
        decrypt_s, opened = _timed(lambda: np.array(total.decrypt()))
        error = float(np.abs(opened - sum(updates)).max()) / len(updates)
        expect(error < 1e-6, "TenSEAL's sum is off")
        return {
            "peer_bytes_up": len(data),
            "params": {
                "peer_server_s": statistics.median(seconds) if seconds else 0.0,
                "peer_decrypt_s": decrypt_s,
                "peer_error": error,
            },
        }

    return Peer(
        f"{ts.name} as NVFlare uses it: 8192, [60, 40, 40], one key at all clients", run, report=report, repeats=7
    )


class _Roles:
    """What the check of a row has measured of the other roles, for its report."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def report(self, _: Any, __: float) -> dict[str, Any]:
        """The figures; a row reports them once."""
        return {name: value if name != "params" else dict(value) for name, value in self.found.items()}


def _ckks(quick: bool, peers: bool) -> Case:
    """Public-key encryption, serialised and signed. The mean is exact on the grid; its error is the grid's."""
    n = _QUICK_N if quick else _N
    updates = _updates(n, quick)
    identities = {bytes([65 + i]): Identity.from_seed(bytes([i]) * 32) for i in range(len(updates) + 2)}
    roster = Roster.of({name: identity.public for name, identity in identities.items()})
    holder, adder, *clients = identities
    params = ckks.CkksParams.for_round(length=n, clients=_CLIENTS, magnitude=_CLIP, precision_bits=31)
    session = ckks.Session(params, bytes(32), roster, holder, adder)
    try:
        decryptor = ckks.Decryptor(session, identities[holder])
    except LocalError as error:
        raise Unavailable(str(error)) from None
    encryptors = [ckks.Encryptor(session, decryptor.public_key, party, identities[party]) for party in clients]
    rounds = iter(range(1 << 30))
    roles = _Roles()

    def ours() -> bytes:
        return encryptors[0].encrypt(updates[0], next(rounds))

    def check(_: bytes, theirs: Any) -> None:
        number = next(rounds)
        aggregator = ckks.Aggregator(session, decryptor.public_key, identities[adder], number)
        uploads = [encryptor.encrypt(values, number) for encryptor, values in zip(encryptors, updates, strict=True)]
        seconds = [_timed(lambda upload=upload: aggregator.add(upload))[0] for upload in uploads]
        total_s, total = _timed(aggregator.total)
        decrypt_s, opened = _timed(lambda: decryptor.decode(total, number))
        exact = sum(np.rint(values / params.step) for values in updates)
        expect(np.array_equal(opened.values / params.step, exact), "the sum is not exact on the grid")
        roles.found = {
            "bytes_up": len(uploads[0]),
            "server_s": statistics.median(seconds),
            "decrypt_s": decrypt_s,
            "error": float(np.abs(opened.values - sum(updates)).max()) / len(updates),
            "params": {"total_s": total_s},
        }
        if theirs is not None:
            roles.found["params"]["bytes_ratio"] = len(theirs) / len(uploads[0])

    side = _nvflare(updates) if peers else absent("TenSEAL as NVFlare uses it")
    stated = {
        "n": _CLIENTS,
        "d": n,
        "degree": 4096,
        "modulus_bits": params.modulus_bits,
        "precision_bits": params.precision_bits,
        "security": params.security,
        "seed": SEED,
    }
    return Case(ours, side, check, stated, report=roles.report, repeats=7, output=len)


def _rlwe(quick: bool, peers: bool, clients: int, level: str | None = None) -> Case:
    """Ring-LWE of 16-bit integers: a fresh secret, encryption, the bytes of the ciphertext."""
    n = _QUICK_N if quick else _N
    params = RlweParams.for_round(16, clients)
    generator = np.random.default_rng(SEED)
    vectors = generator.integers(-params.value_bound, params.value_bound + 1, (_CLIENTS, n))
    context = bytes(range(32))
    encryptor = Encryptor(params, context, n)
    roles = _Roles()

    def ours() -> bytes:
        return encryptor.payload(vectors[0], Secret.draw(params))

    def check(_: bytes, theirs: Any) -> None:
        aggregator, decryptor = Aggregator(params, context, n), Decryptor(params, context, n)
        secrets = [Secret.draw(params) for _ in vectors]
        uploads = [encryptor.payload(values, secret) for values, secret in zip(vectors, secrets, strict=True)]
        seconds = [_timed(lambda upload=upload: aggregator.add_payload(upload))[0] for upload in uploads]
        key_sum = np.sum([secret.coefficients for secret in secrets], axis=0, dtype=np.int32)
        first_s, opened = _timed(lambda: decryptor.decode(aggregator.total, key_sum, _CLIENTS))
        expect(np.array_equal(opened, vectors.sum(axis=0)), "the sum is not exact")
        del opened  # as round after round: what one gave is gone when the next one begins
        opening = [_timed(lambda: decryptor.decode(aggregator.total, key_sum, _CLIENTS))[0] for _ in range(7)]
        party, identity = b"client", Identity.from_seed(bytes(32))
        signing = Encryptor(params, context, n, sender=SigningSender(party, identity))
        signed = [_timed(lambda: signing.encrypt(vectors[0], Secret.draw(params)))[0] for _ in range(5)]
        roles.found = {
            "bytes_up": len(uploads[0]),
            "server_s": statistics.median(seconds),
            "decrypt_s": statistics.median(opening),
            "error": _CLIP / params.value_bound / 2,  # of the rounding, which comes before; the sum itself is exact
            "params": {"signed_s": statistics.median(signed), "first_decrypt_s": first_s},
        }
        if theirs is not None:
            roles.found["params"]["bytes_ratio"] = len(theirs) / len(uploads[0])

    side = _nvflare(_updates(n, quick)) if peers else absent("TenSEAL as NVFlare uses it")
    stated = {
        "n": clients,
        "d": n,
        "bits": 16,
        "profile": params.profile,
        "security": params.security.bits,
        "core_svp": params.security.core_svp,
        "seed": SEED,
    }
    return Case(ours, side, check, stated, report=roles.report, repeats=15, level=level, output=len)


def _ntt(quick: bool, peers: bool, level: str | None = None) -> Case:
    """Forward transforms modulo a 50-bit prime, of polynomials that lie in the caches one after the other."""
    degree, prime, root = 4096, 1125899906826241, 46909545429
    count = 4 if quick else 32
    tables = RlweTables(degree, [prime], [root], 2, 1)
    start = np.random.default_rng(SEED).integers(0, prime, (count, degree), dtype=np.uint64)
    buffer = start.copy()

    def ours() -> np.ndarray:
        ntt_forward_inplace(tables, 0, buffer)
        return buffer

    def before() -> None:
        buffer[:] = start

    def check(result: np.ndarray, _: Any) -> None:
        spot = [0, 1, 2048, degree - 1]
        for place in spot:
            exponent = 2 * int(f"{place:012b}"[::-1], 2) + 1
            at = pow(root, exponent, prime)
            value = 0
            for coefficient in start[0][::-1].tolist():
                value = (value * at + coefficient) % prime
            expect(int(result[0, place]) == value, f"the transform is wrong at {place}")
        back = result.copy()
        ntt_inverse_inplace(tables, 0, back)
        expect(np.array_equal(back, start), "the inverse does not give the polynomials back")

    side = absent("NumPy fft")
    if peers:
        # The nearest library call: as many complex doubles, which are inexact and hold no 50-bit products.
        floats = start.astype(np.complex128)
        side = Peer(
            versioned("numpy", "NumPy") + " fft of as many complex doubles (inexact)", lambda: np.fft.fft(floats)
        )
    return Case(
        ours,
        side,
        check,
        {"degree": degree, "prime_bits": 50, "transforms": count, "seed": SEED},
        before=before,
        report=lambda _, seconds: {"params": {"transform_s": seconds / count}},
        repeats=31,
        level=level,
    )


_UP = (Target("server_s", at_most=0.0006, levels=("avx512",)), Target("decrypt_s", at_most=0.005, levels=("avx512",)))

HE_ROWS = (
    Row(
        "he.ckks.1e6",
        "CKKS of 1e6 float64 values, public key: encrypt, serialise, sign | TenSEAL as NVFlare uses it",
        _ckks,
        (
            Target("ratio", at_least=1.5),
            Target("params.bytes_ratio", at_least=1.7),
            Target("error", at_most=3e-9),
        ),
        memory=True,
    ),
    Row(
        "he.rlwe.1e6",
        "ring-LWE of 1e6 16-bit integers, n <= 64: secret, encrypt, serialise | TenSEAL as NVFlare uses it",
        lambda quick, peers: _rlwe(quick, peers, 64),
        (
            Target("ratio", at_least=100.0),
            Target("ours_s", at_most=0.003, levels=("avx512",)),
            Target("bytes_up", at_most=3.2e6),
            *_UP,
            # Two ciphertexts beyond input and output.
            Target("peak_mb", at_most=6.2),
        ),
        memory=True,
    ),
    Row(
        "he.rlwe.1e6.portable",
        "the same with the portable level forced",
        lambda quick, peers: _rlwe(quick, peers, 64, "portable"),
        (Target("ours_s", at_most=0.012, levels=("avx512",)),),
    ),
    Row(
        "he.rlwe.1e6.n1000",
        "ring-LWE of 1e6 16-bit integers, n <= 1,000 | TenSEAL as NVFlare uses it",
        lambda quick, peers: _rlwe(quick, peers, 1000),
        (
            Target("ratio", at_least=100.0),
            Target("ours_s", at_most=0.003, levels=("avx512",)),
            Target("bytes_up", at_most=3.9e6),
            *_UP,
            Target("peak_mb", at_most=7.6),
        ),
        memory=True,
    ),
    Row(
        "he.ntt.4096",
        "32 forward NTTs of 4,096 residues modulo a 50-bit prime | NumPy fft of complex doubles",
        _ntt,
        (Target("params.transform_s", at_most=3.8e-6, levels=("avx512",)),),
    ),
    Row(
        "he.ntt.4096.portable",
        "the same with the portable level forced",
        lambda quick, peers: _ntt(quick, peers, "portable"),
    ),
)

"""Kernels by pytest-benchmark: `make bench`, or `pytest bench --benchmark-only`. Times are printed, never asserted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.encoding import FixedPoint
from privcomp.sharing.shamir import combine_bytes, share_many

CIPHERS = {"aes": _core.AES128_CTR, "chacha": _core.CHACHA20}
SIZES = {"l2": 1 << 15, "l3": 10**6, "dram": 10**7}
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def _seeds(count: int, cipher: int) -> Any:
    data = np.random.default_rng(1).bytes(count * _core.SEED_BYTES[cipher])
    return np.frombuffer(data, np.uint8).reshape(count, -1)


@pytest.fixture(params=_core.available_levels())
def level(request: pytest.FixtureRequest) -> Any:
    """Each dispatch level that this machine has."""
    _core.force_level(request.param)
    yield request.param
    _core.force_level(None)


@pytest.mark.benchmark(group="mask_add, one seed")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_mask_add(benchmark: Any, cipher: str, size: str) -> None:
    acc, seeds = np.zeros(SIZES[size], np.uint32), _seeds(1, CIPHERS[cipher])
    benchmark.extra_info["bytes"] = acc.nbytes
    benchmark(_core.mask_add, acc, seeds, np.zeros(1, np.bool_), cipher=CIPHERS[cipher])


@pytest.mark.benchmark(group="mask_add, one seed, 32768 u32, by level")
@pytest.mark.parametrize("cipher", CIPHERS)
def test_mask_add_by_level(benchmark: Any, level: str, cipher: str) -> None:
    acc, seeds = np.zeros(1 << 15, np.uint32), _seeds(1, CIPHERS[cipher])
    benchmark.extra_info["bytes"] = acc.nbytes
    benchmark(_core.mask_add, acc, seeds, np.zeros(1, np.bool_), cipher=CIPHERS[cipher])


@pytest.mark.benchmark(group="mask_add, 100 seeds, 1e6")
@pytest.mark.parametrize("dtype", ["u4", "u8"])
def test_mask_add_many(benchmark: Any, dtype: str) -> None:
    acc, seeds = np.zeros(10**6, dtype), _seeds(100, _core.AES128_CTR)
    benchmark.extra_info["bytes"] = 100 * acc.nbytes
    benchmark.pedantic(_core.mask_add, (acc, seeds, np.zeros(100, np.bool_)), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="calls on next to nothing: the binding's own cost")
def test_binding(benchmark: Any) -> None:
    acc, seeds, negate = np.zeros(16, np.uint32), _seeds(1, _core.AES128_CTR), np.zeros(1, np.bool_)
    benchmark(_core.mask_add, acc, seeds, negate)


@pytest.mark.benchmark(group="lanes_mask, 1000 lanes, 10 seeds")
def test_lanes_mask(benchmark: Any) -> None:
    acc, seeds = np.zeros((1000, 32), np.uint8), _seeds(10, _core.AES128_CTR)
    benchmark(_core.lanes_mask, acc, ED25519_ORDER, seeds, np.zeros(10, np.bool_))


@pytest.mark.benchmark(group="bit packing, 1e6 values")
@pytest.mark.parametrize("width", [8, 17, 26, 32])
def test_pack(benchmark: Any, width: int) -> None:
    benchmark(_core.pack, np.arange(10**6, dtype=np.uint32), width)


@pytest.mark.benchmark(group="bit packing, 1e6 values")
@pytest.mark.parametrize("width", [8, 17, 26, 32])
def test_unpack_add(benchmark: Any, width: int) -> None:
    acc = np.zeros(10**6, np.uint32)
    benchmark(_core.unpack_add, acc, _core.pack(np.arange(10**6, dtype=np.uint32), width), width)


def _words(*shape: int) -> Any:
    return np.random.default_rng(5).integers(0, 1 << 64, shape, dtype=np.uint64)


@pytest.mark.benchmark(group="matrix product modulo 2^64, 512 x 512 x 512, by level")
def test_ring_matmul(benchmark: Any, level: str) -> None:
    a, b = _words(512, 512), _words(512, 512)
    benchmark(_core.ring_matmul, a, b, out=np.zeros_like(a))


@pytest.mark.benchmark(group="Gram matrix of replicated shares, 20 x 1e5, by level")
def test_rep3_gram(benchmark: Any, level: str) -> None:
    x, y = _words(20, 10**5), _words(20, 10**5)
    benchmark(_core.rep3_gram, x, y)


@pytest.mark.benchmark(group="products of replicated shares, 1e5, by level")
@pytest.mark.parametrize("operation", ["rep3_product", "rep3_and", "cross_product", "cross_and"])
def test_products(benchmark: Any, level: str, operation: str) -> None:
    x = [_words(10**5) + np.uint64(i) for i in range(4)]
    benchmark(getattr(_core, operation), *x, out=np.zeros_like(x[0]))


@pytest.mark.benchmark(group="bit planes of 1e5 words, by level")
@pytest.mark.parametrize("direction", ["to", "from"])
def test_planes(benchmark: Any, level: str, direction: str) -> None:
    values = _words(10**5)
    planes = _core.to_planes(values)
    if direction == "to":
        benchmark(_core.to_planes, values, out=planes)
    else:
        benchmark(_core.from_planes, planes, len(values), out=values)


@pytest.mark.benchmark(group="XOR masks, two seeds, 1e5 u64")
@pytest.mark.parametrize("cipher", CIPHERS)
def test_mask_xor(benchmark: Any, cipher: str) -> None:
    acc, seeds = np.zeros(10**5, np.uint64), _seeds(2, CIPHERS[cipher])
    benchmark.extra_info["bytes"] = 2 * acc.nbytes
    benchmark(_core.mask_xor, acc, seeds, cipher=CIPHERS[cipher])


@pytest.mark.benchmark(group="matrix product modulo 2^128, 128 x 128 x 128")
def test_ring128_matmul(benchmark: Any) -> None:
    benchmark(_core.ring128_matmul, _words(128, 128, 2), _words(128, 128, 2))


@pytest.mark.benchmark(group="random bytes, 1 MB")
def test_drbg(benchmark: Any) -> None:
    benchmark(_core.Drbg().random_bytes, 10**6)


@pytest.mark.benchmark(group="field vectors, 1e5")
@pytest.mark.parametrize("field", ["M61", "GOLDILOCKS"])
@pytest.mark.parametrize("operation", ["field_add", "field_mul", "field_inv"])
def test_field(benchmark: Any, field: str, operation: str) -> None:
    a = np.random.default_rng(2).integers(1, (1 << 61) - 1, 10**5, dtype=np.uint64)
    operands = (a,) if operation == "field_inv" else (a, a)
    benchmark(getattr(_core, operation), getattr(_core, field), *operands)


@pytest.mark.benchmark(group="Shamir vectors, 1e4 secrets, 50 of 100")
@pytest.mark.parametrize("field", ["M61", "GOLDILOCKS"])
@pytest.mark.parametrize("direction", ["share", "combine"])
def test_shamir_vectors(benchmark: Any, field: str, direction: str) -> None:
    points, fid = np.arange(1, 101, dtype=np.uint64), getattr(_core, field)
    secrets = np.random.default_rng(3).integers(0, (1 << 61) - 1, 10**4, dtype=np.uint64)
    if direction == "share":
        benchmark(_core.shamir_share, fid, secrets, points, 50, bytes(32))
    else:
        shares = _core.shamir_share(fid, secrets, points, 50, bytes(32))[:50].copy()
        benchmark(_core.shamir_combine, fid, points[:50], shares)


@pytest.mark.benchmark(group="Shamir for two 32-byte secrets, 67 of 100")
@pytest.mark.parametrize("direction", ["share", "combine"])
def test_shamir_secrets(benchmark: Any, direction: str) -> None:
    points, secrets = np.arange(1, 101, dtype=np.uint64), [bytes(32), bytes(range(32))]
    if direction == "share":
        benchmark(share_many, secrets, 67, points, rng=_core.Drbg().random_bytes)
    else:
        shares = share_many(secrets, 67, points)
        benchmark(lambda: [combine_bytes(points[:67], one[:67], 67) for one in shares])


@pytest.mark.benchmark(group="encoding, 1e6 float32, 16 bits")
def test_encode(benchmark: Any) -> None:
    encoding = FixedPoint.for_range(8.0, bits=16, clients=1000, entries=10**6)
    x = np.random.default_rng(4).standard_normal(10**6, dtype=np.float32)
    benchmark(encoding.encode, x, 1, rng=_core.Drbg().random_bytes)


@pytest.mark.benchmark(group="encoding, 1e6 float32, 16 bits")
def test_decode(benchmark: Any) -> None:
    encoding = FixedPoint.for_range(8.0, bits=16, clients=1000, entries=10**6)
    x = np.random.default_rng(4).standard_normal(10**6, dtype=np.float32)
    benchmark(encoding.decode, encoding.encode(x, 1), 1)

"""What stands between NumPy and the core: no array of the wrong kind gets through, and none is written to half."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError

SEEDS = np.arange(3 * 32, dtype=np.uint8).reshape(3, 32)
NEGATE = np.array([False, True, False])


def acc_calls(acc: object) -> dict[str, Callable[[], object]]:
    """Every function that writes to a ring vector."""
    return {
        "mask_add": lambda: _core.mask_add(acc, SEEDS, NEGATE),
        "unpack_add": lambda: _core.unpack_add(acc, bytes(3), 3),
        "ring_axpy": lambda: _core.ring_axpy(acc, np.zeros(8, np.uint32)),
    }


def input_calls(values: object) -> dict[str, Callable[[], object]]:
    """Every function that reads a ring vector."""
    return {
        "pack": lambda: _core.pack(values, 3),
        "center": lambda: _core.center(values, 3),
        "ring_axpy": lambda: _core.ring_axpy(np.zeros(8, np.uint32), values),
    }


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def misaligned() -> np.ndarray:
    return np.zeros(33, np.uint8)[1:].view(np.uint32)


@pytest.mark.parametrize("name", ["mask_add", "unpack_add", "ring_axpy"])
@pytest.mark.parametrize(
    ("acc", "error", "text"),
    [
        ([0] * 8, BufferTypeError, "is a list"),
        (None, BufferTypeError, "is a NoneType"),
        (np.zeros(8, np.int32), BufferTypeError, "dtype int32"),
        (np.zeros(8, np.float64), BufferTypeError, "dtype float64"),
        (np.zeros(8, ">u4"), BufferTypeError, "dtype >u4"),
        (np.zeros((2, 4), np.uint32), BufferTypeError, "2 dimensions"),
        (np.zeros(16, np.uint32)[::2], BufferTypeError, "not C-contiguous"),
        (np.zeros(8, np.uint32)[::-1], BufferTypeError, "not C-contiguous"),
        (misaligned(), BufferTypeError, "aligned"),
        (frozen(np.zeros(8, np.uint32)), BufferTypeError, "read-only"),
        (np.frombuffer(bytes(32), np.uint32), BufferTypeError, "read-only"),
    ],
)
def test_accumulators(name, acc, error, text):
    with pytest.raises(error, match=text):
        acc_calls(acc)[name]()


@pytest.mark.parametrize("name", ["pack", "center", "ring_axpy"])
@pytest.mark.parametrize(
    "values", [[1, 2], np.zeros(8, np.int64), np.zeros((8, 1), np.uint32), np.zeros(16, np.uint32)[::2], b"abcd"]
)
def test_inputs(name, values):
    with pytest.raises(BufferTypeError):
        input_calls(values)[name]()


def test_read_only_inputs_are_fine_and_inputs_are_never_written():
    values = frozen(np.arange(8, dtype=np.uint32))
    assert _core.unpack(_core.pack(values, 5), 8, 5).tolist() == list(range(8))
    acc, seeds, negate = np.zeros(100, np.uint32), SEEDS.copy(), NEGATE.copy()
    _core.mask_add(acc, frozen(seeds), frozen(negate))
    np.testing.assert_array_equal(seeds, SEEDS)
    np.testing.assert_array_equal(negate, NEGATE)


@pytest.mark.parametrize(
    ("seeds", "negate", "cipher", "error"),
    [
        (SEEDS.astype(np.int8), NEGATE, 1, BufferTypeError),
        (SEEDS.tobytes(), NEGATE, 1, BufferTypeError),
        (SEEDS.ravel(), NEGATE, 1, BufferTypeError),
        (SEEDS[:, ::-1], NEGATE, 1, BufferTypeError),
        (SEEDS[:, :31].copy(), NEGATE, 1, ParameterError),
        (SEEDS, NEGATE, 2, ParameterError),
        (SEEDS, NEGATE[:2], 1, ParameterError),
        (SEEDS, NEGATE.astype(np.uint8), 1, BufferTypeError),
        (SEEDS, [False, True, False], 1, BufferTypeError),
        (SEEDS, NEGATE, 0, ParameterError),
        (SEEDS, NEGATE, 3, ParameterError),
    ],
)
def test_seeds_and_signs(seeds, negate, cipher, error):
    for acc, call in (
        (np.zeros(9, np.uint32), lambda acc: _core.mask_add(acc, seeds, negate, cipher=cipher)),
        (np.zeros((9, 32), np.uint8), lambda acc: _core.lanes_mask(acc, 2**61 - 1, seeds, negate, cipher=cipher)),
    ):
        with pytest.raises(error):
            call(acc)
        assert not acc.any()


@pytest.mark.parametrize("offset", [-1, 2**60, 2**64, 2**200, 0.0, "0"])
def test_offsets(offset):
    acc = np.zeros(9, np.uint32)
    with pytest.raises(ParameterError, match="offset"):
        _core.mask_add(acc, SEEDS, NEGATE, offset=offset)
    assert not acc.any()


def test_offsets_up_to_the_end_of_the_stream():
    acc = np.zeros(9, np.uint32)
    _core.mask_add(acc, SEEDS, NEGATE, offset=2**60 - 9)
    assert acc.any()
    with pytest.raises(ParameterError, match="offset"):
        _core.mask_add(acc, SEEDS, NEGATE, offset=2**60 - 8)


def test_overlaps():
    memory = np.zeros(4096, np.uint8)
    acc = memory[:1024].view(np.uint32)
    with pytest.raises(BufferTypeError, match="acc and seeds overlap"):
        _core.mask_add(acc, memory[992 : 992 + 96].reshape(3, 32), NEGATE)
    with pytest.raises(BufferTypeError, match="acc and negate overlap"):
        _core.mask_add(acc, SEEDS, memory[5:8].view(bool))
    with pytest.raises(BufferTypeError, match="acc and start overlap"):
        _core.mask_add(acc, SEEDS, NEGATE, start=memory[4:1028].view(np.uint32))
    with pytest.raises(BufferTypeError, match="start has dtype"):
        _core.mask_add(acc, SEEDS, NEGATE, start=np.zeros(acc.size, np.uint64))
    with pytest.raises(ParameterError, match="start has length"):
        _core.mask_add(acc, SEEDS, NEGATE, start=np.zeros(acc.size - 1, np.uint32))
    with pytest.raises(BufferTypeError, match="acc and data overlap"):
        _core.unpack_add(acc, memory[:128], 4)
    with pytest.raises(BufferTypeError, match="acc and x overlap"):
        _core.ring_axpy(acc[1:], acc[:-1])
    # neighbours are no overlap, and an array may be added to itself
    _core.mask_add(acc, memory[1024 : 1024 + 96].reshape(3, 32), NEGATE)
    twice = acc + acc
    _core.ring_axpy(acc, acc)
    np.testing.assert_array_equal(acc, twice)


def test_empty_arrays():
    none, seedless = np.zeros(0, np.uint32), np.zeros((0, 32), np.uint8)
    _core.mask_add(none, SEEDS, NEGATE)
    _core.lanes_mask(np.zeros((0, 32), np.uint8), 2**61 - 1, SEEDS, NEGATE)
    _core.ring_axpy(none, none.copy())
    _core.unpack_add(none, b"", 7)
    assert _core.pack(none, 7) == b""
    assert _core.unpack(b"", 0, 7).shape == (0,)
    assert _core.center(none, 7).shape == (0,)
    assert _core.keystream(bytes(32), 0) == b""
    acc = np.arange(5, dtype=np.uint32)
    _core.mask_add(acc, seedless, np.zeros(0, bool))
    assert acc.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(48)])
def test_keystream_seeds(seed):
    with pytest.raises(ParameterError):
        _core.keystream(seed, 4)


@pytest.mark.parametrize(("length", "offset"), [(-1, 0), (2**41, 0), (1, -1), (1, 2**62), (1.0, 0), (0, 2**63)])
def test_keystream_ranges(length, offset):
    with pytest.raises(ParameterError):
        _core.keystream(bytes(32), length, offset=offset)


def test_memory_is_kept_while_the_core_uses_it():
    """The last reference to an array goes away during the call: only the call itself holds it."""
    for _ in range(50):
        gc.collect()
        _core.unpack_add(np.ones(100_000, np.uint32), _core.pack(np.ones(100_000, np.uint32), 20), 20)


def test_a_buffer_in_use_cannot_be_resized():
    data = bytearray(_core.pack(np.arange(8, dtype=np.uint32), 8))
    view = np.frombuffer(data, np.uint8)
    with pytest.raises(BufferError):
        data.extend(bytes(1000))
    np.testing.assert_array_equal(_core.unpack(view, 8, 8), np.arange(8))


def test_many_threads_at_once():
    """Every thread gets what it would get alone, also while others change the level and the inputs."""
    seeds = np.frombuffer(os.urandom(32 * 20), np.uint8).reshape(20, 32)
    negate = np.arange(20) % 2 == 0
    alone = np.zeros(50_000, np.uint32)
    _core.mask_add(alone, seeds, negate)
    wrong: list[int] = []
    done = threading.Event()

    def work(number: int) -> None:
        for _ in range(10):
            acc = np.zeros(50_000, np.uint32)
            _core.mask_add(acc, seeds, negate)
            if not np.array_equal(acc, alone):
                wrong.append(number)

    def churn() -> None:
        levels = _core.available_levels()
        scratch, padded = np.zeros(4096, np.uint32), np.zeros(40, np.uint8)
        while not done.is_set():
            for name in levels:
                _core.force_level(name)
                _core.mask_add(scratch, seeds, negate)
                _core.unpack_add(scratch[:100], padded[:13], 1)

    before = _core.level()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    churner = threading.Thread(target=churn)
    churner.start()
    try:
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
    finally:
        done.set()
        churner.join()
        _core.force_level(before)
    assert wrong == []


def test_arrays_that_change_during_the_call_harm_nobody():
    """A thread scribbles over seeds, signs and packed data while the core reads them: memory stays safe."""
    seeds, negate = SEEDS.copy(), NEGATE.copy()
    packed = np.zeros(10_000, np.uint8)
    done = threading.Event()

    def scribble() -> None:
        rng = np.random.default_rng(0)
        while not done.is_set():
            seeds[...] = rng.integers(0, 256, seeds.shape, dtype=np.uint8)
            negate.view(np.uint8)[...] = rng.integers(0, 256, negate.shape, dtype=np.uint8)
            packed[:-1] = rng.integers(0, 256, packed.size - 1, dtype=np.uint8)

    thread = threading.Thread(target=scribble)
    thread.start()
    guard = np.full(30_000, 0xA5A5A5A5, np.uint32)
    try:
        for _ in range(30):
            _core.mask_add(guard[10_000:20_000], seeds, negate)
            _core.unpack_add(guard[10_000:20_000], packed, 8)
    finally:
        done.set()
        thread.join()
    assert (guard[:10_000] == 0xA5A5A5A5).all()
    assert (guard[20_000:] == 0xA5A5A5A5).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
def test_fork_after_import():
    acc = np.zeros(1000, np.uint32)
    _core.mask_add(acc, SEEDS, NEGATE)
    child = os.fork()
    if child == 0:
        again = np.zeros(1000, np.uint32)
        _core.mask_add(again, SEEDS, NEGATE)
        os._exit(0 if np.array_equal(acc, again) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_wipe():
    data, array, grid = bytearray(b"secret"), np.arange(9, dtype=np.uint64), np.ones((3, 4))
    for buffer in (data, array, grid, memoryview(bytearray(4)), bytearray()):
        _core.wipe(buffer)
        assert not any(bytes(buffer))
    for refused in (b"secret", frozen(np.ones(3)), np.ones((4, 4))[:, ::2], "secret", None):
        with pytest.raises(BufferTypeError, match="cannot be wiped"):
            _core.wipe(refused)


def test_no_error_shows_a_secret():
    key = bytes(range(100, 131))
    with pytest.raises(ParameterError) as caught:
        _core.keystream(key, 4)
    assert key.hex() not in str(caught.value)
    assert repr(key) not in str(caught.value)

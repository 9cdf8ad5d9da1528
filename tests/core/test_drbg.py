"""The random generator: what its output is, what it forgets, and that no child repeats its parent."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.core.streams import reference_stream


def test_fast_key_erasure():
    """Each call: the stream under the key gives the next key, and from its second block on the output."""
    key = bytes(range(32))
    generator = _core.Drbg.insecure_deterministic(key)
    for length in (0, 1, 32, 63, 64, 65, 5000):
        stream = reference_stream(key + bytes(16), 64 + length, _core.CHACHA20)
        assert generator.random_bytes(length) == stream[64:]
        key = stream[:32]


def test_the_level_does_not_matter(at_level):
    generator = _core.Drbg.insecure_deterministic(b"\x07" * 32)
    out = np.empty(3000, np.uint8)
    generator.fill(out)
    assert out.tobytes() == reference_stream(b"\x07" * 32 + bytes(16), 3064, _core.CHACHA20)[64:]


def test_two_generators_differ_and_bytes_are_balanced():
    a, b = _core.Drbg().random_bytes(100_000), _core.Drbg().random_bytes(100_000)
    assert a != b
    ones = int(np.unpackbits(np.frombuffer(a, np.uint8)).sum())
    assert abs(ones - 400_000) < 6 * 448  # six standard deviations of a fair coin: sqrt(800000) / 2 = 447.2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
def test_a_forked_child_does_not_repeat_its_parent():
    generator = _core.Drbg()
    generator.random_bytes(5)
    with generator._lock:  # as if another thread of the parent were inside: the child must not wait for it
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writing, generator.random_bytes(32))
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(reading, 32)
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 32
    assert theirs != generator.random_bytes(32)


def test_threads_share_one_generator():
    generator = _core.Drbg()
    seen: list[bytes] = []

    def draw() -> None:
        for _ in range(200):
            seen.append(generator.random_bytes(16))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 1600


def test_nothing_of_the_state_is_shown():
    generator = _core.Drbg.insecure_deterministic(bytes(32))
    assert repr(generator) == "Drbg(<state hidden>)"


def test_bad_arguments():
    generator = _core.Drbg()
    for n in (-1, 2**40 + 1, 1.5):
        with pytest.raises(ParameterError):
            generator.random_bytes(n)
    for seed in (b"", bytes(31), bytes(33)):
        with pytest.raises(ParameterError, match="must have 32"):
            _core.Drbg.insecure_deterministic(seed)
    with pytest.raises(BufferTypeError):
        _core.Drbg.insecure_deterministic("0" * 32)
    frozen = np.zeros(4, np.uint8)
    frozen.flags.writeable = False
    with pytest.raises(BufferTypeError, match="read-only"):
        generator.fill(frozen)

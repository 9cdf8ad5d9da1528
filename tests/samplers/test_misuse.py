"""What the samplers refuse, and where their randomness comes from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from privcomp.samplers import DiscreteGaussian, DiscreteLaplace, Skellam, bernoulli_exp_var
from privcomp.samplers.closed_form import exp_parameters
from privcomp.samplers.common import alias_table, fresh_seeds, stream_cipher
from tests.samplers.laws import name, repeatable

LAWS = [DiscreteGaussian(100), DiscreteGaussian(1 << 70), DiscreteLaplace(Fraction(17, 3))]


@pytest.mark.parametrize("make", [DiscreteGaussian, DiscreteLaplace])
@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1.5, "Fraction"),
        (float("nan"), "Fraction"),
        (np.float64(2), "Fraction"),
        (0, "0 <"),
        (-1, "0 <"),
        (Fraction(-1, 3), "0 <"),
        ((1 << 80) + 1, "<= 2"),
        (1 << 5000, "1000 bits"),
        (Fraction(1, 1 << 128), "128 bits"),
        (Fraction((1 << 129) + 1, 1 << 128), "128 bits"),
        (True, "bool"),
        ("1", "str"),
        (None, "NoneType"),
    ],
)
def test_parameters(make: Callable[[Any], object], value: object, hint: str) -> None:
    with pytest.raises(ParameterError, match=hint):
        make(value)


def test_laws_are_frozen_values() -> None:
    law = DiscreteGaussian(2)
    assert law == DiscreteGaussian(Fraction(4, 2))
    assert hash(law) == hash(DiscreteGaussian(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.sigma2 = Fraction(3)  # type: ignore[misc]


@pytest.mark.parametrize("x", [0.5, -1, Fraction(-1, 2), (1 << 80) + 1, True, "1"])
def test_bernoulli_parameter(x: Any) -> None:
    with pytest.raises(ParameterError):
        bernoulli_exp_var(x, 3)


@pytest.mark.parametrize("n", [-1, 1.0, None, (1 << 40) + 1])
def test_numbers_of_samples(n: Any) -> None:
    with pytest.raises(ParameterError):
        LAWS[0].sample_var(n)
    with pytest.raises(ParameterError):
        bernoulli_exp_var(1, n)


@pytest.mark.skipif(
    Path("/proc/sys/vm/overcommit_memory").exists()
    and Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1",
    reason="this system grants any memory that is asked for",
)
def test_more_samples_than_there_is_memory() -> None:
    for run in (LAWS[0].sample_var, Skellam(3).sample_var):
        with pytest.raises(ParameterError, match="ask for fewer"):
            run(1 << 40)


@pytest.mark.parametrize("k", [0.0, "1", None, (1 << 63) + 1])
def test_outcomes(k: Any) -> None:
    for law in LAWS:
        with pytest.raises(ParameterError):
            law.pmf(k)
        with pytest.raises(ParameterError):
            law.cdf(k)


@pytest.mark.parametrize(
    ("rng", "error"),
    [
        (lambda n: os.urandom(n - 1), ParameterError),
        (lambda n: os.urandom(n + 1), ParameterError),
        (lambda n: b"", ParameterError),
        (lambda n: "x" * n, BufferTypeError),
        (lambda n: None, BufferTypeError),
    ],
)
def test_generators_that_do_not_do_what_they_are_asked_for(rng: Any, error: type[Exception]) -> None:
    acc = np.zeros(3, np.uint64)
    for run in (LAWS[0].sample_var, LAWS[2].sample_var, lambda n, rng: bernoulli_exp_var(1, n, rng)):
        with pytest.raises(error):
            run(3, rng)
    with pytest.raises(error):
        LAWS[0].add_var(acc, rng)
    assert not acc.any()


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_adding_is_sampling_and_adding(law: Any, dtype: Any) -> None:
    start = np.arange(5000, dtype=dtype) * dtype(0x9E3779B1)
    acc = start.copy()
    law.add_var(acc, repeatable("add"))
    samples = law.sample_var(5000, repeatable("add"))
    assert np.array_equal(acc - start, samples.astype(dtype))


@pytest.mark.parametrize(
    "acc",
    [
        np.zeros(3, np.int64),
        np.zeros(3, np.float64),
        np.zeros((3, 1), np.uint32),
        np.zeros(6, np.uint32)[::2],
        np.frombuffer(bytes(24), np.uint64),
        [0, 0],
    ],
)
def test_accumulators(acc: Any) -> None:
    with pytest.raises(BufferTypeError):
        LAWS[0].add_var(acc)


def test_nothing_is_drawn_for_nothing() -> None:
    assert LAWS[0].sample_var(0).shape == (0,)
    assert bernoulli_exp_var(1, 0).shape == (0,)


def test_shorter_outputs_are_beginnings() -> None:
    long = LAWS[0].sample_var(3000, repeatable("one"))
    for n in (1, 7, 500, 2999):
        assert np.array_equal(LAWS[0].sample_var(n, repeatable("one")), long[:n])


# ---- randomness


def test_each_call_asks_for_fresh_seeds() -> None:
    asked: list[int] = []

    def rng(n: int) -> bytes:
        asked.append(n)
        return os.urandom(n)

    first, second = LAWS[1].sample_var(100, rng), LAWS[1].sample_var(100, rng)
    assert asked == [2 * _core.SEED_BYTES[stream_cipher()]] * 2
    assert not np.intersect1d(first, second).size


def test_a_fork_does_not_repeat_its_parent() -> None:
    """A table and a first sample exist before the fork, so that whatever is kept is kept in both."""
    law = LAWS[1]
    law.sample_var(10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, law.sample_var(100).tobytes())
        os._exit(0)
    ours = law.sample_var(100)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        theirs = np.frombuffer(pipe.read(), np.int64)
    assert os.waitpid(child, 0)[1] == 0
    assert theirs.shape == (100,)
    assert not np.intersect1d(ours, theirs).size


def test_seeds_are_wiped() -> None:
    with fresh_seeds(os.urandom, _core.AES128_CTR) as seeds:
        assert any(seeds)
    assert not any(seeds)
    with pytest.raises(ZeroDivisionError), fresh_seeds(os.urandom, _core.CHACHA20) as seeds:
        raise ZeroDivisionError
    assert not any(seeds)


def test_the_cipher_follows_the_level() -> None:
    before = _core.level()
    try:
        for level in _core.available_levels():
            _core.force_level(level)
            assert stream_cipher() == (_core.CHACHA20 if level == "portable" else _core.AES128_CTR)
    finally:
        _core.force_level(before)


# ---- the binding


def good(**changes: Any) -> _core.ExpTable:
    found = exp_parameters(_core.GAUSS, Fraction(100))
    fields: dict[str, Any] = {
        "kind": _core.GAUSS,
        "numerator": 100,
        "denominator": 1,
        "shift": found.shift,
        "scale": found.scale,
        "weights": found.weights,
        "alias": alias_table(found.weights),
    }
    return _core.ExpTable(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0},
        {"kind": 3},
        {"numerator": 0},
        {"numerator": 1 << 128},
        {"denominator": 0},
        {"shift": 39},
        {"shift": -1},
        {"scale": 0},
        {"scale": (1 << 62) + 1},
        {"weights": [1] * 63},
        {"alias": [0] * 65},
        {"weights": [0] * 64},
        {"alias": [1 << 22] * 64},
        {"band_single": 16},
        {"band_double": 41},
    ],
)
def test_tables_of_the_binding(changes: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        good(**changes)


def test_a_table_whose_parts_disagree_is_refused_by_the_core() -> None:
    made = good(alias=[0] * 64)
    acc = np.zeros(4, np.uint32)
    with pytest.raises(ParameterError, match="core refused"):
        _core.sample_exp_var(made, 4, bytes(64), cipher=_core.AES128_CTR)
    with pytest.raises(ParameterError, match="core refused"):
        _core.sample_exp_add_var(acc, made, bytes(64), cipher=_core.AES128_CTR)
    assert not acc.any()


@pytest.mark.parametrize(("seeds", "cipher"), [(bytes(63), 1), (bytes(64), 2), (bytes(96), 1), (bytes(64), 3)])
def test_seeds_of_the_binding(seeds: bytes, cipher: int) -> None:
    with pytest.raises(ParameterError):
        _core.sample_exp_var(good(), 4, seeds, cipher=cipher)
    with pytest.raises(ParameterError):
        _core.bernoulli_exp_var(1, 2, 4, seeds, cipher=cipher)
    with pytest.raises(BufferTypeError):
        _core.sample_exp_var(good(), 4, "x" * 64, cipher=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [[1] * 64, [1] * 63, [(1 << 22) - 61] + [1] * 62 + [-1]])
def test_weights_that_are_none(weights: list[int]) -> None:
    with pytest.raises(ParameterError):
        alias_table(weights)

"""What goes into a backend as public or own numbers: integers of any kind become words, all else is refused."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError
from privcomp.mpc.backend import Backend, ReplicatedBackend, Value
from tests.mpc.parties import PARTIES, REPLICATED, U64, run

Use = Callable[[Any, Any], Coroutine[Any, Any, Any]]


async def _own(backend: Backend, values: Any) -> Value:
    return await backend.input(0, values if backend.me == 0 else None, values.shape)


async def _input(backend: Backend, values: Any) -> Any:
    return await backend.open(await _own(backend, values))


async def _public(backend: Backend, values: Any) -> Any:
    return await backend.open(backend.public(values))


async def _plus(backend: Backend, values: Any) -> Any:
    return await backend.open(backend.add_public(await _own(backend, np.zeros(3, U64)), values))


async def _times(backend: Backend, values: Any) -> Any:
    return await backend.open(backend.scale(await _own(backend, np.ones(3, U64)), values))


async def _matrix(backend: Backend, values: Any) -> Any:
    return await backend.open(backend.matmul_public(await _own(backend, np.eye(3, dtype=U64)), values[:, None]))


async def _input_bits(backend: ReplicatedBackend, values: Any) -> Any:
    return await backend.open_bits(
        await backend.input_bits(0, values[:, None] if backend.me == 0 else None, 3, 64),
    )


async def _public_bits(backend: ReplicatedBackend, values: Any) -> Any:
    zeros = backend.public_bits(values[:, None] ^ values[:, None], 64)
    return await backend.open_bits(backend.xor_public(zeros, values[:, None]))


async def _weights(backend: ReplicatedBackend, values: Any) -> Any:
    """The first bit of each lane is set, then the second, then the third: the numbers are the weights."""
    planes = np.array([[1], [2], [4]], U64)
    bits = await backend.input_bits(0, planes if backend.me == 0 else None, 3, 3)
    return await backend.open(await backend.weigh(bits, values))


USES: list[tuple[str, Use]] = [
    *((protocol, use) for protocol in sorted(PARTIES) for use in (_input, _public, _plus, _times, _matrix)),
    *((protocol, use) for protocol in REPLICATED for use in (_input_bits, _public_bits, _weights)),
]
IDS = [f"{protocol}{use.__name__}" for protocol, use in USES]


@pytest.mark.parametrize(("protocol", "use"), USES, ids=IDS)
@pytest.mark.parametrize("dtype", ["u8", ">u8", "i8", ">i8", "u4", ">i2", "?"])
def test_integers_of_any_kind(protocol: str, use: Use, dtype: str) -> None:
    """Of int64 minus uint64 NumPy makes float64: what was sent was rounded, and what was opened another number."""
    values = np.array([1, 0, 1], dtype)
    found = run(protocol, lambda backend: use(backend, values)).results[0]
    assert found.dtype == np.uint64
    assert found.reshape(-1).tolist() == [1, 0, 1]


@pytest.mark.parametrize(("protocol", "use"), [one for one in USES if one[0] in REPLICATED])
def test_negative_numbers_are_words(protocol: str, use: Use) -> None:
    values = np.array([-1, 5, -(2**63)])
    found = run(protocol, lambda backend: use(backend, values)).results[0]
    assert found.reshape(-1).tolist() == values.view(U64).tolist()


@pytest.mark.parametrize(("protocol", "use"), [one for one in USES if one[1] is not _public_bits])
def test_floats_are_refused(protocol: str, use: Use) -> None:
    with pytest.raises(ParameterError, match="float64"):
        run(protocol, lambda backend: use(backend, np.array([1.0, 0.5, 1.0])))


@pytest.mark.parametrize("protocol", REPLICATED)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_a_sum_of_nothing(protocol: str, shape: tuple[int, ...]) -> None:
    """Four parties could not tell how wide no row is."""

    async def program(backend: ReplicatedBackend) -> Any:
        bits = backend.public_bits(np.zeros((1, 0), U64), 0)
        return await backend.open(await backend.choose_sum(bits, backend.public(np.zeros(shape, U64))))

    found = np.asarray(run(protocol, program).results[0])
    assert found.size == int(np.prod(shape[1:]))
    assert not found.any()

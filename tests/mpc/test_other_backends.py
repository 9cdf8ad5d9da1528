"""What tensors do on backends that have products and no bits: the rest is refused, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp.errors import EncodingError, ParameterError
from privcomp.mpc import Mpc, Shared, tensors
from privcomp.mpc.backend import ReplicatedBackend
from privcomp.mpc.security import Adversary
from tests.mpc.parties import PARTIES, run

PROTOCOL = pytest.mark.parametrize("protocol", ["shamir", "shamir-goldilocks", "spdz2k-insecure-dealer"])

REFUSED: dict[str, Callable[[Mpc, Shared], Any]] = {
    "less": lambda mpc, x: x < 0,
    "equal": lambda mpc, x: x == x,
    "abs": lambda mpc, x: abs(x),
    "sort": lambda mpc, x: x.sort(),
    "max": lambda mpc, x: x.max(),
    "median": lambda mpc, x: x.median(),
    "quotient": lambda mpc, x: x / x,
    "root": lambda mpc, x: x.sqrt(),
    "sigmoid": lambda mpc, x: x.sigmoid(),
    "fewer bits": lambda mpc, x: x.fixed(4),
    "real factor": lambda mpc, x: x * 0.3,
    "gram": lambda mpc, x: x.reshape(1, 2).gram(),
}


@PROTOCOL
def test_tensors_have_what_the_backend_has(protocol: str) -> None:
    values = np.array([1.5, -2.25])

    async def program(mpc: Mpc) -> Any:
        assert not isinstance(mpc.backend, ReplicatedBackend)
        x = mpc.input(values if mpc.me == 0 else None, owner=0, shape=(2,), bound=4, fraction=8)
        for name, use in REFUSED.items():
            with pytest.raises(ParameterError) as caught:
                use(mpc, x)
            assert "take rep3 or rep4" in str(caught.value), (name, caught.value)
        # Products keep all bits of fraction.
        product = x * x + x.dot(x)
        assert product.fraction == 16
        matrix = x.reshape(2, 1) @ x.reshape(1, 2) - x.sum() * 3
        return [await mpc.open(product - 2 * x[0]), await mpc.open(matrix)]

    results = run(protocol, tensors(program)).results
    for product, matrix in results[: 2 if "dealer" in protocol else None]:
        assert (product == values * values + values @ values - 2 * values[0]).all()
        assert (matrix == np.outer(values, values) - values.sum() * 3).all()


@PROTOCOL
def test_bounds_are_those_of_the_numbers(protocol: str) -> None:
    async def program(mpc: Mpc) -> Any:
        largest = mpc.backend.largest
        half = 2 ** (largest.bit_length() - 1)
        ends = np.array([half, -half])
        x = mpc.input(ends if mpc.me == 1 else None, owner=1, shape=(2,), bound=half)
        for use in (
            lambda: mpc.input(ends if mpc.me == 1 else None, owner=1, shape=(2,), bound=2.0**63),
            lambda: x + x,
            lambda: x * x,
            lambda: x @ np.array([1, 1]),
        ):
            with pytest.raises(ParameterError, match="told from a"):
                use()
        return [await mpc.open(x), await mpc.open(mpc.public(np.array([largest, -largest])) + 0), largest]

    for own, public, largest in run(protocol, tensors(program)).results[:2]:
        assert (own == [2 ** (largest.bit_length() - 1), -(2 ** (largest.bit_length() - 1))]).all()
        assert public.tolist() == [largest, -largest]

    async def beyond(mpc: Mpc) -> None:
        mpc.input(np.array([5, -17]) if mpc.me == 1 else None, owner=1, shape=(2,), bound=16)

    with pytest.raises(EncodingError):
        run(protocol, tensors(beyond))


@pytest.mark.parametrize("protocol", sorted(PARTIES))
def test_parties_that_there_are_not(protocol: str) -> None:
    """An owner or a receiver beyond the session's is refused at every party, before anything is sent."""

    async def program(backend: Any) -> None:
        words = np.ones(3, np.uint64)
        before = backend.scheduler.cost.rounds
        for party in (-1, backend.n, 200):
            with pytest.raises(ParameterError, match=r"part(y|ies)"):
                await backend.input(party, words if backend.me == 0 else None, words.shape)
            with pytest.raises(ParameterError, match=r"part(y|ies)"):
                await backend.open(backend.public(words), to=party)
            if isinstance(backend, ReplicatedBackend):
                with pytest.raises(ParameterError, match="party"):
                    await backend.input_bits(party, None, 1, 64)
                with pytest.raises(ParameterError, match="party"):
                    await backend.open_bits(backend.public_bits(words[:1, None], 64), to=party)
        assert backend.scheduler.cost.rounds == before

    run(protocol, program)


@PROTOCOL
def test_a_program_can_demand_security(protocol: str) -> None:
    async def program(mpc: Mpc) -> Any:
        mpc.require(adversary=Adversary.MALICIOUS)
        return True

    if "dealer" in protocol:
        assert all(run(protocol, tensors(program)).results)
    else:
        with pytest.raises(ParameterError, match="semi-honest"):
            run(protocol, tensors(program))

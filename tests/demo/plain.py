"""A secure sum without the security: adds the encoded vectors in the clear. For tests of the demo's arithmetic only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from privcomp.demo import SecureResult
from privcomp.demo.data import uniform
from privcomp.demo.train import Updates
from privcomp.encoding import FixedPoint


def coins(*labels: object) -> Callable[[int], bytes]:
    """Reproducible coins."""
    counter = iter(range(1 << 60))
    return lambda n: hashlib.shake_256(repr((labels, next(counter))).encode()).digest(n)


class PlainSum:
    """Loses `loss` of the hospitals in every round (at least that share, at random), adds the rest modulo 2^B."""

    def __init__(self, clients: int, *, loss: float = 0.12, seed: int = 0) -> None:
        self.clients = clients
        self.loss = loss
        self.seed = seed
        self.calls: list[tuple[str, bytes, FixedPoint]] = []
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, *, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
        self.calls.append((purpose, model, encoding))
        order = np.argsort(uniform(self.clients, "losses", self.seed, len(self.calls)))
        survivors = tuple(sorted(map(int, order[int(np.ceil(self.loss * self.clients)) :])))
        self.asked.append(survivors)
        encoded = {}
        for hospital in survivors:
            vector, weight = updates(hospital)
            encoded[hospital] = encoding.encode(vector, weight, rng=coins(self.seed, len(self.calls), hospital))
        # numbers modulo 2^B, centred, as the protocol has them
        modulus = 1 << encoding.modulus_bits
        residues = [sum(int(v[j]) for v in encoded.values()) % modulus for j in range(encoding.length)]
        total = np.array([r - modulus if r >= modulus // 2 else r for r in residues], dtype=np.int64)
        return SecureResult(
            survivors=survivors,
            integer_sum=total,
            reference_integer_sum=np.sum(list(encoded.values()), axis=0, dtype=np.int64),
            decoded=encoding.decode(total, len(survivors)),
            bytes_up={i: -(-encoding.length * encoding.modulus_bits // 8) for i in survivors},
            bytes_down={i: len(model) for i in range(self.clients)},
            seconds={"mask": 0.0},
            record=len(self.calls) - 1,
        )

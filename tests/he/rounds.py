"""Clients of a round, their keys in one hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from privcomp.he import Aggregator, Decryptor, Encryptor, KeyedReceiver, KeyedSender, RlweParams, Secret
from privcomp.typing import I32Array, I64Array

CONTEXT = bytes(range(32))


def party(i: int) -> bytes:
    return f"client-{i}".encode()


def mac_key(i: int) -> bytes:
    return bytes([i & 255, i >> 8]) * 16


@dataclass
class Round:
    """`clients` clients with random values of `length` entries, and what each of them sends."""

    params: RlweParams
    length: int
    clients: int
    seed: int = 0

    @cached_property
    def values(self) -> list[I64Array]:
        rng, bound = np.random.default_rng(self.seed), self.params.value_bound
        made = [rng.integers(-bound, bound, self.length, np.int64, endpoint=True) for _ in range(self.clients)]
        made[0][0], made[0][-1] = bound, -bound
        return made

    @cached_property
    def secrets(self) -> list[Secret]:
        return [Secret.draw(self.params) for _ in range(self.clients)]

    @cached_property
    def uploads(self) -> list[bytes]:
        return [self.encryptor(i).encrypt(self.values[i], self.secrets[i]) for i in range(self.clients)]

    def encryptor(self, i: int) -> Encryptor:
        return Encryptor(self.params, CONTEXT, self.length, sender=KeyedSender(party(i), mac_key(i)))

    def aggregator(self) -> Aggregator:
        keys = {party(i): mac_key(i) for i in range(self.clients + 2)}
        return Aggregator(self.params, CONTEXT, self.length, receiver=KeyedReceiver(keys))

    def decryptor(self) -> Decryptor:
        return Decryptor(self.params, CONTEXT, self.length)

    def added(self, clients: range | None = None) -> Aggregator:
        aggregator = self.aggregator()
        for i in clients or range(self.clients):
            aggregator.add(self.uploads[i], party(i))
        return aggregator

    def key_sum(self, clients: range | None = None) -> I32Array:
        return np.sum([self.secrets[i].coefficients for i in clients or range(self.clients)], axis=0, dtype=np.int32)

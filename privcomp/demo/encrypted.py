"""The demo's sums by CKKS: hospitals encrypt, an aggregator adds, a key holder opens one sum in each round.

Everything here is the library's own (`privcomp.he.ckks`). Nothing in it is recorded or certified: who adds and who
holds the key must be two parties that do not work together, and both must follow the protocol. Hospitals are lost
before they upload, as there is only one message that can be lost.
"""

from __future__ import annotations

import math
import time
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privcomp._core import Drbg
from privcomp.demo.train import SecureResult, Updates
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from privcomp.he.ckks import Aggregator, CkksParams, Decryptor, Encryptor, Session
from privcomp.keys import Identity, Roster

__all__ = ["MAX_WEIGHT", "EncryptedFederation"]

#: Weights are multiplied into the floats before they are rounded to the grid: large ones would cost precision.
MAX_WEIGHT: Final = 128
_AGGREGATOR, _HOLDER = b"aggregator", b"key-holder"
_BITS: Final = 32
_LEAST_BITS: Final = 12


class _Key:
    """One session: parameters, the secret key at its holder, and the hospitals' encryptors."""

    def __init__(self, session: Session, identities: dict[bytes, Identity]) -> None:
        self.session = session
        self.holder = Decryptor(session, identities[_HOLDER])
        self.identities = identities
        self.rounds = 0
        self._encryptors: dict[bytes, Encryptor] = {}

    def encryptor(self, party: bytes) -> Encryptor:
        if party not in self._encryptors:
            self._encryptors[party] = Encryptor(self.session, self.holder.public_key, party, self.identities[party])
        return self._encryptors[party]


class EncryptedFederation:
    """Hospitals 0 .. clients - 1, an aggregator and a key holder (see `privcomp.demo.SecureSum`).

    Args:
        clients: number of hospitals.
        seed: decides who is lost in which round; keys come from the operating system.
        dropout: fraction of the hospitals that is lost in every round, rounded up, 0..0.9.

    Raises:
        ParameterError: too few hospitals would be left.
        LocalError: TenSEAL is not installed.
    """

    def __init__(self, clients: int, seed: int, *, dropout: float = 0.1) -> None:
        self.check(clients, dropout=dropout)
        self._seed = seed
        self._lost = math.ceil(dropout * clients)
        self._names = [f"hospital-{i:05d}".encode() for i in range(clients)]
        self._identities = {party: Identity.generate() for party in (*self._names, _AGGREGATOR, _HOLDER)}
        self.roster = Roster.of({party: identity.public for party, identity in self._identities.items()})
        self._keys: dict[CkksParams, _Key] = {}
        self._count = 0

    @staticmethod
    def check(clients: int, *, dropout: float) -> None:
        """Refuse what cannot work.

        Raises:
            ParameterError: a value is out of range, or the losses are too many.
        """
        if not 0 <= dropout <= 0.9:
            raise ParameterError(f"--dropout {dropout}: a fraction in 0..0.9 is needed")
        if clients < 3 or clients - math.ceil(dropout * clients) < 2:
            raise ParameterError(f"--clients {clients} with --dropout {dropout}: a sum of two or more is needed")

    def _losses(self, number: int) -> set[int]:
        rng = Drbg.insecure_deterministic(sha256(f"privcomp-demo-losses/{self._seed}/{number}".encode()).digest())
        order = sorted(range(len(self._names)), key=lambda i: (rng.random_bytes(8), i))
        return set(order[: self._lost])

    def fitted(self, encoding: FixedPoint) -> FixedPoint:
        """The same range and weights, as finely as one prime of CKKS can hold the sum of so many hospitals.

        Raises:
            ParameterError: it cannot.
        """
        if encoding.max_weight == 1 and self._fits(encoding):
            return encoding
        for bits in range(min(_BITS, encoding.bits), _LEAST_BITS - 1, -1):
            coarse = FixedPoint.for_range(
                encoding.clip_limit,
                bits=bits,
                clients=encoding.clients,
                entries=encoding.entries,
                way="prescaled",
                max_weight=encoding.max_weight,
                max_error=encoding.clip_limit,  # what the report states is the error of the encoding in use
            )
            if self._fits(coarse):
                return coarse
        raise ParameterError(f"CKKS with one prime does not hold sums of {encoding.clients} hospitals: use fewer")

    @staticmethod
    def _fits(encoding: FixedPoint) -> bool:
        try:
            _params(encoding)
        except ParameterError:
            return False
        return True

    def __call__(self, *, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
        """One sum."""
        encoding = self.fitted(encoding)
        params = _params(encoding)
        if params not in self._keys:
            context = sha256(b"privcomp-demo-ckks" + params.to_bytes()).digest()
            session = Session(params, context, self.roster, _HOLDER, _AGGREGATOR)
            self._keys[params] = _Key(session, self._identities)
        key, number = self._keys[params], self._count
        self._count += 1
        lost = self._losses(number)
        adder = Aggregator(key.session, key.holder.public_key, self._identities[_AGGREGATOR], key.rounds)
        reference: NDArray[np.int64] = np.zeros(encoding.length, dtype=np.int64)
        down = len(model) + (len(key.holder.public_key) if not key.rounds else 0)
        up: dict[int, int] = {}
        start = time.perf_counter()
        for i, party in enumerate(self._names):
            if i in lost:
                continue
            vector = encoding.encode(*updates(i))
            reference += vector
            upload = key.encryptor(party).encrypt(vector.astype(np.float64), key.rounds)
            up[i] = len(upload)
            adder.add(upload)
        added = time.perf_counter()
        opened = key.holder.decode(adder.total(), key.rounds)
        total = np.rint(opened.values).astype(np.int64)
        done = time.perf_counter()
        key.rounds += 1
        return SecureResult(
            survivors=tuple(sorted(up)),
            integer_sum=total,
            reference_integer_sum=reference,
            decoded=encoding.decode(total, len(up)),
            bytes_up=up,
            bytes_down=dict.fromkeys(range(len(self._names)), down),
            seconds={"encrypt and add": added - start, "open": done - added},
            record=number,
            lost=tuple(sorted(lost)),
            sent_as=f"{encoding.describe_values()}; CKKS with N = 4096 and one prime of {params.modulus_bits} bits, "
            f"{params.blocks} ciphertexts per hospital",
        )


def _params(encoding: FixedPoint) -> CkksParams:
    """Integers: a grid of step 1."""
    return CkksParams.for_round(
        length=encoding.length, clients=encoding.clients, magnitude=float(encoding.bound), precision_bits=0
    )

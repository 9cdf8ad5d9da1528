"""What every rule states, and how one is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass, fields, replace
from hashlib import sha256
from typing import Any, ClassVar, Final

import numpy as np

from privcomp.codec import digest
from privcomp.errors import ParameterError, RoundAborted
from privcomp.mpc.backend import ReplicatedBackend
from privcomp.mpc.clients import ClientShares
from privcomp.mpc.engine import Exchange
from privcomp.mpc.robust.masking import described
from privcomp.mpc.robust.release import Outcome, Release
from privcomp.mpc.robust.updates import ShareSource, Updates

__all__ = ["Rule", "aggregate", "terms"]

_TERMS: Final = "privcomp/mpc/robust/terms/v1"
_SCORES: Final = "privcomp/mpc/robust/scores/v2"
_DIGEST: Final = 32
_CLIENTS_MAX: Final = 1 << 16


def in_range(name: str, value: object, low: int, high: int) -> int:
    """An integer parameter, checked."""
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(f"{name} is {value!r}; it must be an int in [{low}, {high}]")
    return value


def below(what: str, value: int, bits: int, hint: str) -> None:
    """Refuse numbers that could leave the room that they have."""
    if value >= 1 << bits:
        raise ParameterError(f"{what} can reach 2^{value.bit_length() - 1} or more; below 2^{bits} it is exact: {hint}")


class Rule(ABC):
    """A way to aggregate n updates of d entries that stands some poisoned ones.

    A rule is a frozen dataclass of public parameters. `check` states its bounds, `opens` what it reveals.
    """

    name: ClassVar[str]

    @abstractmethod
    def check(self, clients: int, entries: int, width: int) -> None:
        """Refuse what the rule cannot compute exactly, or within its stated error.

        Args:
            clients: n; entries: d; width: b bits an entry.

        Raises:
            ParameterError: says which bound is exceeded.
        """

    @abstractmethod
    def accepted(self, clients: int) -> int | None:
        """How many clients stand behind what is opened, where this is public; None where it is only known on shares."""

    @abstractmethod
    def opens(self, clients: int) -> tuple[str, ...]:
        """What the servers learn, beyond what the rule refuses."""

    @abstractmethod
    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        """Compute on extended updates, and open. Arguments as in `aggregate`, which checks them."""

    async def from_shares(self, backend: ReplicatedBackend, shares: ShareSource, release: Release) -> Outcome:
        """Compute on shares modulo 2^b; rules that need no extension do without."""
        return await self.run(backend, await Updates.extend(backend, shares), release)

    def require(self, clients: int, entries: int, width: int, release: Release) -> None:
        """`check`, and that the rule may open what it opens; before anything is sent.

        Raises:
            ParameterError: it may not.
        """
        in_range("clients", clients, 1, _CLIENTS_MAX)
        in_range("entries", entries, 1, 1 << 30)
        in_range("width", width, 2, 48)
        self.check(clients, entries, width)
        accepted = self.accepted(clients)
        release.require(self.name, clients if accepted is None else accepted)


def same(backend: ReplicatedBackend, label: str) -> None:
    """Servers that do not all have this label stop at the next frame: it goes into the running hash of the schedule."""

    async def said() -> None:
        await Exchange(label, {}, {})

    backend.scheduler.spawn(said())


def _parameter(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return b"array" + sha256(np.ascontiguousarray(value, "<i8").tobytes()).digest()
    return repr(value).encode()


@dataclass(frozen=True)
class Scores:
    """What `contributions` is asked for; see there."""

    cosine: float | None = None
    influence: float | None = None
    cosine_noise: float | None = None
    influence_noise: float | None = None

    def digest(self) -> bytes:
        """32 bytes, or none where nothing is asked for."""
        asked = [None if number is None else float(number) for number in astuple(self)]
        return b"" if self == Scores() else digest(_SCORES, *(repr(number).encode() for number in asked))


def terms(
    rule: Rule,
    release: Release,
    *,
    cosine: float | None = None,
    influence: float | None = None,
    cosine_noise: float | None = None,
    influence_noise: float | None = None,
) -> bytes:
    """What stands for all that is computed and may be opened: `Collection.terms`, so that clients sign it.

    Args:
        rule: of `aggregate`.
        release: of `aggregate`.
        cosine: of `contributions`; None: no such bits are opened.
        influence, cosine_noise, influence_noise: likewise.

    Returns:
        32 bytes, and 32 more where `contributions` may be asked for.
    """
    parts = [rule.name.encode()]
    for thing in (rule, release):
        for item in fields(thing):  # type: ignore[arg-type]
            parts += [item.name.encode(), _parameter(getattr(thing, item.name))]
    return digest(_TERMS, *parts) + Scores(cosine, influence, cosine_noise, influence_noise).digest()


def require_scores(signed: bytes | None, asked: Scores) -> None:
    """Refuse scores that the clients did not sign: with enough thresholds each is found by bisection.

    Raises:
        ParameterError: they are others.
    """
    if signed is not None and signed[_DIGEST:] != asked.digest():
        raise ParameterError(
            "the clients signed other terms than these scores; pass the same to `terms`, too, before anything is "
            "collected"
        )


async def aggregate(
    backend: ReplicatedBackend, rule: Rule, shares: ShareSource | Updates, release: Release | None = None
) -> Outcome:
    """Run a rule on shares, and open its result to all servers.

    Args:
        backend: of this server.
        rule: the same at every server.
        shares: what `agree` gave, or updates that are extended already.
        release: when the result may be opened; None: `Release()`.

    Raises:
        ParameterError: a bound of the rule, or of the release, is exceeded; nothing was sent. Also where the clients
            signed other terms, or the shares are another server's.
        RoundAborted: the clients that were agreed on are too few for the rule, or too few were accepted.
        RemoteError: another server runs another rule, or the same one with other parameters.
        StateError: these shares, or these updates of clients, have given a result already.
    """
    release = release if release is not None else Release()
    if not isinstance(backend, ReplicatedBackend):
        raise ParameterError("robust rules run on replicated sharing: rep3 or rep4")
    signed = shares.terms if isinstance(shares, Updates) else None
    if isinstance(shares, ClientShares):
        signed = shares.collection.terms
    if signed is None:
        rule.require(shares.clients, shares.entries, shares.width, release)
    else:
        if signed[:_DIGEST] != terms(rule, release):
            raise ParameterError("the clients signed other terms than this rule with this release; compare both")
        try:
            rule.require(shares.clients, shares.entries, shares.width, release)
        except ParameterError as error:
            # The parameters were right for the roster; who is left on the final list is not this node's doing.
            raise RoundAborted(None, "robust", f"{shares.clients} clients are on the final list: {error}") from None
    if isinstance(shares, Updates):
        shares.spend("updates")
    elif isinstance(shares, ClientShares):
        shares = shares.take(backend)
    same(backend, f"rule {terms(rule, release).hex()} {shares.clients} {shares.entries} {shares.width}")
    if isinstance(shares, Updates):
        outcome = await rule.run(backend, shares, release)
    else:
        outcome = await rule.from_shares(backend, shares, release)
    return replace(outcome, opened=(*outcome.opened, *described(backend, release)))

"""What a rule may open, and what came of it.

An aggregate of few clients is nearly their updates. So before anything else is opened, the number of accepted clients
is held against `least + colluders`: the m_min clients that must stand behind the aggregate even for those who know the
colluders' updates. Where the number is public (mean, Krum, trimmed mean) the rule refuses before it begins; where it is
secret (filters, weights) the servers open the one bit [accepted >= least + colluders], and nothing else if it is 0.
That bit is itself opened once per run.

A caller who wants the output of few clients names the leak, `Release(leaks="one update")`, or has the servers add noise
to every opened entry, `Release(masked=variance)`; then no threshold holds. See `masking` for what that noise is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import numpy as np

from privcomp.errors import ParameterError, RoundAborted
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.circuits import sign
from privcomp.samplers import Skellam
from privcomp.typing import F64Array, I64Array

__all__ = ["ONE_UPDATE", "Outcome", "Release"]

ONE_UPDATE: Final = "one update"
_STAGE: Final = "robust"


@dataclass(frozen=True)
class Release:
    """When an aggregate may be opened.

    Args:
        least: m_min >= 2, clients outside of the colluders that must stand behind what is opened.
        colluders: clients that may pool what they know, with each other and with a server.
        leaks: None, or "one update": the caller knows that what is opened may be one client's update, or the raw
            coordinates of several, and wants it nevertheless. No threshold holds then.
        masked: None, or the variance (int or Fraction, squared units of the encoding, 1 .. 2^26) of the noise that
            the honest servers alone add to every opened entry. No threshold holds then. How many clients a filter
            accepted is opened without noise.

    Raises:
        ParameterError: numbers out of range, an unknown leak, or a leak and noise at once.

    >>> Release(least=3, colluders=2).threshold
    5
    >>> Release(masked=10_000).gated
    False
    """

    least: int = 3
    colluders: int = 0
    leaks: str | None = None
    masked: Fraction | int | None = None

    def __post_init__(self) -> None:
        if self.masked is not None:
            object.__setattr__(self, "masked", Skellam(cast(Fraction, self.masked)).variance)
            if self.masked < 1:
                raise ParameterError(f"noise with a variance of {self.masked} is mostly none; the least is 1")
            if self.leaks is not None:
                raise ParameterError("a leak is named and noise asked for; choose one: with noise none has to be named")
        if type(self.least) is not int or not 2 <= self.least <= 1 << 16:
            raise ParameterError(f"least is {self.least}; allowed is [2, 65536]: the mean of one client is its update")
        if type(self.colluders) is not int or not 0 <= self.colluders <= 1 << 16:
            raise ParameterError(f"colluders is {self.colluders}; allowed is [0, 65536]")
        if self.leaks not in (None, ONE_UPDATE):
            raise ParameterError(f"leaks is {self.leaks!r}; the one leak that can be named is {ONE_UPDATE!r}")

    @property
    def threshold(self) -> int:
        """How many clients have to be accepted."""
        return self.least + self.colluders

    @property
    def gated(self) -> bool:
        """Whether the threshold holds."""
        return self.leaks is None and self.masked is None

    def require(self, rule: str, accepted: int) -> None:
        """Refuse a rule that opens a function of `accepted` clients, a public number, if these are too few.

        Raises:
            ParameterError: they are, and the leak is not named.
        """
        if self.gated and accepted < self.threshold:
            raise ParameterError(
                f"{rule} opens what {accepted} clients sent; {self.threshold} are asked for (least {self.least}, "
                f"colluders {self.colluders}). Choose parameters that accept more, name the leak, "
                f"Release(leaks={ONE_UPDATE!r}), or have noise added, Release(masked=variance)"
            )


async def gate(backend: ReplicatedBackend, excess: Value, bound: int) -> None:
    """Open the bit [excess >= 0] and nothing else; go on if it is set.

    Args:
        excess: (1,), |excess| <= bound < 2^63.

    Raises:
        RoundAborted: it is not.
    """
    bit = await backend.open_bits(await sign(backend, excess, bound.bit_length() + 1))
    if bit is None or int(bit[0, 0]) & 1:
        raise RoundAborted(
            None,
            _STAGE,
            "too few clients stand behind the aggregate (this is all that was opened); it stays closed. Collect more "
            "updates, loosen the rule, or lower what the release asks for",
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a rule opened.

    Attributes:
        total: int64 (d,), in units of the encoding.
        divisor: by which it is divided.
        opened: what was opened, in words.
    """

    total: I64Array
    divisor: int
    opened: tuple[str, ...]

    @property
    def mean(self) -> F64Array:
        """total / divisor, float64 (d,): times the encoding's granularity it is the aggregated update."""
        mean: F64Array = self.total.astype(np.float64) / self.divisor
        return mean

"""What a protocol protects against, as three axes, so that a program can demand it and be refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from privcomp.errors import ParameterError

__all__ = ["Adversary", "Guarantee", "Security", "check_demand"]


class Adversary(Enum):
    """What a corrupted party does."""

    SEMI_HONEST = "semi-honest"
    """It follows the protocol and looks at what it receives."""
    MALICIOUS = "malicious"
    """It sends whatever it likes."""


class Guarantee(Enum):
    """What the honest parties are promised about their output."""

    CORRECT_IF_HONEST = "correct if all follow the protocol"
    ABORT = "correct, or abort"


def check_demand(adversary: object, corruptions: object) -> None:
    """Refuse a demand that would be compared with nothing, and pass.

    Raises:
        ParameterError: neither None nor an `Adversary`; neither None nor an integer from 1 on.
    """
    if not (adversary is None or isinstance(adversary, Adversary)):
        raise ParameterError(f"adversary is {adversary!r}; pass one of {', '.join(map(str, Adversary))}")
    if not (corruptions is None or (type(corruptions) is int and corruptions >= 1)):
        raise ParameterError(f"corruptions is {corruptions!r}; pass an integer, 1 or more")


@dataclass(frozen=True)
class Security:
    """What holds as long as at most `corruptions` of `parties` collude.

    Args:
        adversary: what the corrupted parties do.
        parties: how many there are, at least 2.
        corruptions: how many of them may collude, 1 <= corruptions < parties.
        guarantee: of the output. Privacy of inputs holds against the same adversary.
        assumes: what else it stands on, in words.

    Raises:
        ParameterError: numbers out of range, or malicious parties with no guarantee against them.

    >>> held = Security(Adversary.SEMI_HONEST, 3, 1, Guarantee.CORRECT_IF_HONEST)
    >>> held.require(adversary=Adversary.MALICIOUS)
    Traceback (most recent call last):
    privcomp.errors.ParameterError: the program demands a malicious adversary; this protocol stands against ...
    """

    adversary: Adversary
    parties: int
    corruptions: int
    guarantee: Guarantee
    assumes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.parties < 2 or not 1 <= self.corruptions < self.parties:
            raise ParameterError(
                f"{self.corruptions} corruptions among {self.parties} parties; allowed are 2 parties or more, "
                "of which at least one is corrupt and one is not"
            )
        if self.adversary is Adversary.MALICIOUS and self.guarantee is Guarantee.CORRECT_IF_HONEST:
            raise ParameterError("against a malicious adversary the guarantee is at least ABORT")

    def require(self, *, adversary: Adversary | None = None, corruptions: int | None = None) -> None:
        """Refuse to run with less than what is demanded.

        Args:
            adversary: what the corrupted parties may do; None: whatever the protocol is made for.
            corruptions: how many may collude, at least 1; None likewise.

        Raises:
            ParameterError: the protocol does not stand against that adversary, or not against that many; or the demand
                is none that is understood, such as a text in place of an `Adversary`.
        """
        check_demand(adversary, corruptions)
        if adversary is Adversary.MALICIOUS and self.adversary is not Adversary.MALICIOUS:
            raise ParameterError(
                f"the program demands a malicious adversary; this protocol stands against a {self.adversary.value} "
                "one; take rep4 or spdz2k"
            )
        if corruptions is not None and corruptions > self.corruptions:
            raise ParameterError(
                f"the program demands {corruptions} corruptions; this protocol stands against {self.corruptions} "
                f"of {self.parties}"
            )

"""What the ledger says of the privacy spent: the curves of all releases under plans, added up.

A report, from which nobody's protection depends (see `privcomp.rounds.budget`): it lets an auditor see what the rounds
of a ledger together may tell about one client or one record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from privcomp.codec import F64, U64, Codec, Message, Nested, Seq, Text
from privcomp.dp import DistributedPlan, RdpCurve
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.ledger import Record
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.context import SERVER

__all__ = ["PRIVACY", "PrivacyAuditor", "PrivacySpent", "Spent"]

#: Name in `Record.extras`.
PRIVACY: Final = "privacy"


@dataclass(frozen=True)
class Spent(Message):
    """The releases of one unit under one adjacency.

    Attributes:
        unit, adjacency: of the plans.
        releases: rounds in which clients were asked for masked input, whether or not a sum was opened.
        delta: of the newest plan.
        cut_delta: what cutting off noise for proofs takes from delta, in all of them.
        curve: the Rényi curves of all of them, added up.
    """

    TAG: ClassVar[int] = 0x4A
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("unit", Text(16)),
        ("adjacency", Text(16)),
        ("releases", U64),
        ("delta", F64),
        ("cut_delta", F64),
        ("curve", Nested(RdpCurve)),
    )
    unit: str
    adjacency: str
    releases: int
    delta: float
    cut_delta: float
    curve: RdpCurve

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1 or self.cut_delta < 0:
            raise ParameterError("privacy spent: 0 < delta < 1 and cut_delta >= 0 are needed")

    @property
    def epsilon(self) -> float:
        """At `delta`."""
        left = self.delta - self.cut_delta
        return self.curve.epsilon(left) if left > 0 else float("inf")

    def __str__(self) -> str:
        return (
            f"epsilon = {self.epsilon:.4f} at delta = {self.delta:g} for a {self.unit} ({self.adjacency}), over "
            f"{self.releases} releases"
        )


@dataclass(frozen=True)
class PrivacySpent(Message):
    """What all records up to this one have spent, by unit and adjacency."""

    TAG: ClassVar[int] = 0x4B
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("spent", Seq(Nested(Spent), 4)),)
    spent: tuple[Spent, ...] = ()

    def __post_init__(self) -> None:
        names = [(each.unit, each.adjacency) for each in self.spent]
        if names != sorted(set(names)):
            raise ParameterError("privacy spent: one entry for each unit and adjacency, in order")

    def after(self, plan: DistributedPlan) -> PrivacySpent:
        """With one more release."""
        known = {(each.unit, each.adjacency): each for each in self.spent}
        name = (plan.unit, plan.adjacency)
        old = known.get(name) or Spent(*name, 0, plan.delta, 0.0, RdpCurve.zero())
        known[name] = replace(
            old,
            releases=old.releases + 1,
            delta=plan.delta,
            cut_delta=old.cut_delta + plan.cut_delta(1),
            curve=old.curve + plan.rdp_round,
        )
        return PrivacySpent(tuple(known[key] for key in sorted(known)))

    @classmethod
    def read(cls, data: bytes | None) -> PrivacySpent:
        """From a record's extra; None: nothing is spent yet.

        Raises:
            CodecError: no such message.
        """
        return cls() if data is None else cls.from_bytes(data, max_bytes=1 << 14)


class PrivacyAuditor:
    """Adds up what the plans of a ledger's records spend, and holds the server's own figure against it."""

    def __init__(self) -> None:
        self.total = PrivacySpent()

    def __call__(self, record: Record) -> None:
        """Take the next record.

        Raises:
            RemoteError: its figure is another one.
        """
        plan = RoundSpec.of_bytes(record.params).encoding
        stated = dict(record.extras).get(PRIVACY)
        if not isinstance(plan, DistributedPlan) or not record.u2:
            if stated is not None:
                raise RemoteError(SERVER, PRIVACY, "a record of a round without noise states that privacy was spent")
            return
        self.total = self.total.after(plan)
        try:
            wrong = PrivacySpent.read(stated) != self.total
        except CodecError as error:
            raise error.by(SERVER, PRIVACY) from None
        if wrong:
            raise RemoteError(SERVER, PRIVACY, "the privacy spent is stated otherwise than the rounds' plans add up to")

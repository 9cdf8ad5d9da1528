"""What a computation costs, as a table for people, and how long it takes on a network that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from privcomp.errors import ParameterError
from privcomp.mpc.engine import Cost, Spent

__all__ = ["OFFLINE", "Net", "Report", "lan", "wan"]

#: First words of the labels of what does not depend on inputs, and can be done before there are any.
OFFLINE: Final = ("setup", "dealer", "offline")


@dataclass(frozen=True)
class Net:
    """A network between parties that are all equally far from each other.

    Args:
        rtt: seconds there and back.
        bandwidth: bytes per second that one party sends to all its peers together.
        name: for tables.

    Raises:
        ParameterError: a negative time, or no bandwidth.
    """

    rtt: float
    bandwidth: float
    name: str = "net"

    def __post_init__(self) -> None:
        if not 0 <= self.rtt < float("inf") or not self.bandwidth > 0:
            raise ParameterError(
                f"rtt is {self.rtt} s, bandwidth {self.bandwidth} bytes/s; neither below 0, and no bandwidth is none"
            )

    def seconds(self, rounds: int, sent: int) -> float:
        """What `rounds` rounds with `sent` bytes in them take: every round is one way, half of a round trip."""
        return rounds * self.rtt / 2 + sent / self.bandwidth


def lan(rtt: float = 1e-3, bandwidth: float = 10e9 / 8) -> Net:
    """A local network: 1 ms, 10 Gb/s."""
    return Net(rtt, bandwidth, "LAN")


def wan(rtt: float = 40e-3, bandwidth: float = 100e6 / 8) -> Net:
    """A wide area network: 40 ms, 100 Mb/s."""
    return Net(rtt, bandwidth, "WAN")


@dataclass(frozen=True)
class Report:
    """The cost of one party; `str` gives a table.

    Args:
        cost: as the engine counted it.
        nets: networks to estimate for. An estimate has no computing in it, and no headers per operation; operations
            that share rounds are estimated as if they did not.
        seconds: what the computation took, or would have taken; None: not known.

    >>> from collections import Counter
    >>> print(Report(Cost(3, Counter({1: 8300}), {"setup": Spent(1, 32, 1), "mul": Spent(2, 8000, 2)})))
    operation  exchanges  rounds  bytes sent     LAN    WAN
    mul                2       2       8,000    1 ms  41 ms
    offline:
    setup              1       1          32  500 us  20 ms
    all                3       3       8,300  1.5 ms  61 ms
    """

    cost: Cost
    nets: tuple[Net, ...] = (lan(), wan())
    seconds: float | None = None

    def split(self) -> tuple[dict[str, Spent], dict[str, Spent]]:
        """(online, offline): by operation, the dearest first."""
        ordered = sorted(self.cost.operations.items(), key=lambda item: (-item[1].sent, -item[1].rounds, item[0]))
        online = {name: spent for name, spent in ordered if name.partition("-")[0] not in OFFLINE}
        return online, {name: spent for name, spent in ordered if name not in online}

    def as_dict(self) -> dict[str, Any]:
        """The same for machines: numbers only."""

        def entries(operations: Mapping[str, Spent]) -> dict[str, Any]:
            return {
                name: {
                    "exchanges": spent.exchanges,
                    "rounds": spent.rounds,
                    "bytes": spent.sent,
                    **{f"{net.name.lower()}_s": net.seconds(spent.rounds, spent.sent) for net in self.nets},
                }
                for name, spent in operations.items()
            }

        online, offline = self.split()
        return {
            "rounds": self.cost.rounds,
            "bytes": self.cost.bytes,
            "bytes_to": {str(peer): sent for peer, sent in sorted(self.cost.sent.items())},
            **{f"{net.name.lower()}_s": net.seconds(self.cost.rounds, self.cost.bytes) for net in self.nets},
            "seconds": self.seconds,
            "online": entries(online),
            "offline": entries(offline),
        }

    def __str__(self) -> str:
        online, offline = self.split()
        rows = [["operation", "exchanges", "rounds", "bytes sent", *(net.name for net in self.nets)]]
        rows += [self._row(name, *spent) for name, spent in online.items()]
        if offline:
            rows += [["offline:"], *(self._row(name, *spent) for name, spent in offline.items())]
        exchanges = sum(spent.exchanges for spent in self.cost.operations.values())
        rows.append(self._row("all", exchanges, self.cost.bytes, self.cost.rounds))
        widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=False)) for row in rows)
        ]
        if self.seconds is not None:
            lines.append(f"seconds: {_seconds(self.seconds)}")
        return "\n".join(line.rstrip() for line in lines)

    def _row(self, name: str, count: int, sent: int, rounds: int) -> list[str]:
        estimates = (_seconds(net.seconds(rounds, sent)) for net in self.nets)
        return [name, f"{count:,}", f"{rounds:,}", f"{sent:,}", *estimates]


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.2g} {unit}" if value * factor < 10 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e6:.0f} us"

"""One federated round in one process, byte messages only, with planned losses: what demos and first experiments need.

The network with all its faults is `privcomp.simulation.network`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from privcomp.errors import RemoteError
from privcomp.rounds import LocalUpdate, RoundClient, RoundResult, RoundServer
from privcomp.secagg.messages import STAGES

__all__ = ["Traffic", "run_round"]


@dataclass
class Traffic:
    """What a round cost.

    Attributes:
        bytes_up, bytes_down: id -> bytes sent and received by that client, every stage and header included.
        seconds: stage -> seconds of all clients and the server together; "open" is the server's unmasking.
    """

    bytes_up: dict[bytes, int] = field(default_factory=dict)
    bytes_down: dict[bytes, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_round(
    server: RoundServer,
    clients: Mapping[bytes, RoundClient],
    update: Callable[[bytes], LocalUpdate],
    *,
    losses: Mapping[bytes, int] | None = None,
    heads: dict[bytes, bytes] | None = None,
    traffic: Traffic | None = None,
) -> RoundResult:
    """Drive one round to its end. A client whose upload the server refuses counts as lost from then on.

    Args:
        server: a fresh round.
        clients: id -> client.
        update: id -> the function that computes this client's (values, weight).
        losses: id -> first stage (0..4) whose message of this client is lost; it is silent from then on.
        heads: id -> ledger head that the client last signed; updated.
        traffic: filled with bytes and seconds.

    Returns:
        The decoded result; the record is in the ledger.

    Raises:
        RoundAborted: too few clients were left; the abort is in the ledger.
        RemoteError: a secret or the decoded sum is not what it must be; that is in the ledger, too.
    """
    lost, heads = losses or {}, {} if heads is None else heads
    cost = traffic if traffic is not None else Traffic()
    messages: Mapping[bytes, bytes] = {party: server.announcement(heads.get(party)) for party in clients}
    malicious = server.spec.aggregation.adversary == "malicious"
    try:
        for stage, name in enumerate(STAGES):
            if name == "consistency" and not malicious:
                continue
            start = time.perf_counter()
            for party, request in messages.items():
                cost.bytes_down[party] = cost.bytes_down.get(party, 0) + len(request)
                if lost.get(party, len(STAGES)) <= stage:
                    continue
                for answer in clients[party].receive(request, update(party)):
                    cost.bytes_up[party] = cost.bytes_up.get(party, 0) + len(answer)
                    try:
                        server.receive(answer, party)
                    except RemoteError:
                        if party not in server.secagg.refused:
                            raise
                        break
                if stage == 0:
                    heads[party] = server.secagg.context.announce.ledger_head
            if name != "unmask":
                messages = server.advance()
            cost.seconds[name] = cost.seconds.get(name, 0.0) + time.perf_counter() - start
        start = time.perf_counter()
        result = server.finish()
        cost.seconds["open"] = cost.seconds.get("open", 0.0) + time.perf_counter() - start
        return result
    except RemoteError as error:
        server.abort(error)
        raise

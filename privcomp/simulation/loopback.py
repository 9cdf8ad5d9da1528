"""One federated round in one process, byte messages only, with planned losses: what demos and first experiments need.

The network with all its faults is `privcomp.simulation.network`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from privcomp.errors import ParameterError, RemoteError
from privcomp.rounds import LocalUpdate, RoundClient, RoundResult, RoundServer

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
    losses: Mapping[bytes, str] | None = None,
    heads: dict[bytes, bytes] | None = None,
    traffic: Traffic | None = None,
) -> RoundResult:
    """Drive one round to its end. A client whose upload the server refuses counts as lost from then on.

    Args:
        server: a fresh round.
        clients: id -> client.
        update: id -> the function that computes this client's (values, weight).
        losses: id -> first stage (a name of `server.stages`) whose message of this party is lost; it is silent from
            then on.
        heads: id -> ledger head that the client last signed; updated.
        traffic: filled with bytes and seconds.

    Returns:
        The decoded result; the record is in the ledger.

    Raises:
        ParameterError: a loss in a stage that this round does not have.
        RoundAborted: too few clients were left; the abort is in the ledger.
        RemoteError: a secret or the decoded sum is not what it must be; that is in the ledger, too.
    """
    heads = {} if heads is None else heads
    order = {name: place for place, name in enumerate(server.stages)}
    if unknown := set((losses or {}).values()) - set(order):
        raise ParameterError(f"losses name the stages {sorted(map(str, unknown))}; this round has {list(order)}")
    silent = {party: order[name] for party, name in (losses or {}).items()}
    cost = traffic if traffic is not None else Traffic()
    messages: Mapping[bytes, bytes] = server.begin(clients, heads)
    try:
        for name in server.stages:
            start = time.perf_counter()
            for party, request in messages.items():
                cost.bytes_down[party] = cost.bytes_down.get(party, 0) + len(request)
                if silent.get(party, len(order)) <= order[name]:
                    continue
                for answer in clients[party].receive(request, update(party)):
                    cost.bytes_up[party] = cost.bytes_up.get(party, 0) + len(answer)
                    try:
                        server.receive(answer, party)
                    except RemoteError:
                        if party not in server.refused:
                            raise
                        break
                if name == server.announces:
                    heads[party] = server.announce.ledger_head
            if name != server.stages[-1]:
                messages = server.advance()
            cost.seconds[name] = cost.seconds.get(name, 0.0) + time.perf_counter() - start
        start = time.perf_counter()
        result = server.finish()
        cost.seconds["open"] = cost.seconds.get("open", 0.0) + time.perf_counter() - start
        return result
    except RemoteError as error:
        server.abort(error)
        raise

"""One-shot rounds as every embedding proposes them: a committee of nodes of the roster, and what its members accept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from privcomp import oneshot
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from privcomp.keys import Roster
from privcomp.policy import Policy
from privcomp.rounds import RoundSpec, Task
from privcomp.secagg.params import Params

__all__ = ["committee_of", "one_shot"]

#: With fewer, no member may be lost, or any two of them read every key.
LEAST_MEMBERS: Final = 4
_PPM: Final = 1_000_000


def committee_of(roster: Roster, ids: Iterable[bytes], privacy: int | None = None) -> oneshot.Committee:
    """The committee of these nodes. Its order is that of the roster, so that whoever names the same nodes, in whatever
    order, names the same committee.

    Args:
        roster: has the keys of all nodes.
        ids: at least 4 of them, each once.
        privacy: t_p, how many of them may be corrupt; None: see `oneshot.Committee.named`.

    Raises:
        ParameterError: an id that the roster does not have, or twice; too few; a t_p with which no sum can be opened.
    """
    named = list(ids)
    for party in named:
        if party not in roster:
            raise ParameterError(f"the committee names {party!r}, which is not in the roster")
        if named.count(party) > 1:
            raise ParameterError(f"the committee names {party!r} twice")
    if len(named) < LEAST_MEMBERS:
        raise ParameterError(
            f"a committee of {len(named)}: {LEAST_MEMBERS} members at least, so that none of them reads a key and one "
            "of them may be lost"
        )
    if privacy is not None and privacy < 1:
        raise ParameterError(f"t_p = {privacy}: with less than 1 every single member could read every key")
    return oneshot.Committee.named([(party, roster.public(party)) for party in sorted(named)], privacy)


def one_shot(
    encoding: FixedPoint,
    task: Task,
    committee: oneshot.Committee,
    roster: Roster,
    *,
    adversary: str = oneshot.MALICIOUS,
    corrupt: int | None = None,
    honest_survivors: int = Params.honest_survivors,
    hybrid: bool = False,
) -> RoundSpec:
    """A round that the nodes of a roster accept under the default policy, which counts on the whole roster.

    Args:
        encoding, task, committee, adversary, hybrid: see `RoundSpec.one_shot`.
        roster: whoever is asked, the least number of survivors follows from the size of the roster.
        corrupt: c, corrupt nodes of the roster to withstand; None: what the default policy asks for.
        honest_survivors: least number of honest nodes in a sum.

    Raises:
        ParameterError: the round does not add up; more survivors are needed than the encoding has clients.
    """
    n = len(roster)
    if corrupt is None:
        corrupt = Policy().corrupt_for(adversary, n)
    if corrupt < 0:
        raise ParameterError(f"c = {corrupt} corrupt nodes; 0 or more can be withstood")
    # Nodes count on the larger of their own c and the fraction of members' faults that the round provides for.
    corrupt = max(corrupt, oneshot.Params.gamma_ppm * n // _PPM)
    least = oneshot.least_survivors(n, corrupt, honest_survivors)
    if least > encoding.clients:
        raise ParameterError(
            f"up to {encoding.clients} clients in a round, but of a roster of {n} with {corrupt} corrupt nodes at "
            f"least {least} must be in a sum: ask more nodes, or withstand fewer corrupt ones"
        )
    return RoundSpec.one_shot(
        encoding, committee, task, corrupt=corrupt, adversary=adversary, survivors_min=least, hybrid=hybrid
    )

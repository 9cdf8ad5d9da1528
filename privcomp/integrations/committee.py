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

__all__ = ["beacon_of", "committee_of", "drawn_committee", "one_shot"]

#: With fewer, no member may be lost, or any two of them read every key.
LEAST_MEMBERS: Final = 4
#: Nodes that may be away when a drawn committee is needed, unless somebody says otherwise.
ABSENT: Final = 0.05
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


def beacon_of(text: str) -> bytes:
    """A beacon as settings have it, in hexadecimal digits.

    Raises:
        ParameterError: not 1..64 bytes in hexadecimal digits.
    """
    try:
        beacon = bytes.fromhex(text)
    except ValueError:
        beacon = b""
    if not 1 <= len(beacon) <= 64:
        raise ParameterError(f"the beacon {text!r}: 1 to 64 bytes are needed, in hexadecimal digits")
    return beacon


def drawn_committee(
    roster: Roster,
    beacon: bytes,
    *,
    absent: float = ABSENT,
    corrupt: int | None = None,
    adversary: str = oneshot.MALICIOUS,
) -> oneshot.Committee:
    """The committee that every node draws itself from roster and beacon, as small as it may be for this roster.

    Args:
        roster: whom it is drawn from.
        beacon: 1..64 bytes that nobody could choose, the same in every node's policy; one per roster.
        absent: fraction of the nodes that may be away when they are needed, 0 .. 0.5; the smaller, the smaller it is.
        corrupt, adversary: as for `one_shot`.

    Raises:
        ParameterError: no committee of this roster withstands so many corrupt and absent nodes.
    """
    n = len(roster)
    if not 0 <= absent <= 0.5:
        raise ParameterError(f"absent is {absent}; a fraction of 0 to 0.5 is needed")
    if not 1 <= len(beacon) <= 64:
        raise ParameterError(f"a beacon of {len(beacon)} bytes; 1 to 64 are needed")
    # The least gamma of which the roster has so many: what the nodes hold condition (S) against.
    gamma = -(-min(_withstood(n, corrupt, adversary), n) * _PPM // n)
    size = oneshot.size_committee(n, gamma, round(absent * _PPM), malicious=adversary == oneshot.MALICIOUS)
    return oneshot.Committee.sampled(roster, beacon, size.members, size.privacy, size.packing)


def _withstood(nodes: int, corrupt: int | None, adversary: str) -> int:
    """Corrupt nodes of a roster that nodes under the default policy count with: the larger of their own c and the
    fraction of members' faults that a round provides for.

    Raises:
        ParameterError: fewer than none.
    """
    if corrupt is None:
        corrupt = Policy().corrupt_for(adversary, nodes)
    if corrupt < 0:
        raise ParameterError(f"c = {corrupt} corrupt nodes; 0 or more can be withstood")
    return max(corrupt, oneshot.Params.gamma_ppm * nodes // _PPM)


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
    corrupt = _withstood(n, corrupt, adversary)
    least = oneshot.least_survivors(n, corrupt, honest_survivors)
    if least > encoding.clients:
        raise ParameterError(
            f"up to {encoding.clients} clients in a round, but of a roster of {n} with {corrupt} corrupt nodes at "
            f"least {least} must be in a sum: ask more nodes, or withstand fewer corrupt ones"
        )
    return RoundSpec.one_shot(
        encoding, committee, task, corrupt=corrupt, adversary=adversary, survivors_min=least, hybrid=hybrid
    )

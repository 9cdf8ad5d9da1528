"""A deterministic network in one process: the same seed gives the same trace, byte for byte.

Rounds run in virtual time, without threads and clocks, over byte messages only. Messages are lost, late, doubled,
damaged and replayed, clients crash and come back from their journals (`Session`), or the server lies (`LyingServer`).
An oracle computes what the server can.

Tolerance: a round with an honest server and honest clients must complete if, counting every client whose messages
were lost, late or damaged as lost from that stage on, |U| >= t + 1, |U| - c >= the policy's minimum, every client
whose mask is in a counted input has t neighbours that answer, and in malicious mode q signatures come. On a sparse
graph, the survivors must leave no gap in the ring either.
"""

from privcomp.simulation.adversary import STRATEGIES, Cast, LyingServer, Round, run_lying
from privcomp.simulation.campaign import campaign
from privcomp.simulation.coins import Coins
from privcomp.simulation.faults import Faults
from privcomp.simulation.network import Network, Packet
from privcomp.simulation.oracle import Oracle
from privcomp.simulation.parties import HonestServer, Inline, Machine, Node
from privcomp.simulation.scenario import Report, Session, Setting, run_session
from privcomp.simulation.trace import Event, Trace

__all__ = [
    "STRATEGIES",
    "Cast",
    "Coins",
    "Event",
    "Faults",
    "HonestServer",
    "Inline",
    "LyingServer",
    "Machine",
    "Network",
    "Node",
    "Oracle",
    "Packet",
    "Report",
    "Round",
    "Session",
    "Setting",
    "Trace",
    "campaign",
    "run_lying",
    "run_session",
]

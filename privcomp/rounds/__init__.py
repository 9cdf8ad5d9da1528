"""One federated round: an encoding, one way to aggregate, and the record that it leaves in the ledger."""

from privcomp.rounds.audit import audit
from privcomp.rounds.budget import NodeBudget
from privcomp.rounds.client import LocalUpdate, RoundClient
from privcomp.rounds.server import RoundResult, RoundServer
from privcomp.rounds.spec import RoundSpec
from privcomp.rounds.task import Task

__all__ = ["LocalUpdate", "NodeBudget", "RoundClient", "RoundResult", "RoundServer", "RoundSpec", "Task", "audit"]

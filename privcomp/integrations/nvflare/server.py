"""The server's side of both APIs: what it proposes, and one call per round that never leaves the ledger behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from privcomp.encoding import Way
from privcomp.errors import LocalError, ParameterError, RemoteError
from privcomp.integrations.committee import ABSENT, beacon_of, committee_of, drawn_committee, one_shot
from privcomp.integrations.driver import Deadlines, Rounds
from privcomp.integrations.home import ServerHome
from privcomp.integrations.nvflare.site import SIMULATED, Arrays, home_folder
from privcomp.keys import Roster
from privcomp.oneshot import ONESHOT
from privcomp.policy import Policy
from privcomp.rounds import RoundResult, RoundSpec, Task

__all__ = ["Outcome", "Proposal", "SecureServer", "load_executor"]

_log = logging.getLogger("privcomp.nvflare")

#: call(stage, site -> message, seconds): sends, yields (site, answers) as they come; see `driver.Exchange`.
Call = Callable[[str, Mapping[str, bytes], float], Iterable[tuple[str, Sequence[bytes]]]]


@dataclass(frozen=True)
class Proposal:
    """What the server asks for; every site's own policy decides whether it takes part.

    Args:
        clip: largest absolute change of an entry that is not clipped.
        max_weight: largest number of examples of a site.
        metrics: name -> (lo, hi): summed inside the vector; others never leave the site.
        kept: arrays that stay as the server sent them (integer counters), with wildcards.
        bits, way, max_error: see `privcomp.encoding.FixedPoint`.
        protocol: "bonawitz", "secaggplus" or "oneshot".
        adversary: see `privcomp.secagg.Params`.
        committee: one-shot rounds: the sites that hold the shares of all keys.
        privacy: how many of them may be corrupt; None: a third.
        beacon: in place of `committee`: hexadecimal digits with which the committee is drawn from the roster; every
            site's policy names it.
        absent: fraction of sites that may be away when a drawn committee is needed.
        corrupt: corrupt sites to withstand; None: as the default policy has it for the roster.
        options: further fields of `privcomp.secagg.Params` (threshold, cipher, hybrid, ...), or further arguments of
            `privcomp.integrations.committee.one_shot`.
        deadlines: stage -> seconds, over the defaults of `Deadlines`.

    Raises:
        ParameterError: a stage that does not exist; one-shot rounds without a committee, or one without them.
    """

    clip: float
    max_weight: int
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    kept: Sequence[str] = ()
    bits: int = 16
    way: Way = "exact"
    max_error: float | None = None
    protocol: str = "bonawitz"
    adversary: str = "malicious"
    committee: Sequence[str] = ()
    privacy: int | None = None
    beacon: str = ""
    absent: float = ABSENT
    corrupt: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = self.deadlines.keys() - Deadlines.__dataclass_fields__.keys()
        if unknown:
            raise ParameterError(
                f"deadlines: no stage {', '.join(sorted(unknown))}; there are "
                f"{', '.join(Deadlines.__dataclass_fields__)}"
            )

        if self.committee and self.beacon:
            raise ParameterError("a committee is named, or drawn with a beacon: give one of the two")
        if (self.protocol == ONESHOT) != bool(self.committee or self.beacon):
            raise ParameterError("a committee (or a beacon) and protocol='oneshot' go together: give both, or neither")
        if self.beacon:
            beacon_of(self.beacon)
        if self.privacy is not None and not self.committee:
            raise ParameterError("privacy is about a committee: give one")

    def spec(
        self,
        kind: str,
        arrays: Arrays,
        clients: int,
        roster: Roster,
        told: bytes = b"",
        party: Callable[[str], bytes] = str.encode,
    ) -> RoundSpec:
        """The declaration of a round of `clients` sites, out of a roster, on these arrays.

        Args:
            kind, told: as for `SecureServer.round`.
            arrays: the model.
            clients: most sites of this round.
            roster: of all sites.
            party: name of a site -> its id in the roster.

        Raises:
            LocalError: arrays that cannot be averaged, parameters that do not add up.
        """
        metrics = tuple((name, float(low), float(high)) for name, (low, high) in self.metrics.items())
        task = Task(kind, metrics, tuple(self.kept), told)
        corrupt = self.corrupt if self.corrupt is not None else Policy().corrupt_for(self.adversary, len(roster))
        encoding = task.encoding(
            arrays,
            # How many must be in a one-shot sum follows from the roster, whoever is asked.
            clients=len(roster) if self.protocol == ONESHOT else clients,
            clip=self.clip,
            max_weight=self.max_weight,
            bits=self.bits,
            way=self.way,
            max_error=self.max_error,
        )
        if self.protocol == ONESHOT:
            options: dict[str, Any] = {"adversary": self.adversary, "corrupt": corrupt, **self.options}
            if self.committee:
                members = committee_of(roster, map(party, self.committee), self.privacy)
            else:
                members = drawn_committee(
                    roster, beacon_of(self.beacon), absent=self.absent, corrupt=corrupt, adversary=self.adversary
                )
            return one_shot(encoding, task, members, roster, **options)
        return RoundSpec.secure_sum(
            encoding, task, protocol=self.protocol, adversary=self.adversary, corrupt=corrupt, **self.options
        )


@dataclass(frozen=True)
class Outcome:
    """What one round gave.

    Attributes:
        arrays: the next model; the old one if the round was aborted.
        metrics: weighted means; empty if it was aborted.
        result: sum, survivors and ledger header, or None.
        error: why it was aborted, or None.
        seconds: wall time.
        sent, received: site -> bytes of the protocol to and from it.
    """

    arrays: dict[str, NDArray[Any]]
    metrics: dict[str, float]
    result: RoundResult | None
    error: str | None
    seconds: float
    sent: Mapping[str, int]
    received: Mapping[str, int]


class SecureServer:
    """The rounds of a server over NVFlare: an open home, a proposal, and `round`.

    Args:
        proposal: what is asked for.
        simulation: folder of `simulation_homes`; None: the home is what PRIVCOMP_HOME names.
        executor: runs the unmasking; default: threads.

    Raises:
        LocalError: no home, or one without roster.
    """

    def __init__(self, proposal: Proposal, *, simulation: str | None = None, executor: Executor | None = None) -> None:
        self.proposal = proposal
        self.simulated = simulation is not None
        self.home = ServerHome.open(home_folder("server", simulation))
        if self.home.roster is None:
            self.home.close()
            raise LocalError(f"{self.home.folder} has no roster: run `privcomp keys roster`")
        self.roster = self.home.roster
        if self.simulated:
            _log.warning("this session is a simulation: all keys lie in %s", simulation)
        self.rounds = Rounds(
            self.home.ledger,
            self.home.session,
            self.roster,
            deadlines=Deadlines(**proposal.deadlines),
            executor=executor,
            folder=self.home.folder,
            redeliver=True,  # in NVFlare's simulator sites take turns in a process, and forget
        )

    def close(self) -> None:
        """Release the ledger."""
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def party(self, site: str) -> bytes:
        """The roster's id of a site: its name, marked if it is simulated."""
        return ((SIMULATED if self.simulated else "") + site).encode()

    def _name(self, party: bytes) -> str:
        return party.decode()[len(SIMULATED) if self.simulated else 0 :]

    def round(self, kind: str, arrays: Arrays, sites: Iterable[str], call: Call, told: bytes = b"") -> Outcome:
        """One round; a round that aborts leaves the model as it is, and the run goes on.

        Args:
            kind: "update" or "metrics".
            arrays: the model.
            sites: names as NVFlare authenticates them; those that the roster does not name are not asked.
            call: carries the messages.
            told: digest of what the sites are told beside the arrays; the same for all.

        Raises:
            LocalError: the arrays cannot be averaged, or the proposal does not add up: no round will do better.
        """
        names = list(sites)
        strangers = sorted(name for name in names if self.party(name) not in self.roster)
        if strangers:
            _log.warning("not in the roster, not asked: %s", ", ".join(strangers))
        asked = [self.party(name) for name in names if name not in strangers]
        spec = self.proposal.spec(kind, arrays, max(3, len(asked)), self.roster, told, self.party)
        task = spec.task
        if task is None:
            raise LocalError("a round over named arrays needs a task")
        sent: dict[str, int] = {}
        received: dict[str, int] = {}

        def exchange(
            stage: str, messages: Mapping[bytes, bytes], seconds: float
        ) -> Iterator[tuple[bytes, Sequence[bytes]]]:
            by_name = {self._name(party): message for party, message in messages.items()}
            for name, message in by_name.items():
                sent[name] = sent.get(name, 0) + len(message)
            for name, answers in call(stage, by_name, seconds):
                received[name] = received.get(name, 0) + sum(map(len, answers))
                yield self.party(name), answers

        start = time.perf_counter()
        model, stalled = task.request(arrays), self.rounds.stalled
        if stalled is not None and stalled.spec.task is not None:
            announce = stalled.announce
            if (announce.model_hash, announce.purpose) == (sha256(model).digest(), task.purpose):
                # It is finished now, and by its own declaration: the proposal may have changed since.
                spec, task = stalled.spec, stalled.spec.task
        try:
            result = self.rounds.run(spec, task.purpose, model, asked, exchange)
        except RemoteError as error:
            _log.error("round %d has no result, the model stays as it is: %s", self.rounds.number, error)
            old = {name: np.array(array) for name, array in arrays.items()}
            return Outcome(old, {}, None, str(error), time.perf_counter() - start, sent, received)
        new, metrics = task.result(arrays, result.decoded, spec.encoding)
        return Outcome(new, metrics, result, None, time.perf_counter() - start, sent, received)


def load_executor(name: str | None) -> Executor | None:
    """The executor that "package.module:function" makes, called without arguments: what a job's configuration can say.

    Raises:
        LocalError: it is not there, or returns something else.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        executor = getattr(import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise LocalError(f"executor {name!r} cannot be made: {error}; give it as package.module:function") from None
    if not isinstance(executor, Executor):
        raise LocalError(f"executor {name!r} made a {type(executor).__name__}, not a concurrent.futures.Executor")
    return executor

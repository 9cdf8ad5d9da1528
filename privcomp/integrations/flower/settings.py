"""The `privcomp-...` keys of Flower's run config: what the server proposes. Every node's own policy bounds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from privcomp._core import AES128_CTR, CHACHA20
from privcomp.dp import DistributedPlan, plan_distributed
from privcomp.errors import ParameterError
from privcomp.integrations.committee import ABSENT, beacon_of, committee_of, drawn_committee, one_shot
from privcomp.integrations.driver import Deadlines
from privcomp.keys import Roster
from privcomp.oneshot import ONESHOT, Committee
from privcomp.policy import Policy
from privcomp.rounds import RoundSpec, Task
from privcomp.rounds.task import Encoding

__all__ = ["PREFIX", "Settings", "config_bytes"]

PREFIX: Final = "privcomp-"
_CIPHERS: Final = {"aes128": AES128_CTR, "chacha20": CHACHA20}
_PPM: Final = 1_000_000

Metrics = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Settings:
    """One run's proposal. In Flower's run config the names have dashes and the prefix: `privcomp-max-examples`.

    Args:
        clip: largest absolute change of a parameter in one round that is not clipped.
        max_examples: largest number of examples of a node.
        dp_epsilon: what all training rounds together may tell about one node, at dp_delta; None: no noise. With it,
            clip and train_metrics are refused (below), and every node counts once.
        dp_delta, dp_clip_norm, dp_rounds, dp_bits, dp_mechanism, dp_adjacency: as `delta`, `clip`, `rounds`, `bits`,
            `mechanism`, `adjacency` of `privcomp.dp.plan_distributed`; dp_clip_norm is an L2 norm of a node's update.
        dp_min_survivors: least number of nodes in a sum; None: corrupt + honest_survivors. The more, the less noise.
        dp_colluders: nodes whose noise the server may know; None: corrupt.
        home: the server's folder (`privcomp keys server`), unless PRIVCOMP_SERVER_HOME names it at the SuperLink.
        sim_home: folder of a simulation's homes (`privcomp keys simulation`); used in a simulation only.
        protocol: "bonawitz", "secaggplus" or "oneshot".
        adversary, threshold, honest_survivors, hybrid: as for `secagg.Params`.
        committee: ids of the nodes that hold the shares of all keys in one-shot rounds; in the run config with commas.
        committee_privacy: how many of them may be corrupt; None: a third.
        beacon: in place of `committee`: hexadecimal digits with which the committee is drawn from the roster; every
            node's policy names it.
        absent: fraction of nodes that may be away when a drawn committee is needed.
        corrupt: nodes that may be corrupt, out of the whole roster; None: what a node's default policy demands.
        clients: most nodes of a round; None: the whole roster.
        cipher: "aes128" or "chacha20"; masks only, like threshold, gamma and delta.
        gamma, delta: fractions of corrupt and of vanishing nodes that a sparse graph is made for.
        bits: bits of an encoded entry.
        train_metrics, evaluate_metrics: (name, lo, hi) each, summed inside the masked vector; in the run config
            "NAME LO HI, NAME LO HI".
        kept: arrays that stay as the server sent them, with wildcards; in the run config separated by spaces.
        deadline, mask_deadline: seconds that a node has for a stage, and for the one that trains or evaluates.
        unmask_deadline: seconds of the last stage, then the round stalls until nodes return; None: as `deadline`.

    Raises:
        ParameterError: an unknown key, a wrong type, or a value that makes no sense.
    """

    clip: float = 1.0
    max_examples: int = 1
    dp_epsilon: float | None = None
    dp_delta: float = 1e-5
    dp_clip_norm: float | None = None
    dp_rounds: int | None = None
    dp_min_survivors: int | None = None
    dp_colluders: int | None = None
    dp_bits: int = 20
    dp_mechanism: str = "skellam"
    dp_adjacency: str = "zero_out"
    home: str = ""
    sim_home: str = ""
    protocol: str = "bonawitz"
    committee: tuple[str, ...] = ()
    committee_privacy: int | None = None
    beacon: str = ""
    absent: float = ABSENT
    adversary: str = "malicious"
    corrupt: int | None = None
    threshold: int = 0
    honest_survivors: int = 3
    hybrid: bool = False
    clients: int | None = None
    cipher: str = "aes128"
    gamma: float = 0.05
    delta: float = 0.05
    bits: int = 16
    train_metrics: Metrics = ()
    evaluate_metrics: Metrics = ()
    kept: tuple[str, ...] = ()
    deadline: float = 60.0
    mask_deadline: float = 600.0
    unmask_deadline: float | None = None

    @classmethod
    def of(cls, run_config: Mapping[str, Any]) -> Settings:
        """Read a run config; keys without the prefix belong to the app."""
        values: dict[str, Any] = {}
        for key, value in run_config.items():
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX).replace("-", "_")
            if name not in cls.__dataclass_fields__:
                known = ", ".join(map(_key, cls.__dataclass_fields__))
                raise ParameterError(f"run config: unknown key {key!r}; known: {known}")
            values[name] = _value(key, name, value)
        _check_together(values)
        if values.get("cipher", "aes128") not in _CIPHERS:
            raise ParameterError(f"run config: {PREFIX}cipher is one of {', '.join(_CIPHERS)}")
        return cls(**values)

    @property
    def deadlines(self) -> Deadlines:
        """Seconds per stage."""
        return Deadlines.of(self.deadline, training=self.mask_deadline, last=self.unmask_deadline)

    def task(self, kind: str, binding: bytes) -> Task:
        """What one round asks; `kind` as for `Task`."""
        metrics = self.train_metrics if kind == "update" else self.evaluate_metrics
        return Task(kind, metrics, self.kept if kind == "update" else (), binding)

    def plan(self, entries: int, roster_size: int) -> DistributedPlan | None:
        """The plan of the training rounds: made once per run, and announced in every one of them.

        Args:
            entries: of one node's update.
            roster_size: members of the roster.

        Raises:
            ParameterError: the privacy that is asked for cannot be had with these bits, nodes and rounds.
        """
        if self.dp_epsilon is None or self.dp_clip_norm is None or self.dp_rounds is None:
            return None
        corrupt, least = self._corrupt(roster_size), self.dp_min_survivors
        return plan_distributed(
            clip=self.dp_clip_norm,
            dim=entries,
            clients=self._clients(roster_size),
            min_survivors=corrupt + self.honest_survivors if least is None else least,
            colluders=corrupt if self.dp_colluders is None else self.dp_colluders,
            bits=self.dp_bits,
            target=(self.dp_epsilon, self.dp_delta),
            rounds=self.dp_rounds,
            sampling="none",
            adjacency=self.dp_adjacency,
            mechanism=self.dp_mechanism,
        )

    def _clients(self, roster_size: int) -> int:
        return self.clients if self.clients is not None else roster_size

    def _corrupt(self, roster_size: int) -> int:
        return self.corrupt if self.corrupt is not None else Policy().corrupt_for(self.adversary, roster_size)

    def committee_of(self, roster: Roster) -> Committee | None:
        """The committee of one-shot rounds; None: masks.

        Raises:
            ParameterError: nodes that the roster does not have, or too few.
        """
        if self.protocol != ONESHOT:
            return None
        if self.beacon:
            return drawn_committee(
                roster,
                beacon_of(self.beacon),
                absent=self.absent,
                corrupt=self._corrupt(len(roster)),
                adversary=self.adversary,
            )
        return committee_of(roster, [name.encode() for name in self.committee], self.committee_privacy)

    def spec(
        self, task: Task, arrays: Mapping[str, Any], roster: Roster, plan: DistributedPlan | None = None
    ) -> RoundSpec:
        """The declaration of one round.

        Args:
            task: from `task`.
            arrays: the model.
            roster: of all nodes.
            plan: of a training round with noise, from `plan`.

        Raises:
            ParameterError, EncodingError: it does not add up, or the model has arrays that cannot be summed.
        """
        corrupt, honest = self._corrupt(len(roster)), self.honest_survivors
        encoding: Encoding
        if plan is not None:
            # What the clients hold the server to: sums of no fewer nodes than the plan's noise counts on.
            encoding, honest = plan, max(honest, plan.min_survivors - corrupt)
        else:
            clients = self._clients(len(roster))
            fixed = task.encoding(arrays, clients=clients, clip=self.clip, max_weight=self.max_examples, bits=self.bits)
            committee = self.committee_of(roster)
            if committee is not None:
                return one_shot(
                    fixed,
                    task,
                    committee,
                    roster,
                    adversary=self.adversary,
                    corrupt=corrupt,
                    honest_survivors=honest,
                    hybrid=self.hybrid,
                )
            encoding = fixed
        return RoundSpec.secure_sum(
            encoding,
            task,
            protocol=self.protocol,
            adversary=self.adversary,
            corrupt=corrupt,
            threshold=self.threshold,
            honest_survivors=honest,
            hybrid=self.hybrid,
            cipher=_CIPHERS[self.cipher],
            gamma_ppm=round(self.gamma * _PPM),
            delta_ppm=round(self.delta * _PPM),
        )


_TYPES: Final[Mapping[str, type[Any]]] = {
    "clip": float,
    "gamma": float,
    "delta": float,
    "deadline": float,
    "mask_deadline": float,
    "unmask_deadline": float,
    "dp_epsilon": float,
    "dp_delta": float,
    "dp_clip_norm": float,
    "dp_rounds": int,
    "dp_min_survivors": int,
    "dp_colluders": int,
    "dp_bits": int,
    "max_examples": int,
    "corrupt": int,
    "committee_privacy": int,
    "absent": float,
    "threshold": int,
    "honest_survivors": int,
    "clients": int,
    "bits": int,
    "hybrid": bool,
}


def _check_together(values: Mapping[str, Any]) -> None:
    """What a run config must name, and what has no meaning beside the rest of it.

    Raises:
        ParameterError: a key is missing, or must not be there.
    """
    private = "dp_epsilon" in values
    if values.get("protocol") == ONESHOT:
        if bool(values.get("committee")) == bool(values.get("beacon")):
            raise ParameterError(
                f"run config: {_key('committee')} must be given with {_key('protocol')} = {ONESHOT!r}, or "
                f"{_key('beacon')}: one of the two"
            )
        for name, other in (("committee_privacy", "committee"), ("absent", "beacon")):
            if name in values and not values.get(other):
                raise ParameterError(f"run config: {_key(name)} goes with {_key(other)}")
        unused = [_key(name) for name in ("dp_epsilon", "threshold", "cipher", "gamma", "delta") if name in values]
        if unused:
            raise ParameterError(f"run config: {', '.join(unused)} in one-shot rounds: these are for masks only")
    elif not values.keys().isdisjoint(("committee", "committee_privacy", "beacon", "absent")):
        raise ParameterError(f"run config: a committee is for {_key('protocol')} = {ONESHOT!r}")
    needed = ["dp_clip_norm", "dp_rounds"] if private else ["clip", "max_examples"]
    if private and values.get("evaluate_metrics"):
        needed.append("max_examples")
    missing = [_key(name) for name in needed if name not in values]
    if missing:
        raise ParameterError(
            f"run config: {' and '.join(missing)} must be given: the range of a sum has to be public; see "
            "docs/flower.md for how to choose it"
        )
    if not private:
        unused = [_key(name) for name in values if name.startswith("dp_")]
        if unused:
            raise ParameterError(
                f"run config: {', '.join(unused)} without {_key('dp_epsilon')}: nothing would be private"
            )
        return
    if "clip" in values:
        raise ParameterError(
            f"run config: {_key('clip')} bounds single entries; with {_key('dp_epsilon')} the norm of an update is "
            f"bounded, by {_key('dp_clip_norm')}. Leave {_key('clip')} out"
        )
    if values.get("train_metrics"):
        raise ParameterError(
            f"run config: {_key('train_metrics')} beside {_key('dp_epsilon')}: a metric that is summed without noise "
            "tells what the noise hides. Leave it out; no metric of training leaves a node then"
        )


def _key(name: str) -> str:
    return PREFIX + name.replace("_", "-")


def _value(key: str, name: str, value: Any) -> Any:
    kind: Any = _TYPES.get(name, str)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:  # and not isinstance: True is no number here
        raise ParameterError(f"run config: {key} must be a {kind.__name__}, not {value!r}")
    if name.endswith("deadline") and not 0 < value < float("inf"):
        raise ParameterError(f"run config: {key} must be a positive number of seconds, not {value!r}")
    if name.endswith("_metrics"):
        return _metrics(key, value)
    if name == "committee":
        return tuple(filter(None, (part.strip() for part in value.split(","))))
    return tuple(value.split()) if name == "kept" else value


def _metrics(key: str, text: str) -> Metrics:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            name, low, high = part.rsplit(maxsplit=2)
            found.append((name, float(low), float(high)))
        except ValueError:
            raise ParameterError(
                f'run config: {key}: {part!r} is not "NAME LO HI", such as "loss 0 10"; separate them with commas'
            ) from None
    return tuple(found)


def config_bytes(run_config: Mapping[str, Any]) -> bytes:
    """Canonical bytes of a run config; the server's and every node's must be the same."""
    return json.dumps(dict(run_config), sort_keys=True, separators=(",", ":")).encode()

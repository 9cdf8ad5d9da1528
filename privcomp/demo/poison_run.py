"""The demo with servers and poisoners: training through rules on shares, each beside the same rule in the clear.

1. **Statistics.** Every hospital shares means, mean squares and class shares; the servers open the mean of the n - f
   hospitals that multi-Krum takes. Poisoners lie here, too. All runs below standardise by what came of it.
2. **Training.** Every hospital shares its update; the servers run the rule and open the aggregate; the model follows
   it. All updates weigh the same: a rule that is to stand liars cannot let them say how much they count.

The servers have some public rows of their own, as many as `ROOT_SITES` hospitals: their update is the reference of
FLTrust, and twice its norm is the limit of the rules on norms.

For every rule the same training runs on plain updates, with and without poison; for the rules asked for it runs on
shares. Every opened aggregate is compared with the plain rule on the same encoded updates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from privcomp.demo import moments
from privcomp.demo.data import Federation, Site, federate, uniform
from privcomp.demo.metrics import Scores, score
from privcomp.demo.model import Standardiser, class_weights, descend, initial, layout, predict
from privcomp.demo.poison import STRENGTH, attack_of, plain_rule, poisoners, quantise
from privcomp.demo.poison_report import Cost, PoisonReport, RuleReport, RunReport
from privcomp.demo.servers import PROTOCOLS, Opened, Servers
from privcomp.demo.train import DemoOptions, Progress, load_table
from privcomp.encoding import model_bytes
from privcomp.errors import ParameterError, RoundAborted
from privcomp.mpc.robust import (
    RULES,
    FLTrust,
    Krum,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    NormFilter,
    Release,
    Rule,
    TrimmedMean,
)
from privcomp.typing import F64Array, I64Array

__all__ = ["ROOT_SITES", "PoisonOptions", "Study"]

ROOT_SITES: Final = 3
"""The servers' own rows are as many as so many hospitals hold."""

_WIDTH: Final = 20
_RANGE_LOG: Final = 3  # an update's entries are encoded up to +-2^3
_STATISTICS_LOG: Final = 1
_LEAST: Final = 3
_LIMIT: Final = 2.0  # of a norm, times that of the servers' own update

LEAKING: Final = ("krum", "median")
"""Rules that open what one client sent: they run on shares only where this leak is named."""

_FLOAT: Final = 1e-6  # what float64 adds to a stated error, in units of the encoding

Scenario = Literal["clean", "poisoned"]
SCENARIOS: Final[tuple[Scenario, Scenario]] = ("clean", "poisoned")


@dataclass(frozen=True)
class PoisonOptions:
    """What to run, beside `DemoOptions`.

    Args:
        servers: 3 or 4.
        rules: those that run on shares.
        poison: f, how many hospitals poison, and how many the rules are to stand; at least 1.
        attack: one of `ATTACKS`.
        dropout: fraction of the hospitals that is lost in every round before it sends anything. Poisoners never are.
        leaks: None, or "one update": the user wants rules that open what may be one hospital's update.

    Raises:
        ParameterError: no poisoner, or a dropout outside 0..0.9.
    """

    servers: int = 3
    rules: tuple[str, ...] = ("multi_krum",)
    poison: int = 5
    attack: str = "mixed"
    dropout: float = 0.1
    leaks: str | None = None

    def __post_init__(self) -> None:
        if type(self.poison) is not int or not 1 <= self.poison <= 1 << 15:
            raise ParameterError(f"--poison {self.poison}: 1 or more poisoners are needed to show anything")
        if not 0 <= self.dropout <= 0.9:
            raise ParameterError(f"--dropout {self.dropout}: a fraction in 0..0.9 is needed")


def width_for(clients: int, poisoned: int, entries: int, most: int) -> int:
    """The most bits of an entry, up to `most`, with which a Krum score stays below 2^63; other bounds are looser."""
    room = 63 - (max(clients - poisoned - 2, 1) * entries).bit_length()
    return max(2, min(most, room // 2))


@dataclass(frozen=True, eq=False)
class _Setting:
    """One scenario after its round of statistics."""

    scenario: Scenario
    poisoners: tuple[int, ...]
    standardise: Standardiser
    weights: F64Array


@dataclass
class _State:
    """One training: its model and what is told of it."""

    model: Mapping[str, F64Array]
    curve: list[float]
    scores: Scores | None = None
    refused: int = 0
    difference: float = 0.0
    excess: float = 0.0
    disagreements: int = 0


def _report(state: _State) -> RunReport:
    scores = state.scores
    if scores is None:
        raise ParameterError("0 rounds of training; at least 1 is needed")
    return RunReport(
        scores.accuracy, scores.precision, scores.recall, scores.malignant_recall, state.refused, tuple(state.curve)
    )


class Study:
    """Everything that is fixed before the first round; `run` does the work.

    Args:
        options: data, hospitals, rounds, seed.
        poison: servers, rules, poisoners.

    Raises:
        ParameterError: unreadable or unusable data, too few rows, a table without public ranges; a rule of
            `poison.rules` that is unknown, cannot run with so many hospitals, or opens what may be one hospital's
            update without that being asked for.
        LocalError: scikit-learn is not installed.
    """

    def __init__(self, options: DemoOptions, poison: PoisonOptions) -> None:
        self.options, self.poison = options, poison
        table = load_table(options)
        if table.ranges is None:
            raise ParameterError(
                "with --servers the scales of the features must be public: name a file of ranges (--ranges)"
            )
        if poison.servers not in PROTOCOLS:
            raise ParameterError(f"--servers {poison.servers}: 3 or 4 are possible")
        self.exponents = moments.exponents_from_ranges(table.ranges)
        self.features, self.classes = len(table.features), len(table.classes)
        self.layout = layout(self.features, self.classes)
        self.lost = math.ceil(poison.dropout * options.clients)
        self.present = options.clients - self.lost
        if self.present < 2 * poison.poison + 3:
            raise ParameterError(
                f"--poison {poison.poison}: of {self.present} hospitals that are there in a round, at most "
                f"{max(0, (self.present - 3) // 2)} may poison (n >= 2f + 3); take more hospitals, or fewer poisoners"
            )
        self.width = width_for(self.present, poison.poison, self.layout.size, _WIDTH)
        self.granularity = math.ldexp(1.0, _RANGE_LOG + 1 - self.width)
        for name in poison.rules:
            if name not in RULES:
                raise ParameterError(f"rule {name!r} is unknown; there are {', '.join(RULES)}")
            self.check(name, opening=True)
        whole = federate(table, options.clients + ROOT_SITES, options.seed, skew=options.skew)
        spare = whole.sites[options.clients :]
        self.root = Site(np.concatenate([site.x for site in spare]), np.concatenate([site.y for site in spare]))
        self.federation = Federation(table, whole.sites[: options.clients], whole.test_x, whole.test_y)
        self.costs: dict[str, list[Opened]] = {}
        self.statistics_difference = 0.0
        self._progress: Callable[[Progress], None] | None = None

    # ---- what the hospitals send ----

    def survivors(self, bad: Sequence[int], number: int) -> list[int]:
        """Who is there in a round, the same in both scenarios; those who may be poisoners always are."""
        order = np.argsort(uniform(self.options.clients, "losses", self.options.seed, number), kind="stable")
        gone = [int(i) for i in order if int(i) not in bad][: self.lost]
        return [i for i in range(self.options.clients) if i not in gone]

    def _trained(self, site: Site, setting: _Setting, model: Mapping[str, F64Array], *, flip: bool) -> F64Array:
        y = self.classes - 1 - site.y if flip else site.y
        after = descend(model, setting.standardise(site.x), y, setting.weights, self.options.training)
        change: F64Array = self.layout.flatten(after) - self.layout.flatten(model)
        return change

    def update(self, hospital: int, setting: _Setting, model: Mapping[str, F64Array]) -> I64Array:
        """What a hospital shares in a round of training: honest, or one of the attacks."""
        site = self.federation.sites[hospital]
        kind = ""
        if setting.scenario == "poisoned" and hospital in setting.poisoners:
            kind = attack_of(self.poison.attack, setting.poisoners.index(hospital))
        change = self._trained(site, setting, model, flip=kind in ("scaling", "label_flip"))
        factor = {"sign_flip": -STRENGTH, "scaling": STRENGTH}.get(kind, 1.0)
        return quantise(factor * change, self.granularity, self.width)

    def reference(self, setting: _Setting, model: Mapping[str, F64Array]) -> I64Array:
        """The servers' own update."""
        return quantise(self._trained(self.root, setting, model, flip=False), self.granularity, self.width)

    # ---- statistics ----

    def statistics(self, scenario: Scenario, bad: tuple[int, ...]) -> _Setting:
        """Multi-Krum on shares of the statistics, checked against the plain rule."""
        there = self.survivors(bad, 0)
        vectors = {}
        for i in there:
            own = moments.local_statistics(self.federation.sites[i], self.exponents, self.classes)
            vectors[i] = -STRENGTH * own if scenario == "poisoned" and i in bad else own
        width = width_for(len(there), self.poison.poison, 2 * self.features + self.classes, 32)
        granularity = math.ldexp(1.0, _STATISTICS_LOG + 1 - width)
        encoded = {i: quantise(vector, granularity, width) for i, vector in vectors.items()}
        rule, release = MultiKrum(self.poison.poison), self.release("multi_krum")
        began = time.perf_counter()
        request = model_bytes({"exponents": self.exponents})
        servers = Servers(self.options.clients, self.poison.servers)
        opened = servers.aggregate(rule, release, encoded, width, model=request, purpose="statistics")
        self.costs.setdefault("statistics", []).append(opened)
        plain = plain_rule(rule, np.array([encoded[i] for i in there]), width, release)
        if opened.mean is None or plain.mean is None:
            raise RoundAborted(None, "statistics", opened.refusal or "the statistics stayed closed")
        off = granularity * float(np.abs(opened.mean - plain.mean).max())
        self.statistics_difference = max(self.statistics_difference, off)
        if self._progress is not None:
            index = SCENARIOS.index(scenario) + 1
            seconds = time.perf_counter() - began
            self._progress(Progress("statistics", index, 2, len(there), self.options.clients, None, seconds))
        rows = sum(site.rows for site in self.federation.sites)
        standardise, counts = moments.decode_statistics(granularity * opened.mean, self.exponents, granularity, rows)
        return _Setting(scenario, bad, standardise, class_weights(counts))

    # ---- training ----

    def rule(self, name: str, reference: I64Array) -> Rule:
        """A rule with its parameters for this round, which are public."""
        f = self.poison.poison
        limit = max(1, round(_LIMIT * math.sqrt(float(np.square(reference.astype(np.float64)).sum()))))
        make: dict[str, Callable[[], Rule]] = {
            "mean": Mean,
            "norm_clip": lambda: NormClip(limit),
            "norm_filter": lambda: NormFilter(limit),
            "fltrust": lambda: FLTrust(reference),
            "krum": lambda: Krum(f),
            "multi_krum": lambda: MultiKrum(f),
            "trimmed_mean": lambda: TrimmedMean(f),
            "median": Median,
        }
        return make[name]()

    def release(self, name: str) -> Release:
        """Three hospitals or more that do not poison stand behind what is opened; a leak that is named lifts this only
        for rules that do not do without."""
        leaks = self.poison.leaks if name in LEAKING else None
        return Release(least=_LEAST, colluders=self.poison.poison, leaks=leaks)

    def check(self, name: str, *, opening: bool) -> Rule:
        """A rule as it stands before the first round.

        Raises:
            ParameterError: it does not run with so many hospitals and poisoners, or (with `opening`) opens too much.
        """
        rule = self.rule(name, np.ones(self.layout.size, np.int64))
        rule.check(self.present, self.layout.size, self.width)
        if opening:
            if name in LEAKING and self.poison.leaks is None:
                opens = "; ".join(rule.opens(self.present))
                raise ParameterError(
                    f"{name} opens {opens}: it runs on shares only if this leak is named (--leaks one-update)"
                )
            rule.require(self.present, self.layout.size, self.width, self.release(name))
        return rule

    def train(self, name: str, setting: _Setting, *, shares: bool) -> _State:
        """All rounds of one rule in one scenario. On shares each is a study of its own, with its own hospitals: they
        would not share an update of one model twice."""
        servers = Servers(self.options.clients, self.poison.servers, reentries=self.options.rounds) if shares else None
        table, fed = self.federation.table, self.federation
        test = setting.standardise(fed.test_x)
        state = _State(initial(self.features, self.classes), [])
        for number in range(1, self.options.rounds + 1):
            began = time.perf_counter()
            there = self.survivors(setting.poisoners, number)
            encoded = {i: self.update(i, setting, state.model) for i in there}
            rule = self.rule(name, self.reference(setting, state.model))
            release = self.release(name)
            plain = plain_rule(rule, np.array([encoded[i] for i in there]), self.width, release)
            mean = plain.mean
            if servers is not None:
                constants = {"mean": setting.standardise.mean, "scale": setting.standardise.scale}
                model = model_bytes({**state.model, **constants, "class_weights": setting.weights})
                opened = servers.aggregate(rule, release, encoded, self.width, model=model)
                self.costs.setdefault(name, []).append(opened)
                mean = opened.mean
                if (mean is None) != (plain.mean is None):
                    state.disagreements += 1
                elif mean is not None and plain.mean is not None:
                    off = float(np.abs(mean - plain.mean).max())
                    state.difference = max(state.difference, self.granularity * off)
                    state.excess = max(state.excess, off - plain.error)
            if mean is None:
                state.refused += 1
            else:
                moved = self.layout.flatten(state.model) + self.granularity * mean
                state.model = self.layout.unflatten(moved)
            state.scores = score(fed.test_y, predict(state.model, test), self.classes, table.malignant)
            state.curve.append(state.scores.accuracy)
            if shares and self._progress is not None:
                seconds = time.perf_counter() - began
                self._progress(
                    Progress(
                        f"{name}, {setting.scenario}",
                        number,
                        self.options.rounds,
                        len(there),
                        self.options.clients,
                        state.scores.accuracy,
                        seconds,
                    )
                )
        return state

    def cost(self, name: str) -> Cost | None:
        """What a round of a rule on shares took, on average."""
        rounds = self.costs.get(name)
        if not rounds:
            return None
        return Cost(
            uploaded=sum(one.uploaded for one in rounds) / len(rounds),
            sent=sum(one.sent for one in rounds) / len(rounds),
            rounds=sum(one.rounds for one in rounds) / len(rounds),
            seconds=sum(one.seconds for one in rounds) / len(rounds),
        )

    def run(self, progress: Callable[[Progress], None] | None = None) -> PoisonReport:
        """Train with every rule in the clear, and with `poison.rules` on shares; with and without poison.

        Args:
            progress: called after every round on shares.

        Raises:
            RoundAborted: a server or a hospital failed.
        """
        began = time.perf_counter()
        self._progress = progress
        options, poison = self.options, self.poison
        bad = poisoners(options.clients, poison.poison, options.seed)
        settings = {scenario: self.statistics(scenario, bad) for scenario in SCENARIOS}

        rules = []
        for name in RULES:
            try:
                refusal = None
                rule = self.check(name, opening=False)
            except ParameterError as error:
                rules.append(RuleReport(name, (), str(error), {}, {}, 0.0, True, None))
                continue
            plain: dict[str, RunReport] = {
                scenario: _report(self.train(name, settings[scenario], shares=False)) for scenario in SCENARIOS
            }
            shared: dict[str, RunReport] = {}
            difference, within = 0.0, True
            try:
                self.check(name, opening=True)
            except ParameterError as error:
                refusal = str(error)
            if name in poison.rules:
                for scenario in SCENARIOS:
                    state = self.train(name, settings[scenario], shares=True)
                    shared[scenario] = _report(state)
                    difference = max(difference, state.difference)
                    within = within and state.excess <= _FLOAT and state.disagreements == 0
            rules.append(
                RuleReport(
                    name,
                    rule.opens(self.present),
                    refusal,
                    plain,
                    shared,
                    difference,
                    within,
                    self.cost(name),
                )
            )
        report = PoisonReport(
            data=self.federation.table.name,
            clients=options.clients,
            present=self.present,
            poisoners=bad,
            attack=poison.attack,
            strength=STRENGTH,
            servers=poison.servers,
            protocol=PROTOCOLS[poison.servers],
            threshold=self.release("mean").threshold,
            rounds=options.rounds,
            seed=options.seed,
            width=self.width,
            granularity=self.granularity,
            entries=self.layout.size,
            train_rows=sum(site.rows for site in self.federation.sites),
            root_rows=self.root.rows,
            test_rows=int(self.federation.test_y.size),
            rules=tuple(rules),
            chosen=poison.rules,
            statistics=self.cost("statistics"),
            statistics_difference=self.statistics_difference,
            leaking=LEAKING if poison.leaks is not None else (),
            seconds=time.perf_counter() - began,
            figure=None if options.figure is None else str(options.figure),
        )
        if options.figure is not None:
            report.draw(options.figure)
        return report

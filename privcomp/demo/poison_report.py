"""The result of a run with poisoners: which rule stood it, on shares and in the clear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privcomp.demo.report import table, wrap
from privcomp.errors import LocalError

__all__ = ["Cost", "PoisonReport", "RuleReport", "RunReport"]


@dataclass(frozen=True)
class Cost:
    """One round of a rule on shares, on average.

    Attributes:
        uploaded: bytes that one hospital sends to all servers.
        sent: bytes that one server sends to the others.
        rounds: of messages among the servers.
        seconds: all hospitals and servers in one process, one after another.
    """

    uploaded: float
    sent: float
    rounds: float
    seconds: float


@dataclass(frozen=True)
class RunReport:
    """One training.

    Attributes:
        accuracy, precision, recall: on the held-out rows, at the end.
        malignant_recall: of the malignant class, where there is one.
        refused: rounds in which the rule's gate stayed closed, and the model did not move.
        curve: accuracy after every round.
    """

    accuracy: float
    precision: float
    recall: float
    malignant_recall: float | None
    refused: int
    curve: tuple[float, ...]


@dataclass(frozen=True)
class RuleReport:
    """One rule.

    Attributes:
        name: of the rule.
        opens: what the servers learn.
        refusal: why it does not run on shares, or (no plain runs either) not at all; None: it may.
        plain, shared: "clean" and "poisoned" -> the training; empty where it was not run.
        difference: largest |aggregate on shares - plain rule on the same updates|, over all rounds, in units of the
            update.
        within: every round kept the rule's stated error, and opened exactly where the plain rule does.
        cost: of a round on shares.
    """

    name: str
    opens: tuple[str, ...]
    refusal: str | None
    plain: Mapping[str, RunReport]
    shared: Mapping[str, RunReport]
    difference: float
    within: bool
    cost: Cost | None


@dataclass(frozen=True)
class PoisonReport:
    """Everything that a run shows. Scores are on the held-out rows; see `to_json` for the stable names."""

    data: str
    clients: int
    present: int
    poisoners: tuple[int, ...]
    attack: str
    strength: float
    servers: int
    protocol: str
    threshold: int
    rounds: int
    seed: int
    width: int
    granularity: float
    entries: int
    train_rows: int
    root_rows: int
    test_rows: int
    rules: tuple[RuleReport, ...]
    chosen: tuple[str, ...]
    statistics: Cost | None
    statistics_difference: float
    leaking: tuple[str, ...]
    seconds: float
    figure: str | None = None

    def rule(self, name: str) -> RuleReport:
        """One rule's part."""
        return next(rule for rule in self.rules if rule.name == name)

    @property
    def within_bounds(self) -> bool:
        """Every aggregate on shares kept its rule's stated error; that of the statistics is exact."""
        return self.statistics_difference == 0 and all(rule.within for rule in self.rules)

    @property
    def mean_loss(self) -> float:
        """Accuracy that the plain mean loses to the poisoners, 0..1."""
        mean = self.rule("mean").plain
        return mean["clean"].accuracy - mean["poisoned"].accuracy

    def loss(self, name: str) -> float:
        """Accuracy that a rule under poison lacks beside the plain mean without any, on shares where it ran there."""
        rule = self.rule(name)
        return self.rule("mean").plain["clean"].accuracy - (rule.shared or rule.plain)["poisoned"].accuracy

    def to_json(self) -> dict[str, Any]:
        """One object of JSON types; names are stable."""
        out = asdict(self)
        out["rules"] = {rule.name: {k: v for k, v in asdict(rule).items() if k != "name"} for rule in self.rules}
        out["within_bounds"] = self.within_bounds
        out["mean_loss"] = self.mean_loss
        out["loss"] = {name: self.loss(name) for name in self.chosen}
        return out

    def json(self) -> str:
        """`to_json` as one line of text."""
        return json.dumps(self.to_json(), allow_nan=False)

    def text(self, width: int = 100) -> str:
        """The report for a terminal of `width` columns (at least 72, or tables are wider)."""
        head = ["held-out accuracy in %", "plain", "on shares", "plain, poison", "on shares, poison"]
        body = []
        for rule in self.rules:
            body.append([rule.name, *(_cell(run, rule) for run in _four(rule))])
        names = ", ".join(map(str, self.poisoners))
        lines = [
            "",
            f"{self.data}: {self.clients} hospitals with {self.train_rows} rows, {self.present} there in a round; "
            f"{self.test_rows} rows held out",
            f"{len(self.poisoners)} poison ({names}): {self.attack}, strength {self.strength:g}; "
            f"{self.rounds} training rounds, seed {self.seed}",
            f"{self.servers} servers, {self.protocol}: "
            + ("one of them may look, none may lie" if self.servers == 3 else "one of them may do anything"),
            "",
            *table(head, body),
        ]
        lines.append("")
        facts = [("all within bounds", "yes" if self.within_bounds else "NO")]
        for name in self.chosen:
            rule = self.rule(name)
            facts.append((f"{name} opens", "; ".join(rule.opens)))
            stated = "within the stated error" if rule.within else "BEYOND THE STATED ERROR"
            facts.append(
                (
                    f"{name}, shares - plain",
                    f"{rule.difference:.3g} (largest, all rounds), {stated}",
                )
            )
            if rule.cost is not None:
                cost = rule.cost
                facts.append(
                    (
                        f"{name}, a round",
                        f"a hospital sends {cost.uploaded:,.0f} bytes, a server {cost.sent:,.0f} bytes in "
                        f"{cost.rounds:,.0f} rounds; {cost.seconds:.2f} s for all parties, one after another",
                    )
                )
        facts += [
            ("the plain mean loses", f"{100 * self.mean_loss:.1f} points to the poisoners"),
            *(
                (f"{name} loses", f"{100 * self.loss(name):.1f} points beside the clean mean")
                for name in self.chosen
                if name != "mean"
            ),
            ("gate", self._gate()),
        ]
        for rule in self.rules:
            closed = {run.refused for runs in (rule.plain, rule.shared) for run in runs.values() if run.refused}
            if closed:
                facts.append(
                    (
                        f"{rule.name} closed",
                        f"in up to {max(closed)} of {self.rounds} rounds too few hospitals passed; nothing was opened",
                    )
                )
            if rule.refusal is not None:
                facts.append((f"{rule.name} refused", rule.refusal))
        facts += [
            ("encoding", f"{self.width} bits an entry, granularity {self.granularity:.3g}, {self.entries} entries"),
            ("servers' own rows", f"{self.root_rows}, public: the reference of fltrust, the limit of the norm rules"),
            ("seconds", f"{self.seconds:.1f}"),
        ]
        if self.figure is not None:
            facts.append(("figure", self.figure))
        longest = max(len(name) for name, _ in facts)
        for name, value in facts:
            lines += wrap(f"{name:<{longest}}  ", value, width)
        return "\n".join(lines)

    def _gate(self) -> str:
        """When an aggregate is opened."""
        named = " and ".join(name for name in self.chosen if name in self.leaking)
        spared = f"; {named}: lifted, the leak of one update is named" if named else ""
        return f"nothing is opened that fewer than {self.threshold} hospitals stand behind{spared}"

    def draw(self, path: Path) -> None:
        """Write curves and bars as a PNG.

        Raises:
            LocalError: matplotlib is not installed, or the file cannot be written.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ModuleNotFoundError:
            raise LocalError("the picture needs matplotlib: install it with `pip install 'privcomp[demo]'`") from None
        figure = Figure(figsize=(11, 8), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            f"{self.data}: {len(self.poisoners)} of {self.clients} hospitals poison ({self.attack}); "
            f"{self.servers} servers ({self.protocol}) aggregate on shares"
        )
        curves, bars = figure.subplots(2, 1)
        rounds = range(1, self.rounds + 1)
        mean = self.rule("mean").plain
        curves.plot(rounds, [100 * a for a in mean["clean"].curve], color="0.5", label="plain mean, nobody poisons")
        curves.plot(rounds, [100 * a for a in mean["poisoned"].curve], color="C3", label="plain mean, poisoned")
        for i, name in enumerate(self.chosen):
            rule, color = self.rule(name), f"C{(0, 2, 4, 5, 6, 8, 9, 1)[i % 8]}"
            clear, shared = rule.plain["poisoned"].curve, rule.shared["poisoned"].curve
            curves.plot(rounds, [100 * a for a in clear], "--", lw=3, color=color, alpha=0.5)
            curves.plot(rounds, [100 * a for a in shared], "o-", ms=4, color=color, label=f"{name} on shares, poisoned")
        curves.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        curves.set(
            xlabel="round", ylabel="held-out accuracy in %", title="Training (dashed: the same rule in the clear)"
        )
        curves.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")

        shown = [rule for rule in self.rules if rule.plain]
        kinds = ("plain", "on shares", "plain, poison", "on shares, poison")
        colors = ("0.8", "0.5", "C1", "C3")
        for k, (kind, color) in enumerate(zip(kinds, colors, strict=True)):
            at = [i + 0.2 * (k - 1.5) for i, rule in enumerate(shown) if _four(rule)[k] is not None]
            heights = [100 * run.accuracy for rule in shown if (run := _four(rule)[k]) is not None]
            bars.bar(at, heights, 0.2, color=color, label=kind)
        bars.set_xticks(range(len(shown)), [rule.name for rule in shown])
        bars.set(ylim=(0, 120), ylabel="held-out accuracy in %", title="After the last round")
        bars.legend(loc="upper center", ncols=4, fontsize="small")
        try:
            figure.savefig(path, format="png", dpi=120)
        except OSError as reason:
            raise LocalError(f"the picture cannot be written to {path}: {reason}; name another file") from None


def _four(rule: RuleReport) -> tuple[RunReport | None, ...]:
    """The four columns of the table."""
    return tuple(runs.get(scenario) for scenario in ("clean", "poisoned") for runs in (rule.plain, rule.shared))


def _cell(run: RunReport | None, rule: RuleReport) -> str:
    if run is None:
        return "refused" if rule.refusal is not None else "-"
    return f"{100 * run.accuracy:.1f}"

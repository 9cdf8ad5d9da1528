"""The result of a run: a table for people, one JSON object for programs, a picture with the curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privcomp.demo.metrics import Scores
from privcomp.errors import LocalError

__all__ = ["LyingReport", "PoisoningReport", "Report", "RoundReport", "Scenes", "table", "wrap"]


_ATTESTED = (
    "every update is proven to be within its bounds (that of weighted entries of the training rounds is too wide for "
    "these proofs, they carry none), and every hospital sends"
)


@dataclass(frozen=True)
class RoundReport:
    """One secure sum.

    Attributes:
        purpose: "scales", "statistics" or "training".
        survivors: hospitals in the sum, increasing.
        clients: hospitals asked.
        total_weight: sum of the survivors' weights (rows; hospitals in a "scales" round).
        clipped: entries that were clipped, over all survivors.
        integer_difference: largest |secure sum - sum of the same survivors' encoded vectors|.
        difference: largest |decoded mean - float average of the same survivors' same updates|.
        quantisation_bound: stated bound of `difference`.
        bytes_up: bytes that all hospitals sent.
        bytes_down: bytes that all hospitals received.
        seconds: wall-clock seconds.
        stages: stage -> wall-clock seconds.
        record: index of its record in the ledger.
        lost: hospitals that fell silent at some stage; the sum still holds those that had uploaded by then.
    """

    purpose: str
    survivors: tuple[int, ...]
    clients: int
    total_weight: int
    clipped: int
    integer_difference: int
    difference: float
    quantisation_bound: float
    bytes_up: int
    bytes_down: int
    seconds: float
    stages: dict[str, float]
    record: int
    lost: int = 0

    @property
    def within_bound(self) -> bool:
        """The decoded mean is as close to the float average as stated (with clipped entries nothing is stated)."""
        return self.clipped > 0 or self.difference <= self.quantisation_bound


@dataclass(frozen=True)
class PoisoningReport:
    """A hospital that sends a multiple of its update.

    Attributes:
        hospital: who.
        factor: times its update.
        refusal: why the server kept it out; None if it did not.
        survivors, clients: hospitals in the sum, and asked.
        integer_difference: largest |published sum - sum of the survivors' encoded vectors|.
        change: Euclidean norm of the mean update without it.
        poisoned_change: the same, had it been averaged in.
        bytes: what an attestation adds to every upload.
        record: index of the round's record in the ledger.
    """

    hospital: int
    factor: int
    refusal: str | None
    survivors: int
    clients: int
    integer_difference: int
    change: float
    poisoned_change: float
    bytes: int
    record: int

    def __str__(self) -> str:
        done = f"refused: {self.refusal}" if self.refusal is not None else "NOT REFUSED"
        return (
            f"hospital {self.hospital} sent its update times {self.factor:,}; {done}. "
            f"The sum of the other {self.survivors} is exact (difference {self.integer_difference}) and moves the "
            f"model by {self.change:.2g}; with the poison in it, that would have been {self.poisoned_change:.2g}"
        )


@dataclass(frozen=True)
class LyingReport:
    """A server that publishes another sum.

    Attributes:
        clients: hospitals of its federation.
        entry, change: what it added where.
        ledger: its ledger.
        found: what the audit of that ledger found; None if nothing.
    """

    clients: int
    entry: int
    change: int
    ledger: str
    found: str | None

    def __str__(self) -> str:
        found = f"finds it: {self.found}" if self.found is not None else "FINDS NOTHING"
        return (
            f"published the sum of {self.clients} hospitals with {self.change:+d} at entry {self.entry}; the audit of "
            f"{self.ledger} {found}"
        )


@dataclass(frozen=True)
class Scenes:
    """What happened after the training, in rounds of their own where every update carries a proof."""

    poisoning: PoisoningReport
    lying: LyingReport


@dataclass(frozen=True)
class Report:
    """Everything that a run shows. Scores are on the held-out rows; see `to_json` for the stable names."""

    data: str
    clients: int
    rounds: int
    seed: int
    skew: float | None
    protocol: str
    adversary: str
    classes: tuple[str, ...]
    train_rows: int
    test_rows: int
    private: Scores
    plain: Scores
    pooled: Scores
    single_site: Scores
    curve: tuple[float, ...]
    plain_curve: tuple[float, ...]
    pooled_curve: tuple[float, ...]
    round_reports: tuple[RoundReport, ...]
    bytes_per_client: float
    bytes_down_per_client: float
    encoding: str
    seconds: float
    ledger: str | None = None
    figure: str | None = None
    scenes: Scenes | None = None

    @property
    def integer_difference(self) -> int:
        """Largest difference between a secure sum and the integer sum of the same survivors' vectors: 0."""
        return max(r.integer_difference for r in self.round_reports)

    @property
    def max_difference(self) -> float:
        """Largest difference between the private and the plain aggregate, over all training rounds."""
        return max(r.difference for r in self.round_reports if r.purpose == "training")

    @property
    def quantisation_bound(self) -> float:
        """Stated bound of `max_difference`."""
        return max(r.quantisation_bound for r in self.round_reports if r.purpose == "training")

    @property
    def clipped(self) -> int:
        """Entries that were clipped, over all rounds; where it is 0, every round kept its bound."""
        return sum(r.clipped for r in self.round_reports)

    @property
    def within_bounds(self) -> bool:
        """Every round, those of the statistics included, kept its own quantisation bound."""
        return all(r.within_bound for r in self.round_reports)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall-clock seconds per stage, over all rounds."""
        out: dict[str, float] = {}
        for r in self.round_reports:
            for stage, seconds in r.stages.items():
                out[stage] = out.get(stage, 0.0) + seconds
        return out

    def to_json(self) -> dict[str, Any]:
        """One object of JSON types; names are stable."""
        return {
            "accuracy": self.private.accuracy,
            "precision": self.private.precision,
            "recall": self.private.recall,
            "malignant_recall": self.private.malignant_recall,
            "single_site_accuracy": self.single_site.accuracy,
            "pooled_accuracy": self.pooled.accuracy,
            "plain_accuracy": self.plain.accuracy,
            "integer_difference": self.integer_difference,
            "max_difference": self.max_difference,
            "quantisation_bound": self.quantisation_bound,
            "within_bounds": self.within_bounds,
            "clipped": self.clipped,
            "bytes_per_client": self.bytes_per_client,
            "bytes_down_per_client": self.bytes_down_per_client,
            "rounds": self.rounds,
            "clients": self.clients,
            "ledger": self.ledger,
            "figure": self.figure,
            "data": self.data,
            "seed": self.seed,
            "skew": self.skew,
            "protocol": self.protocol,
            "adversary": self.adversary,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "confusion": self.private.confusion,
            "plain": _scores(self.plain),
            "pooled": _scores(self.pooled),
            "single_site": _scores(self.single_site),
            "accuracy_per_round": list(self.curve),
            "survivors": [len(r.survivors) for r in self.round_reports],
            "lost": [r.lost for r in self.round_reports],
            "purposes": [r.purpose for r in self.round_reports],
            "differences": [r.difference for r in self.round_reports],
            "quantisation_bounds": [r.quantisation_bound for r in self.round_reports],
            "seconds": self.seconds,
            "seconds_per_stage": self.stage_seconds,
            "encoding": self.encoding,
            "poisoning": asdict(self.scenes.poisoning) if self.scenes is not None else None,
            "lying_server": asdict(self.scenes.lying) if self.scenes is not None else None,
        }

    def json(self) -> str:
        """`to_json` as one line of text."""
        return json.dumps(self.to_json(), allow_nan=False)

    def text(self, width: int = 100) -> str:
        """The report for a terminal of `width` columns (at least 72, or tables are wider)."""
        named = [
            ("private (this run)", self.private),
            ("plain federated averaging", self.plain),
            ("pooled training", self.pooled),
            ("mean of single-site models", self.single_site),
        ]
        show_malignant = self.private.malignant_recall is not None
        head = ["held-out scores in %", "accuracy", "precision", "recall"] + ["malignant recall"] * show_malignant
        body = [
            [name, _percent(s.accuracy), _percent(s.precision), _percent(s.recall)]
            + [_percent(s.malignant_recall)] * show_malignant
            for name, s in named
        ]
        skew = "" if self.skew is None else f", label skew {self.skew:g}"
        lines = [
            "",
            f"{self.data}: {self.clients} hospitals with {self.train_rows} rows{skew}, {self.test_rows} rows held out",
            f"{self.protocol}, adversary: {self.adversary}; {self.rounds} training rounds, seed {self.seed}",
            "",
            *table(head, body),
            "precision and recall are macro averages over the classes",
            "",
        ]
        if self.private.confusion is not None and len(self.classes) <= 10:
            names = [name[:12] for name in self.classes]
            rows = [[name, *map(str, row)] for name, row in zip(names, self.private.confusion, strict=True)]
            lines += [*table(["true \\ predicted", *names], rows), ""]
        lost = sorted({r.lost for r in self.round_reports})
        counts = [len(r.survivors) for r in self.round_reports]
        facts = [
            ("secure sum - integer sum", f"{self.integer_difference} (largest difference, all {len(counts)} rounds)"),
            (
                "private - plain aggregate",
                f"{self.max_difference:.3e} (largest), stated quantisation bound {self.quantisation_bound:.3e}",
            ),
            (
                "every round in its own bound",
                ("yes" if self.within_bounds else "NO") + (f", {self.clipped} entries clipped" if self.clipped else ""),
            ),
            (
                "hospitals lost per round",
                f"{'-'.join(map(str, lost))} of {self.clients}, "
                + (
                    "before they upload"
                    if self.protocol == "ckks"
                    else "at random stages (whoever had uploaded by then is in the sum)"
                ),
            ),
            ("survivors per round", f"{' '.join(map(str, counts))} of {self.clients}"),
            (
                "bytes per hospital",
                f"{self.bytes_per_client:,.0f} sent, {self.bytes_down_per_client:,.0f} received, over the whole run",
            ),
            ("encoding", self.encoding),
        ]
        stages = self.stage_seconds
        if stages:
            facts.append(("seconds per stage", ", ".join(f"{name} {value:.2f}" for name, value in stages.items())))
        facts.append(("seconds", f"{self.seconds:.1f}"))
        if self.ledger is not None:
            facts.append(("ledger", self.ledger))
        if self.figure is not None:
            facts.append(("figure", self.figure))
        if self.scenes is not None:
            facts += [
                ("attested rounds", f"two, after the training: {_ATTESTED} {self.scenes.poisoning.bytes:,} bytes more"),
                ("poisoning", str(self.scenes.poisoning)),
                ("lying server", str(self.scenes.lying)),
            ]
        longest = max(len(name) for name, _ in facts)
        for name, value in facts:
            lines += wrap(f"{name:<{longest}}  ", value, width)
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        """Write the curves as a PNG.

        Raises:
            LocalError: matplotlib is not installed, or the file cannot be written.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ModuleNotFoundError:
            raise LocalError("the picture needs matplotlib: install it with `pip install 'privcomp[demo]'`") from None
        figure = Figure(figsize=(11, 7), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{self.data}: {self.clients} hospitals, {self.protocol}, adversary: {self.adversary}")
        rounds = range(1, self.rounds + 1)
        training = [r for r in self.round_reports if r.purpose == "training"]
        accuracy, error = figure.add_subplot(2, 2, (1, 2)), figure.add_subplot(2, 2, 3)
        present = figure.add_subplot(2, 2, 4)
        for plot in (accuracy, error, present):
            plot.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

        accuracy.plot(rounds, [100 * a for a in self.pooled_curve], color="0.6", label="pooled training")
        accuracy.plot(
            rounds, [100 * a for a in self.plain_curve], "--", color="C1", lw=3, label="plain federated averaging"
        )
        accuracy.plot(rounds, [100 * a for a in self.curve], "o-", color="C0", ms=4, label="private (this run)")
        accuracy.axhline(100 * self.single_site.accuracy, color="C3", ls=":", label="mean of single-site models")
        accuracy.set(xlabel="round", ylabel="held-out accuracy in %", title="Accuracy")
        accuracy.legend(loc="lower right")

        floor = 1e-18  # a logarithmic axis has no 0
        error.semilogy(rounds, [max(r.difference, floor) for r in training], "o-", ms=4, label="largest difference")
        error.semilogy(rounds, [r.quantisation_bound for r in training], "k--", label="stated quantisation bound")
        error.set(xlabel="round", title="Private - plain aggregate")
        error.legend(loc="center right")

        present.bar(rounds, [len(r.survivors) for r in training], color="C2")
        present.axhline(self.clients, color="k", lw=0.8)
        lost = max(r.lost for r in training)
        title = f"In the sum, of {self.clients} hospitals" + (f"; {lost} fell silent at some stage" if lost else "")
        present.set(xlabel="round", ylim=(0, self.clients * 1.1), title=title)
        try:
            figure.savefig(path, format="png", dpi=120)
        except OSError as reason:
            raise LocalError(f"the picture cannot be written to {path}: {reason}; name another file") from None


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "accuracy": scores.accuracy,
        "precision": scores.precision,
        "recall": scores.recall,
        "malignant_recall": scores.malignant_recall,
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return [line(head), "  ".join("-" * w for w in widths), *map(line, body)]


def wrap(label: str, text: str, width: int) -> list[str]:
    """`label` and `text` in lines of `width`, the text as a block beside the label."""
    lines, current = [], label
    for word in text.split(" "):
        if len(current) + len(word) > width and current.strip() and current != " " * len(label) and current != label:
            lines.append(current.rstrip())
            current = " " * len(label)
        current += word + " "
    return [*lines, current.rstrip()]

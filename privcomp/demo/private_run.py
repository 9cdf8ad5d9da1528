"""The demo under differential privacy: both units through secure rounds, comparisons, accuracy by epsilon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from privcomp._core import Drbg
from privcomp.demo.data import Federation
from privcomp.demo.model import layout
from privcomp.demo.private import (
    ADJACENCY,
    MECHANISM,
    RECIPES,
    Plans,
    Recipe,
    Released,
    make_plans,
    train,
    without_masks,
    without_noise,
)
from privcomp.demo.report import table, wrap
from privcomp.demo.secure import SecureFederation
from privcomp.demo.train import DemoOptions, Progress
from privcomp.errors import LocalError, ParameterError

__all__ = ["NOT_PRIVATE", "PrivateReport", "UnitReport", "run_private"]

NOT_PRIVATE: Final = "not private, demonstration only"
EPSILONS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_REPEATS: Final = 3  # runs behind one cell of the table


@dataclass(frozen=True)
class UnitReport:
    """One run through secure rounds.

    Attributes:
        unit: "user" or "record".
        epsilon: what the hospitals' own journals have charged, at the report's delta.
        releases: sums that were opened.
        accuracy, recall: on the held-out rows, at the end.
        malignant_recall: of the malignant class, where there is one.
        plain_accuracy: the same training without clip, noise and losses; not private, demonstration only.
        curve, plain_curve: accuracy after every round.
        survivors: hospitals in each sum.
        integer_difference: largest |secure sum - sum of the survivors' noised vectors|: 0.
        noise: standard deviation of the noise in an entry of a mean update.
        granularity, sensitivity: of the training plan; in the update's units, and D2 in integer units.
        modulus_bits, wrap_probability: of the training plan.
        bytes_per_client: sent, over the run.
        seconds: of the run.
        ledger: its ledger.
    """

    unit: str
    epsilon: float
    releases: int
    accuracy: float
    recall: float
    malignant_recall: float | None
    plain_accuracy: float
    curve: tuple[float, ...]
    plain_curve: tuple[float, ...]
    survivors: tuple[int, ...]
    integer_difference: int
    noise: float
    granularity: float
    sensitivity: float
    modulus_bits: int
    wrap_probability: float
    bytes_per_client: float
    seconds: float
    ledger: str

    @property
    def cost(self) -> float:
        """Accuracy that privacy costs here."""
        return self.plain_accuracy - self.accuracy


@dataclass(frozen=True)
class PrivateReport:
    """Everything that a private run shows; names of `to_json` are stable."""

    data: str
    clients: int
    seed: int
    protocol: str
    adversary: str
    train_rows: int
    test_rows: int
    delta: float
    target: float
    min_survivors: int
    colluders: int
    user: UnitReport
    record: UnitReport
    epsilons: tuple[float, ...]
    user_table: tuple[float | None, ...]
    record_table: tuple[float | None, ...]
    seconds: float
    figure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One object of JSON types."""
        return {
            "accuracy": self.user.accuracy,
            "epsilon": self.user.epsilon,
            "delta": self.delta,
            "adjacency": ADJACENCY,
            "mechanism": MECHANISM,
            "unit": "user",
            "accuracy_cost": self.user.cost,
            "plain_accuracy": self.user.plain_accuracy,
            "integer_difference": max(self.user.integer_difference, self.record.integer_difference),
            "data": self.data,
            "clients": self.clients,
            "seed": self.seed,
            "protocol": self.protocol,
            "adversary": self.adversary,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "target_epsilon": self.target,
            "min_survivors": self.min_survivors,
            "colluders": self.colluders,
            "user": asdict(self.user),
            "record": asdict(self.record),
            "table": [
                {"epsilon": e, "user": u, "record": r}
                for e, u, r in zip(self.epsilons, self.user_table, self.record_table, strict=True)
            ],
            "seconds": self.seconds,
            "figure": self.figure,
        }

    def json(self) -> str:
        """`to_json` as one line of text."""
        return json.dumps(self.to_json(), allow_nan=False)

    def text(self, width: int = 100) -> str:
        """The report for a terminal of `width` columns."""
        units = (self.user, self.record)
        rows = [
            [
                f"{'hospital' if u.unit == 'user' else 'row'} ({u.unit} level)",
                f"{u.epsilon:.3f}",
                f"{self.delta:g}",
                _percent(u.accuracy),
                _percent(u.plain_accuracy),
                f"{100 * u.cost:+.1f}",
            ]
            for u in units
        ]
        head = ["what is hidden", "epsilon", "delta", "accuracy", "without privacy *", "cost"]
        lines = [
            "",
            f"{self.data}: {self.clients} hospitals, {self.test_rows} rows held out",
            f"{self.protocol}, adversary: {self.adversary}; seed {self.seed}; adjacency {ADJACENCY}: the contribution "
            "counts as zero, its noise stays",
            "",
            *table(head, rows),
            f"* {NOT_PRIVATE}: the same training with neither clip nor noise nor losses",
            "",
            *table(
                ["accuracy by epsilon **", *(f"{e:g}" for e in self.epsilons)],
                [
                    ["user level", *map(_percent, self.user_table)],
                    ["record level", *map(_percent, self.record_table)],
                ],
            ),
            f"** mean of {_REPEATS} runs with the same integers and such noise, added up without masks; held-out rows",
            "",
        ]
        shares = self.min_survivors - self.colluders
        facts = [
            (
                "everything charged",
                "one noised sum for the centre of the features, then one for each training round; no weight, row "
                "count, class count, metric or clip count is released without noise; scales are public constants",
            ),
            (
                "mechanism",
                f"{MECHANISM}, noise drawn by the hospitals; privacy counts on the noise of {shares}: at least "
                f"{self.min_survivors} survivors, of whom {self.colluders} may collude with the server. No hospital "
                "helps to open a sum of fewer",
            ),
            (
                "two ways, not one",
                "each of the two runs spends a budget of its own, in its own ledger; whoever sees both has seen both",
            ),
            (
                "secure sum - integer sum",
                f"{max(u.integer_difference for u in units)} (largest difference, all rounds)",
            ),
        ]
        for u in units:
            facts.append(
                (f"{u.unit} level", f"{u.releases} releases, noise {u.noise:.3g} in an entry of a mean, granularity "
                 f"{u.granularity:.3g}, sensitivity {u.sensitivity:.6g} steps, {u.modulus_bits} bits (wraps with "
                 f"probability {u.wrap_probability:.1g}), {u.bytes_per_client:,.0f} bytes sent per hospital, "
                 f"{min(u.survivors)} to {max(u.survivors)} survivors, {u.seconds:.1f} s, ledger {u.ledger}")
            )  # fmt: skip
        facts.append(("seconds", f"{self.seconds:.1f}"))
        if self.figure is not None:
            facts.append(("figure", self.figure))
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
        except ModuleNotFoundError:
            raise LocalError("the picture needs matplotlib: install it with `pip install 'privcomp[demo]'`") from None
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{self.data}: {self.clients} hospitals, delta {self.delta:g}")
        trade, rounds = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        for name, column, colour in (("user", self.user_table, "C0"), ("record", self.record_table, "C1")):
            trade.semilogx(
                self.epsilons,
                [np.nan if a is None else 100 * a for a in column],
                "o-",
                color=colour,
                label=f"{name} level",
            )
        trade.axhline(100 * self.user.plain_accuracy, color="0.6", ls="--", label=f"no privacy ({NOT_PRIVATE})")
        trade.set(xlabel="epsilon", ylabel="held-out accuracy in %", title="What privacy costs")
        trade.set_xticks(self.epsilons, [f"{e:g}" for e in self.epsilons])
        trade.legend(loc="lower right")
        for unit, colour in ((self.user, "C0"), (self.record, "C1")):
            steps = range(1, len(unit.curve) + 1)
            label = f"{unit.unit} level, epsilon {unit.epsilon:.2f}"
            rounds.plot(steps, [100 * a for a in unit.curve], "o-", ms=4, color=colour, label=label)
        rounds.set(xlabel="round", title="This run")
        rounds.legend(loc="lower right")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise LocalError(f"the picture {path} cannot be written: {error.strerror}") from None


def run_private(
    options: DemoOptions,
    federation: Federation,
    open_federation: Callable[[Path, dict[str, Any]], SecureFederation],
    folder: Path,
    *,
    epsilon: float,
    delta: float = 1e-5,
    epsilons: Sequence[float] = EPSILONS,
    progress: Callable[[Progress], None] | None = None,
) -> PrivateReport:
    """Train under differential privacy, for hospitals and for rows.

    Args:
        options: data, hospitals, seed; its rounds and training are not used (`private.RECIPES` has those).
        federation: the hospitals.
        open_federation: (file of the ledger, limits of the hospitals' policies) -> a federation for one run.
        folder: where the ledgers lie: `ledger` and `record/ledger`.
        epsilon, delta: of each run.
        epsilons: columns of the table.
        progress: called after every round.

    Returns:
        The report; the picture is written if the options name a file.

    Raises:
        ParameterError: no public ranges, or no plan for so few hospitals and so small an epsilon.
        RoundAborted: a round lost too many hospitals.
    """
    start = time.perf_counter()
    if not 0 < epsilon <= 256 or not 0 < delta < 1:
        raise ParameterError(
            f"epsilon = {epsilon!r}, delta = {delta!r}: 0 < epsilon <= 256 and 0 < delta < 1 are needed"
        )
    table_ = federation.table
    features, classes = len(table_.features), len(table_.classes)
    sizes: dict[str, Any] = {
        "features": features,
        "entries": layout(features, classes).size,
        "positive": table_.positive,
    }

    def plans_for(recipe: Recipe, target: float, secure: SecureFederation) -> Plans:
        return make_plans(
            recipe,
            clients=options.clients,
            min_survivors=secure.survivors_min,
            colluders=secure.colluders,
            epsilon=target,
            delta=delta,
            **sizes,
        )

    opened, reports, tables = [], [], []
    for recipe, place in ((RECIPES["user"], folder), (RECIPES["record"], folder / "record")):
        place.mkdir(parents=True, exist_ok=True)
        limits = {"privacy": "required", "privacy_unit": recipe.unit, "epsilon_max": epsilon, "delta_max": delta}
        secure = open_federation(place / "ledger", limits)
        opened.append(secure)
        plans = plans_for(recipe, epsilon, secure)
        columns = [plans if target == epsilon else _if_any(plans_for, recipe, target, secure) for target in epsilons]
        run, sums = _secure_run(options, federation, recipe, plans, secure, progress)
        reports.append(replace(run, ledger=str(place / "ledger")))
        cells = [None if each is None else _simulated(federation, recipe, each, sums, options.seed) for each in columns]
        tables.append(tuple(cells))
    report = PrivateReport(
        data=table_.name,
        clients=options.clients,
        seed=options.seed,
        protocol=options.protocol,
        adversary=options.adversary,
        train_rows=sum(site.rows for site in federation.sites),
        test_rows=int(federation.test_y.size),
        delta=delta,
        target=epsilon,
        min_survivors=opened[0].survivors_min,
        colluders=opened[0].colluders,
        user=reports[0],
        record=reports[1],
        epsilons=tuple(epsilons),
        user_table=tables[0],
        record_table=tables[1],
        seconds=time.perf_counter() - start,
        figure=None if options.figure is None else str(options.figure),
    )
    if options.figure is not None:
        report.draw(options.figure)
    return report


def _if_any(plans_for: Callable[..., Plans], *arguments: Any) -> Plans | None:
    """Plans for a column of the table; None where none exist."""
    try:
        return plans_for(*arguments)
    except ParameterError:
        return None


def _secure_run(
    options: DemoOptions,
    federation: Federation,
    recipe: Recipe,
    plans: Plans,
    secure: SecureFederation,
    progress: Callable[[Progress], None] | None,
) -> tuple[UnitReport, tuple[tuple[int, ...], ...]]:
    start = time.perf_counter()
    survivors: list[tuple[int, ...]] = []
    sent = np.zeros(options.clients)
    difference = 0

    def release(**round_: Any) -> Any:
        nonlocal difference
        mean, sums = secure.noised(**round_)
        survivors.append(sums.survivors)
        difference = max(difference, int(np.abs(sums.integer_sum - sums.reference_integer_sum).max()))
        for hospital, count in sums.bytes_up.items():
            sent[hospital] += count
        return mean

    def tell(purpose: str, index: int, total: int, accuracy: float | None) -> None:
        if progress is not None:
            seconds = time.perf_counter() - start
            progress(Progress(purpose, index, total, len(survivors[-1]), options.clients, accuracy, seconds))

    private = train(federation, recipe, plans, release, tell)
    plain = train(federation, recipe, plans, without_noise(options.clients))
    step = plans.step
    mean_of = options.clients if recipe.unit == "user" else options.clients * recipe.records_max
    return (
        UnitReport(
            unit=recipe.unit,
            epsilon=secure.spent(recipe.unit),
            releases=len(survivors),
            accuracy=private.scores.accuracy,
            recall=private.scores.recall,
            malignant_recall=private.scores.malignant_recall,
            plain_accuracy=plain.scores.accuracy,
            curve=private.curve,
            plain_curve=plain.curve,
            survivors=tuple(len(names) for names in survivors),
            integer_difference=difference,
            noise=step.sigma_local * len(survivors[-1]) ** 0.5 / mean_of,
            granularity=step.granularity,
            sensitivity=step.d2,
            modulus_bits=step.modulus_bits,
            wrap_probability=step.wrap_probability,
            bytes_per_client=float(sent.mean()),
            seconds=time.perf_counter() - start,
            ledger="",
        ),
        tuple(survivors),
    )


def _simulated(
    federation: Federation, recipe: Recipe, plans: Plans, survivors: Sequence[tuple[int, ...]], seed: int
) -> float:
    """Mean accuracy of runs with this noise and these survivors, added up without masks."""
    found: list[Released] = []
    for repeat in range(_REPEATS):
        label = f"privcomp-demo-private/{seed}/{recipe.unit}/{plans.epsilon:.6f}/{repeat}"
        rng = Drbg.insecure_deterministic(sha256(label.encode()).digest())
        found.append(train(federation, recipe, plans, without_masks(survivors.__getitem__, rng.random_bytes)))
    return float(np.mean([each.scores.accuracy for each in found]))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"

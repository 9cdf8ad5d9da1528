"""The federated job: statistics and training, all of it through secure sums.

The loop below is the coordinator's side. What a hospital computes is `_Hospital`; it sees its own rows and the bytes
that the coordinator sent (which is what the round's model hash covers), nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privcomp.demo import baselines, moments
from privcomp.demo.data import Federation, Site, Table, federate, load, load_csv
from privcomp.demo.metrics import Scores, score
from privcomp.demo.model import Standardiser, Training, class_weights, descend, initial, layout, predict
from privcomp.demo.report import Report, RoundReport, Scenes
from privcomp.dp import PrivateMean
from privcomp.encoding import Decoded, FixedPoint, model_bytes, parse_model
from privcomp.errors import ParameterError

__all__ = [
    "PURPOSES",
    "DemoOptions",
    "Epilogue",
    "Progress",
    "SecureResult",
    "SecureSum",
    "Updates",
    "load_federation",
    "load_table",
    "run_demo",
]

PURPOSES: Final = ("scales", "statistics", "training")
"""The purposes that the demo's rounds carry; a node's policy must allow them."""

Updates = Callable[[int], tuple[NDArray[np.float64], int]]
"""Hospital (0..clients - 1) -> its vector, float64 (encoding.entries,), and its weight; a second call repeats it."""


class Epilogue(Protocol):
    """What is shown after the training."""

    def __call__(self, *, model: bytes, entries: int, updates: Updates) -> Scenes | None:
        """Run further rounds.

        Args:
            model: the trained model's bytes.
            entries: length of an update.
            updates: what the hospitals would answer in the next round.
        """
        ...


_UPDATE_BITS: Final = 24
_UPDATE_RANGE: Final = 15.0  # granularity 2^-19: the error of the mean stays below 2e-6


@dataclass(frozen=True, eq=False)
class SecureResult:
    """What one secure sum returns.

    Attributes:
        survivors: hospitals in the sum, increasing.
        integer_sum: int64 (encoding.length,): the unmasked, centred sum.
        reference_integer_sum: the sum of the same survivors' encoded vectors, added in the clear for the comparison.
        decoded: what the sum says.
        bytes_up: hospital -> bytes that it sent in this round.
        bytes_down: hospital -> bytes that it received.
        seconds: stage -> wall-clock seconds.
        record: index of the round's record in the ledger.
        lost: hospitals that fell silent at some stage; one that did so after its upload is a survivor all the same.
        sent_as: how the entries travelled, in words; empty: as `FixedPoint.describe` says.
    """

    survivors: tuple[int, ...]
    integer_sum: NDArray[np.int64]
    reference_integer_sum: NDArray[np.int64]
    decoded: Decoded | PrivateMean
    bytes_up: Mapping[int, int]
    bytes_down: Mapping[int, int]
    seconds: Mapping[str, float]
    record: int
    lost: tuple[int, ...] = ()
    sent_as: str = ""


class SecureSum(Protocol):
    """One round of secure aggregation over all hospitals, some of which are lost on the way."""

    def __call__(self, *, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
        """Sums the survivors' vectors.

        Args:
            purpose: one of `PURPOSES`.
            model: the bytes that the hospitals act on; the round binds their hash. No two calls of a run share them.
            encoding: fixed point of this round.
            updates: called for a hospital when it is about to mask.

        Raises:
            RoundAborted: too few hospitals answered; the run cannot go on.
        """
        ...


@dataclass(frozen=True)
class DemoOptions:
    """What to run.

    Args:
        data: "breast-cancer" or "digits"; ignored with csv.
        csv: the user's table, with `label` its class column.
        label: name of the label column of csv.
        ranges: JSON file of public ranges that replaces the package's; with csv: instead of a secure sum of exponents.
        clients: number of hospitals, 2 or more.
        rounds: training rounds, 1..1000.
        seed: decides split, partition and, through the caller's `secure_sum`, losses.
        skew: None, or the concentration of a Dirichlet label skew (non-IID hospitals).
        training: local steps, rate, penalty.
        max_weight: largest weight of a hospital: one with more rows counts as if it had this many. None: 1024, or less
            where many hospitals would not leave 48 bits for the statistics. A public constant of the study.
        figure: where to write the PNG, or None.
        ledger: path of the ledger that `secure_sum` appends to, for the report.
        protocol: name of the protocol behind `secure_sum`, for the report.
        adversary: adversary model behind `secure_sum`, for the report.
        widths: most bits of a value, and of a sum, that `secure_sum` takes: they decide the width of the statistics.

    Raises:
        ParameterError: a value outside its range, csv without label or the reverse.
    """

    data: str = "breast-cancer"
    csv: Path | None = None
    label: str | None = None
    ranges: Path | None = None
    clients: int = 50
    rounds: int = 16
    seed: int = 0
    skew: float | None = None
    training: Training = field(default_factory=Training)
    max_weight: int | None = None
    figure: Path | None = None
    ledger: Path | None = None
    protocol: str = "bonawitz"
    adversary: str = "malicious"
    widths: tuple[int, int] = (48, 64)

    def __post_init__(self) -> None:
        if (self.csv is None) != (self.label is None):
            raise ParameterError(
                "--csv needs --label, the name of the column with the classes, and the other way round"
            )
        if type(self.rounds) is not int or not 1 <= self.rounds <= 1000:
            raise ParameterError(f"{self.rounds!r} rounds; an integer in 1..1000 is needed")
        if type(self.clients) is not int or not 2 <= self.clients <= 1 << 16:
            raise ParameterError(f"{self.clients!r} hospitals; an integer in 2..65536 is needed")
        if self.max_weight is not None and not 1 <= self.max_weight <= 1 << 20:
            raise ParameterError(f"the largest weight is {self.max_weight!r}; an integer in 1..2^20 is needed")

    @property
    def weight_limit(self) -> int:
        """The largest weight in use."""
        return self.max_weight if self.max_weight is not None else max(1, min(1024, (1 << 16) // self.clients))


@dataclass(frozen=True)
class Progress:
    """One finished step.

    Attributes:
        purpose: "scales", "statistics" or "training".
        index: number of the round within its purpose, from 1.
        total: rounds of this purpose.
        survivors: hospitals in the sum.
        clients: hospitals asked.
        accuracy: of the private model on the held-out rows, None before training.
        seconds: wall-clock seconds of the round.
    """

    purpose: str
    index: int
    total: int
    survivors: int
    clients: int
    accuracy: float | None
    seconds: float


class _Hospital:
    """One hospital: its rows, and what it answers to the bytes that it is sent."""

    def __init__(self, site: Site, classes: int, max_weight: int) -> None:
        self._site = site
        self._classes = classes
        self._weight = min(site.rows, max_weight)

    def scales(self, model: bytes) -> tuple[NDArray[np.float64], int]:
        parse_model(model)
        return moments.local_exponents(self._site), 1

    def statistics(self, model: bytes) -> tuple[NDArray[np.float64], int]:
        request = parse_model(model)
        return moments.local_statistics(self._site, request["exponents"], self._classes), self._weight

    def training(self, model: bytes, training: Training) -> tuple[NDArray[np.float64], int]:
        arrays = parse_model(model)
        before = {name: arrays[name] for name in ("weight", "bias")}
        z = Standardiser(arrays["mean"], arrays["scale"])(self._site.x)
        after = descend(before, z, self._site.y, arrays["class_weights"], training)
        shape = layout(self._site.x.shape[1], self._classes)
        return shape.flatten(after) - shape.flatten(before), self._weight


class _Run:
    """Secure sums of one run, each compared with the plain sum of the same survivors' same updates."""

    def __init__(self, options: DemoOptions, secure_sum: SecureSum) -> None:
        self._options = options
        self._secure_sum = secure_sum
        #: How the entries of the last sum travelled.
        self.sent_as = ""
        self.rounds: list[RoundReport] = []
        self.bytes_up = np.zeros(options.clients)
        self.bytes_down = np.zeros(options.clients)

    def sum(
        self, purpose: str, model: bytes, encoding: FixedPoint, answer: Callable[[int], tuple[NDArray[np.float64], int]]
    ) -> tuple[SecureResult, NDArray[np.float64]]:
        """One secure sum and the plain float average beside it."""
        computed: dict[int, tuple[NDArray[np.float64], int]] = {}

        def updates(hospital: int) -> tuple[NDArray[np.float64], int]:
            if hospital not in computed:
                computed[hospital] = answer(hospital)
            return computed[hospital]

        start = time.perf_counter()
        result = self._secure_sum(purpose=purpose, model=model, encoding=encoding, updates=updates)
        seconds = time.perf_counter() - start
        self.sent_as = result.sent_as or encoding.describe()
        plain = baselines.plain_average([updates(hospital) for hospital in result.survivors])
        for store, sent in ((self.bytes_up, result.bytes_up), (self.bytes_down, result.bytes_down)):
            for hospital, count in sent.items():
                store[hospital] += count
        self.rounds.append(
            RoundReport(
                purpose=purpose,
                survivors=result.survivors,
                clients=self._options.clients,
                total_weight=result.decoded.total_weight,
                clipped=result.decoded.clipped,
                integer_difference=largest_difference(result.integer_sum, result.reference_integer_sum),
                difference=float(np.abs(result.decoded.mean - plain).max()),
                quantisation_bound=result.decoded.quantisation_bound,
                bytes_up=sum(result.bytes_up.values()),
                bytes_down=sum(result.bytes_down.values()),
                seconds=seconds,
                stages=dict(result.seconds),
                record=result.record,
                lost=len(result.lost),
            )
        )
        return result, plain


def _train(
    hospitals: Sequence[_Hospital], model: bytes, training: Training, hospital: int
) -> tuple[NDArray[np.float64], int]:
    return hospitals[hospital].training(model, training)


def largest_difference(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Largest |a - b| of two int64 vectors, without overflow. Raises ParameterError for shapes that differ."""
    if a.shape != b.shape:
        raise ParameterError(f"secure sum of shape {a.shape} beside a reference of shape {b.shape}; they must agree")
    high, low = np.maximum(a, b), np.minimum(a, b)
    return int((high.astype(np.uint64) - low.astype(np.uint64)).max())  # exact, modulo 2^64, for any two int64


def load_table(options: DemoOptions) -> Table:
    """The rows of these options.

    Raises:
        ParameterError: unreadable or unusable data.
        LocalError: scikit-learn is not installed.
    """
    if options.csv is not None and options.label is not None:
        return load_csv(options.csv, options.label, ranges=options.ranges)
    return load(options.data, ranges=options.ranges)


def load_federation(options: DemoOptions) -> Federation:
    """The hospitals of these options.

    Raises:
        ParameterError: unreadable or unusable data, too few rows for so many hospitals.
        LocalError: scikit-learn is not installed.
    """
    return federate(load_table(options), options.clients, options.seed, skew=options.skew)


def run_demo(
    options: DemoOptions,
    secure_sum: SecureSum,
    progress: Callable[[Progress], None] | None = None,
    *,
    federation: Federation | None = None,
    epilogue: Epilogue | None = None,
) -> Report:
    """Fifty hospitals (by default) train a classifier together.

    Args:
        options: what to run.
        secure_sum: one round of secure aggregation; the only way from a hospital's rows to the coordinator.
        progress: called after every round.
        federation: the hospitals, if `load_federation(options)` was already called.
        epilogue: rounds to be run after the training.

    Returns:
        `Report`; the PNG is written if the options name a file.

    Raises:
        ParameterError: see `load_federation`, or numbers of hospitals and rows that no 64-bit modulus holds.
        RoundAborted: a round lost too many hospitals.
    """
    start = time.perf_counter()
    federation = load_federation(options) if federation is None else federation
    if len(federation.sites) != options.clients:
        raise ParameterError(f"{len(federation.sites)} sites for {options.clients} hospitals; the numbers must agree")
    table = federation.table
    features, classes = len(table.features), len(table.classes)
    hospitals = [_Hospital(site, classes, options.weight_limit) for site in federation.sites]
    run = _Run(options, secure_sum)

    def tell(index: int, total: int, accuracy: float | None) -> None:
        last = run.rounds[-1]
        if progress is not None:
            seen = len(last.survivors)
            progress(Progress(last.purpose, index, total, seen, options.clients, accuracy, last.seconds))

    # 1. Scales: public ranges, or a histogram of binary exponents.
    if table.ranges is not None:
        exponents = moments.exponents_from_ranges(table.ranges)
    else:
        request = model_bytes({"request.scales": np.array([features, classes, options.seed], dtype=np.int64)})
        encoding = moments.exponent_encoding(features, options.clients)
        result, _ = run.sum("scales", request, encoding, lambda i: hospitals[i].scales(request))
        exponents = moments.decode_exponents(result.decoded)
        tell(1, 1, None)

    # 2. Means, variances, class counts.
    ask = model_bytes(
        {"request.statistics": np.array([features, classes, options.seed], dtype=np.int64), "exponents": exponents}
    )
    encoding = moments.statistics_encoding(features, classes, options.clients, options.weight_limit, *options.widths)
    result, plain = run.sum("statistics", ask, encoding, lambda i: hospitals[i].statistics(ask))
    error, total_weight = result.decoded.quantisation_bound, result.decoded.total_weight
    standardise, counts = moments.decode_statistics(result.decoded.mean, exponents, error, total_weight)
    plain_standardise, _ = moments.decode_statistics(plain, exponents, error, total_weight)
    tell(1, 1, None)

    # 3. Training: federated averaging of updates.
    shape = layout(features, classes)
    private = initial(features, classes)
    reference = shape.flatten(private)
    weights = class_weights(counts)
    encoding = FixedPoint.for_range(
        _UPDATE_RANGE,
        bits=_UPDATE_BITS,
        clients=options.clients,
        entries=shape.size,
        max_weight=options.weight_limit,
        max_error=1e-3,
    )
    test, plain_test = standardise(federation.test_x), plain_standardise(federation.test_x)

    def scores_of(parameters: Mapping[str, NDArray[Any]], z: NDArray[np.float64]) -> Scores:
        return score(federation.test_y, predict(parameters, z), classes, table.malignant)

    private_scores = plain_scores = scores_of(private, test)
    curve: list[float] = []
    plain_curve: list[float] = []

    def current() -> bytes:
        constants = {"mean": standardise.mean, "scale": standardise.scale, "class_weights": weights}
        return model_bytes({"weight": private["weight"], "bias": private["bias"], **constants})

    for index in range(1, options.rounds + 1):
        model = current()
        result, plain = run.sum("training", model, encoding, partial(_train, hospitals, model, options.training))
        private = shape.unflatten(shape.flatten(private) + result.decoded.mean)
        reference = reference + plain
        private_scores = scores_of(private, test)
        plain_scores = scores_of(shape.unflatten(reference), plain_test)
        curve.append(private_scores.accuracy)
        plain_curve.append(plain_scores.accuracy)
        tell(index, options.rounds, private_scores.accuracy)

    model, scenes = current(), None
    if epilogue is not None:
        updates = partial(_train, hospitals, model, options.training)
        scenes = epilogue(model=model, entries=shape.size, updates=updates)

    pooled_scores, pooled_curve = baselines.pooled(federation, options.training, options.rounds)
    report = Report(
        data=table.name,
        clients=options.clients,
        rounds=options.rounds,
        seed=options.seed,
        skew=options.skew,
        protocol=options.protocol,
        adversary=options.adversary,
        classes=table.classes,
        train_rows=sum(site.rows for site in federation.sites),
        test_rows=int(federation.test_y.size),
        private=private_scores,
        plain=plain_scores,
        pooled=pooled_scores,
        single_site=baselines.single_sites(federation, options.training, options.rounds),
        curve=tuple(curve),
        plain_curve=tuple(plain_curve),
        pooled_curve=tuple(pooled_curve),
        round_reports=tuple(run.rounds),
        bytes_per_client=float(run.bytes_up.mean()),
        bytes_down_per_client=float(run.bytes_down.mean()),
        encoding=run.sent_as,
        seconds=time.perf_counter() - start,
        ledger=None if options.ledger is None else str(options.ledger),
        figure=None if options.figure is None else str(options.figure),
        scenes=scenes,
    )
    if options.figure is not None:
        report.draw(options.figure)
    return report

"""Training under differential privacy: everything that leaves a hospital is inside one budget.

**What is released.** One sum for the centre of the features, then one sum for each training step; nothing else: no
number of rows, no class counts, no metric, no clip count. Every hospital counts once (weight 1), the divisor of a mean
is public. The test rows on which the table is scored belong to nobody in the federation.

**Units** (`privcomp.dp`):

* "user": a hospital's whole contribution is hidden. Each hospital trains on its rows and sends the change of the model,
  clipped to a norm. 50 hospitals are few: this is the strong guarantee, and the expensive one.
* "record": one row of one hospital is hidden. Each row's gradient is clipped and a hospital sends the sum over its
  rows: one gradient step a round, as local steps would have no bound for a single row. How many rows there are is
  itself estimated by a noised sum, an entry beside the centre.

**Preparation.** Features are first brought to one scale by public constants alone: divided by the power of two above
their public range and, where the table's ranges say that a quantity is positive, put on a logarithmic scale (the size
of a nucleus varies by a factor, whatever its unit). The centre is then estimated by a noised sum that is charged like
any other. A row x becomes (f(x) - centre) / spread with a public spread.

The constants below (start, spread, clip, rounds) were chosen by trying them on the bundled tables. On data of your own
such trials are releases, too: take constants from elsewhere, or charge for the search.

**Budget.** Training takes T rounds of one plan, the centre one round of another; their RDP curves are added up. The
centre gets about `SHARE` of the whole, the training plan the rest, by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privcomp.demo.data import Federation, Site
from privcomp.demo.metrics import Scores, score
from privcomp.demo.model import Standardiser, Training, descend, initial, layout, predict, row_gradients
from privcomp.demo.moments import exponents_from_ranges
from privcomp.dp import DistributedPlan, plan_distributed
from privcomp.encoding import model_bytes, parse_model
from privcomp.errors import ParameterError

__all__ = [
    "ADJACENCY",
    "MECHANISM",
    "RECIPES",
    "Plans",
    "Preparation",
    "Recipe",
    "Released",
    "Sum",
    "make_plans",
    "train",
    "without_masks",
    "without_noise",
]

SHARE: Final = 0.3
_PRECISION: Final = 1e-3  # of the bisection, relative to epsilon
_BITS: Final = 24
ADJACENCY: Final = "zero_out"
MECHANISM: Final = "skellam"
_FLOOR: Final = -8.0  # the logarithm of what counts as zero, relative to the public range
_LOG_START, _LOG_SPREAD, _LOG_REACH = -2.0, 0.6, 1.5
_LINEAR_START, _LINEAR_SPREAD, _LINEAR_REACH = 0.25, 0.25, 0.5
_COUNT: Final = 0.4  # what a row adds to the entry that counts rows, relative to the reach

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """How a unit is trained; public constants.

    Args:
        unit: "user" or "record".
        rounds: training rounds.
        clip: largest norm of a hospital's update ("user"), or of a row's gradient ("record").
        training: what a hospital does ("user"); for "record" only its rate counts.
        records_max: rows that a hospital counts at most ("record"); sums are divided by so many for each hospital.
    """

    unit: str
    rounds: int
    clip: float
    training: Training
    records_max: int = 0


RECIPES: Final[Mapping[str, Recipe]] = {
    "user": Recipe("user", rounds=8, clip=0.5, training=Training(steps=10, rate=0.5, l2=1e-3)),
    "record": Recipe("record", rounds=16, clip=1.0, training=Training(steps=1, rate=2.0, l2=0.0), records_max=32),
}


@dataclass(frozen=True)
class Plans:
    """The two plans of a run and what they spend together.

    Attributes:
        centre: one round.
        step: `rounds` rounds.
        rounds: training rounds.
        epsilon, delta: what the whole run spends, at most.
    """

    centre: DistributedPlan
    step: DistributedPlan
    rounds: int
    epsilon: float
    delta: float


def make_plans(
    recipe: Recipe,
    *,
    features: int,
    entries: int,
    clients: int,
    min_survivors: int,
    colluders: int,
    epsilon: float,
    delta: float,
    positive: bool,
) -> Plans:
    """Plans whose curves add up to epsilon at delta, within one in a thousand.

    Args:
        recipe: the unit and its public constants.
        features: of the table.
        entries: of a model.
        clients, min_survivors, colluders: of every round, see `plan_distributed`.
        epsilon, delta: of the whole run.
        positive: whether the features are on a logarithmic scale.

    Raises:
        ParameterError: no plan exists for so few hospitals or so small an epsilon.
    """
    common: dict[str, Any] = {
        "clients": clients,
        "min_survivors": min_survivors,
        "colluders": colluders,
        "bits": _BITS,
        "sampling": "none",
        "adjacency": ADJACENCY,
        "mechanism": MECHANISM,
        "unit": recipe.unit,
        "records_max": recipe.records_max,
    }
    reach, length = reach_of(features, positive), features
    if recipe.unit == "record":
        reach, length = reach * (1 + _COUNT**2) ** 0.5, features + 1
    # A curve is nearly quadratic in epsilon here.
    first = plan_distributed(reach, length, target=(epsilon * SHARE**0.5, delta), rounds=1, **common)
    low, high, best = 0.0, epsilon, None
    while high - low > _PRECISION * epsilon:
        middle = (low + high) / 2
        step = plan_distributed(recipe.clip, entries, target=(middle, delta), rounds=recipe.rounds, **common)
        total = (first.rdp_round + step.rdp_round.times(recipe.rounds)).epsilon(delta)
        if total <= epsilon:
            low, best = middle, Plans(first, step, recipe.rounds, total, delta)
        else:
            high = middle
    if best is None:
        raise ParameterError(f"epsilon = {epsilon:g} leaves nothing for the training after the centre of the features")
    return best


def reach_of(features: int, positive: bool) -> float:
    """Largest norm of a prepared row that counts in full: a typical deviation in every feature."""
    return float((_LOG_REACH if positive else _LINEAR_REACH) * features**0.5)


@dataclass(frozen=True, eq=False)
class Preparation:
    """Features on one scale, by public constants; see the top of this file.

    Attributes:
        exponents: int64 (features,), of the power of two above each public range.
        positive: whether the scale is logarithmic.
        centre: float64 (features,), in units of the scale; None before it is known.
    """

    exponents: NDArray[np.int64]
    positive: bool
    centre: Values | None = None

    @classmethod
    def of(cls, federation: Federation) -> Preparation:
        """From the table's public ranges.

        Raises:
            ParameterError: it has none; to find them out in a secure sum would be a release of its own.
        """
        table = federation.table
        if table.ranges is None:
            raise ParameterError("--epsilon needs public ranges of the features: name a file of them with --ranges")
        return cls(exponents_from_ranges(table.ranges), table.positive)

    def scaled(self, x: Values) -> Values:
        """f(x), minus where the centre is first guessed to be; float64 (rows, features)."""
        u = np.ldexp(x, -self.exponents)
        if not self.positive:
            return np.clip(u, -1.0, 1.0) - _LINEAR_START
        return np.asarray(np.log(np.clip(u, np.exp(_FLOOR), 1.0)) - _LOG_START)

    def __call__(self, x: Values) -> Values:
        """Standardised rows; the centre is known."""
        if self.centre is None:
            raise ParameterError("the centre of the features is not known yet")
        spread = _LOG_SPREAD if self.positive else _LINEAR_SPREAD
        return Standardiser(self.centre, np.full(self.centre.size, spread))(self.scaled(x))


class Sum(Protocol):
    """One release: the mean of the hospitals' updates, or the sum over their rows divided by a public constant."""

    def __call__(self, *, purpose: str, model: bytes, plan: DistributedPlan, values: Callable[[int], Values]) -> Values:
        """Float64 (entries,).

        Args:
            purpose: "statistics" or "training".
            model: what the hospitals act on; no two calls share it.
            plan: of this release.
            values: hospital -> float64 (entries,), or (rows, entries) where the unit is a record.
        """
        ...


@dataclass(frozen=True)
class Released:
    """What a run gives: scores on the held-out rows at the end, and the accuracy after every round."""

    scores: Scores
    curve: tuple[float, ...]


def _rows(site: Site, recipe: Recipe) -> Site:
    """What a hospital uses of its rows."""
    if recipe.unit != "record" or site.rows <= recipe.records_max:
        return site
    return Site(site.x[: recipe.records_max], site.y[: recipe.records_max])


def train(
    federation: Federation,
    recipe: Recipe,
    plans: Plans,
    release: Sum,
    progress: Callable[[str, int, int, float | None], None] | None = None,
) -> Released:
    """The whole run, whatever `release` adds to the sums.

    Args:
        federation: the hospitals; a hospital's rows are touched in `values` alone.
        recipe: what they do.
        plans: of the two kinds of release.
        release: the only way from rows to the model.
        progress: called after each release with (purpose, index, total, accuracy).
    """
    table = federation.table
    features, classes = len(table.features), len(table.classes)
    sites = [_rows(site, recipe) for site in federation.sites]
    public = Preparation.of(federation)

    unit_row = _COUNT * reach_of(features, table.positive)
    records = recipe.unit == "record"

    def answer(hospital: int) -> Values:
        scaled = public.scaled(sites[hospital].x)
        if not records:
            return np.asarray(scaled.mean(axis=0))
        return np.column_stack([scaled, np.full(len(scaled), unit_row)])

    ask = model_bytes({"exponents": public.exponents, "request.centre": np.zeros(1)})
    shift = release(purpose="statistics", model=ask, plan=plans.centre, values=answer)
    filled = 1.0  # rows there are, of those that could be
    if records:
        filled = max(float(shift[-1]) / unit_row, 1 / recipe.records_max)
        shift = shift[:-1] / filled
    prepare = Preparation(public.exponents, public.positive, shift)
    if progress is not None:
        progress("statistics", 1, 1, None)

    shape, model = layout(features, classes), initial(features, classes)
    held_out = prepare(federation.test_x)
    weights = np.ones(classes)
    curve, scores = [], score(federation.test_y, predict(model, held_out), classes, table.malignant)
    for index in range(1, recipe.rounds + 1):
        request = model_bytes({"weight": model["weight"], "bias": model["bias"], "centre": shift})

        def update(request: bytes, hospital: int) -> Values:
            arrays, site = parse_model(request), sites[hospital]
            z = Preparation(public.exponents, public.positive, arrays["centre"])(site.x)
            before = {name: arrays[name] for name in ("weight", "bias")}
            if records:
                return -row_gradients(before, z, site.y)
            after = descend(before, z, site.y, weights, recipe.training)
            return shape.flatten(after) - shape.flatten(before)

        step = release(purpose="training", model=request, plan=plans.step, values=partial(update, request))
        if records:
            step = step * (recipe.training.rate / filled)
        model = shape.unflatten(shape.flatten(model) + step)
        scores = score(federation.test_y, predict(model, held_out), classes, table.malignant)
        curve.append(scores.accuracy)
        if progress is not None:
            progress("training", index, recipe.rounds, scores.accuracy)
    return Released(scores, tuple(curve))


def without_noise(clients: int) -> Sum:
    """The plain mean over all hospitals, no clip, no noise: not private, for comparison only."""

    def release(*, purpose: str, model: bytes, plan: DistributedPlan, values: Callable[[int], Values]) -> Values:
        found = [values(hospital) for hospital in range(clients)]
        if plan.unit == "user":
            return np.asarray(np.mean(found, axis=0))
        return np.asarray(np.sum([each.sum(axis=0) for each in found], axis=0) / (clients * plan.records_max))

    return release


def without_masks(survivors: Callable[[int], tuple[int, ...]], rng: Callable[[int], bytes]) -> Sum:
    """The same integers and the same noise as in a secure round, added up by one process: for the table only.

    Args:
        survivors: round -> hospitals in its sum.
        rng: entropy.
    """
    rounds = count()

    def release(*, purpose: str, model: bytes, plan: DistributedPlan, values: Callable[[int], Values]) -> Values:
        names, rotation = survivors(next(rounds)), rng(32)
        total = np.zeros(plan.length, dtype=np.int64)
        for hospital in names:
            encoded = plan.encode_var(values(hospital), rotation, rng)
            total += encoded.signal + encoded.noise
        return plan.decode(total, len(names), rotation).mean

    return release

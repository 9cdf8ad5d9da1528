"""Where the rows come from: a table, a held-out test split, and one site per hospital.

Every choice (split, order, sizes, label skew) follows from the seed through SHAKE-256, so that the same seed gives the
same federation everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import LocalError, ParameterError

__all__ = ["MIN_ROWS", "Federation", "Site", "Table", "federate", "load", "load_csv", "load_ranges", "uniform"]

SOURCES: Final = ("breast-cancer", "digits")
MIN_ROWS: Final = 2  # rows that every hospital holds at least
TEST_SHARE: Final = 0.2
_MAX_VALUE: Final = 2.0**63


@dataclass(frozen=True, eq=False)
class Table:
    """A table of numbers with a class for every row.

    Attributes:
        name: what it is called in the report.
        x: float64, shape (rows, features), finite.
        y: int64, shape (rows,), classes 0..len(classes) - 1.
        features: names of the columns.
        classes: names of the classes.
        malignant: the class whose recall is reported alone, or None.
        ranges: (lowest, highest) per feature, public, or None where nobody published any.
        positive: every feature is a positive quantity whose ratios matter rather than its differences: a length, an
            area. Public, as the ranges are.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.int64]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    malignant: int | None = None
    ranges: tuple[tuple[float, float], ...] | None = None
    positive: bool = False


@dataclass(frozen=True, eq=False)
class Site:
    """One hospital's rows: x float64 (rows, features), y int64 (rows,). Nothing else in the demo may read them."""

    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.int64] = field(repr=False)

    @property
    def rows(self) -> int:
        """Number of rows of this hospital."""
        return int(self.y.size)


@dataclass(frozen=True, eq=False)
class Federation:
    """The hospitals, and the held-out rows on which every model is scored."""

    table: Table
    sites: tuple[Site, ...]
    test_x: NDArray[np.float64]
    test_y: NDArray[np.int64]


def uniform(size: int, *labels: object) -> NDArray[np.float64]:
    """`size` numbers in (0, 1), a function of the labels only.

    >>> bool(np.all(uniform(3, 0, "a") == uniform(3, 0, "a")))
    True
    """
    text = "\x1f".join(map(str, labels)).encode()
    words = np.frombuffer(hashlib.shake_256(text).digest(8 * size), dtype="<u8")
    return np.asarray(((words >> 12) + 0.5) * 2.0**-52, dtype=np.float64)


def _order(size: int, *labels: object) -> NDArray[np.intp]:
    return np.argsort(uniform(size, *labels), kind="stable")


@dataclass(frozen=True)
class PublicRanges:
    """What is public about a table's features.

    Attributes:
        ranges: feature name (or "*" for every feature) -> (lowest, highest).
        positive: see `Table.positive`.
    """

    ranges: Mapping[str, tuple[float, float]]
    positive: bool


def load_ranges(path: Path | None = None) -> Mapping[str, PublicRanges]:
    """Public ranges: source name -> ranges of its features.

    Args:
        path: a JSON file of the form {"NAME": {"positive": true, "ranges": {"FEATURE": [LOW, HIGH], ...}}, ...}
            ("positive" may be left out: false); None for the file that is part of this package.

    Raises:
        ParameterError: the file cannot be read or has another form.
    """
    what = "the package's ranges.json" if path is None else str(path)
    try:
        text = (
            resources.files("privcomp.demo").joinpath("ranges.json").read_text("utf-8")
            if path is None
            else path.read_text("utf-8")
        )
        content = json.loads(text)
        out: dict[str, PublicRanges] = {}
        for name, entry in content.items():
            if isinstance(entry, dict):
                ranges = {str(k): (float(low), float(high)) for k, (low, high) in entry["ranges"].items()}
                positive = entry.get("positive", False)
                if type(positive) is not bool:
                    raise ValueError(f"{name}: positive must be true or false")
                out[name] = PublicRanges(ranges, positive)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParameterError(
            f"{what} cannot be read as public ranges ({type(error).__name__}: {error}); it must look like "
            '{"NAME": {"ranges": {"FEATURE": [LOW, HIGH]}}}'
        ) from None
    for name, public in out.items():
        for key, (low, high) in public.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high and max(-low, high) < _MAX_VALUE):
                raise ParameterError(f"{what}: {name}, {key}: [{low}, {high}] is no range; low < high, both below 2^63")
    return out


def _ranges_for(
    features: tuple[str, ...], ranges: Mapping[str, tuple[float, float]], what: str
) -> tuple[tuple[float, float], ...]:
    missing = [name for name in features if name not in ranges and "*" not in ranges]
    if missing:
        raise ParameterError(
            f'{what} has no range for {", ".join(map(repr, missing[:5]))}; add it, or "*" for all others'
        )
    return tuple(ranges.get(name, ranges.get("*", (0.0, 0.0))) for name in features)


def load(source: str, *, ranges: Path | None = None) -> Table:
    """A table that comes with scikit-learn.

    Args:
        source: "breast-cancer" (569 rows, 30 features, two classes) or "digits" (1797 rows, 64 pixels, ten classes).
        ranges: another file of public ranges, see `load_ranges`.

    Raises:
        ParameterError: another name.
        LocalError: scikit-learn is not installed.
    """
    if source not in SOURCES:
        raise ParameterError(
            f"data {source!r} is unknown; allowed: {', '.join(SOURCES)}, or a CSV file with its label column"
        )
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise LocalError("the demo needs scikit-learn: install it with `pip install 'privcomp[demo]'`") from None
    bunch: Any = datasets.load_breast_cancer() if source == "breast-cancer" else datasets.load_digits()
    features = tuple(map(str, bunch.feature_names))
    known = load_ranges(ranges)
    if source not in known:
        raise ParameterError(f"{ranges} has no ranges for {source!r}")
    return Table(
        name=source,
        x=np.asarray(bunch.data, dtype=np.float64),
        y=np.asarray(bunch.target, dtype=np.int64),
        features=features,
        classes=tuple(map(str, bunch.target_names)),
        malignant=list(bunch.target_names).index("malignant") if source == "breast-cancer" else None,
        ranges=_ranges_for(features, known[source].ranges, "the file of ranges"),
        positive=known[source].positive,
    )


def load_csv(path: Path, label: str, *, ranges: Path | None = None) -> Table:
    """The user's own table: a header line, one row per patient, numbers everywhere but in the label column.

    Args:
        path: CSV file, UTF-8, comma-separated.
        label: name of the column that holds the class (any text).
        ranges: public ranges under the file's stem (`load_ranges`); None to find the scales by a secure sum.

    Raises:
        ParameterError: the file cannot be read, has no such column, a cell that is no finite number, or one class only.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            lines = list(csv.reader(handle, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"{path} cannot be read as a CSV file: {error}") from None
    rows = [(number, row) for number, row in enumerate(lines, 1) if row]
    if len(rows) < 2:
        raise ParameterError(f"{path} has {len(rows)} lines; a header line and rows are needed")
    header = [name.strip() for name in rows[0][1]]
    if len(set(header)) != len(header):
        raise ParameterError(f"{path}: two columns have one name; rename them")
    if label not in header:
        raise ParameterError(f"{path} has no column {label!r}; its columns are: {', '.join(header)}")
    if len(header) < 2:
        raise ParameterError(f"{path} has the label column only; at least one column of numbers is needed")
    column = header.index(label)
    features = tuple(name for name in header if name != label)
    x = np.empty((len(rows) - 1, len(features)))
    labels: list[str] = []
    for index, (number, row) in enumerate(rows[1:]):
        if len(row) != len(header):
            raise ParameterError(f"{path}, line {number}: {len(row)} cells; the header has {len(header)}")
        if not row[column].strip():
            raise ParameterError(f"{path}, line {number}: the label is empty; remove the row or name its class")
        labels.append(row[column].strip())
        cells = row[:column] + row[column + 1 :]
        try:
            x[index] = [float(cell) for cell in cells]
        except ValueError:
            name, cell = next((n, c) for n, c in zip(features, cells, strict=True) if not _is_number(c))
            raise ParameterError(
                f"{path}, line {number}, column {name!r}: {cell!r} is no number; encode categories as numbers, fill or "
                "remove what is missing"
            ) from None
        bad = np.flatnonzero(~(np.abs(x[index]) < _MAX_VALUE))
        if bad.size:
            raise ParameterError(
                f"{path}, line {number}, column {features[int(bad[0])]!r}: NaN, infinite or beyond 2^63; fill, "
                "remove or rescale it"
            )
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise ParameterError(f"{path}: every row has the label {classes[0]!r}; at least two classes are needed")
    lowered = [name.casefold() for name in classes]
    scales, positive = None, False
    if ranges is not None:
        known = load_ranges(ranges)
        if path.stem not in known:
            raise ParameterError(f"{ranges} has no ranges for {path.stem!r}, the name of the table")
        scales, positive = _ranges_for(features, known[path.stem].ranges, str(ranges)), known[path.stem].positive
    return Table(
        name=path.name,
        x=x,
        y=np.array([classes.index(name) for name in labels], dtype=np.int64),
        features=features,
        classes=classes,
        malignant=lowered.index("malignant") if "malignant" in lowered else None,
        ranges=scales,
        positive=positive,
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def federate(table: Table, clients: int, seed: int, *, skew: float | None = None) -> Federation:
    """Split a table into a held-out test set and one site per hospital.

    Args:
        table: the rows.
        clients: number of hospitals, at least 2.
        seed: decides split, order and sizes.
        skew: None for hospitals of uneven size with similar rows; a positive number for label skew: how many rows of a
            class each hospital gets follows a Dirichlet distribution with this concentration (0.3 is strong, 10 weak).

    Returns:
        A `Federation`; the test set is a stratified 20 % of the rows, every hospital holds at least two rows.

    Raises:
        ParameterError: too few rows for so many hospitals, or a class with a single row.
    """
    if type(clients) is not int or clients < 2:
        raise ParameterError(f"{clients!r} hospitals; at least 2 are needed")
    if skew is not None and not 0 < skew < math.inf:
        raise ParameterError(f"skew is {skew!r}; it must be positive, or None for similar hospitals")
    counts = np.bincount(table.y, minlength=len(table.classes))
    if counts.min() < 2:
        name = table.classes[int(counts.argmin())]
        raise ParameterError(f"class {name!r} has {counts.min()} row; at least 2 are needed for a stratified split")
    test, train = _stratified(table.y, seed)
    if train.size < MIN_ROWS * clients:
        raise ParameterError(
            f"{train.size} rows are left for training, too few for {clients} hospitals with {MIN_ROWS} rows each: at "
            f"most {train.size // MIN_ROWS} hospitals are possible"
        )
    parts = _even(train, clients, seed) if skew is None else _skewed(table.y, train, clients, seed, skew)
    sites = tuple(Site(table.x[part].copy(), table.y[part].copy()) for part in parts)
    return Federation(table, sites, table.x[test].copy(), table.y[test].copy())


def _stratified(y: NDArray[np.int64], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Held-out rows, a fifth of every class to within one row, and the others in random order."""
    counts = np.bincount(y)
    held_out = np.clip(_sizes(math.ceil(TEST_SHARE * y.size), counts.astype(np.float64)), 1, counts - 1)
    test: list[NDArray[np.intp]] = []
    train: list[NDArray[np.intp]] = []
    for label, share in enumerate(held_out.tolist()):
        rows = np.flatnonzero(y == label)
        rows = rows[_order(rows.size, "split", seed, label)]
        test.append(rows[:share])
        train.append(rows[share:])
    rest = np.concatenate(train)
    return np.sort(np.concatenate(test)), rest[_order(rest.size, "order", seed)]


def _sizes(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers that sum to `total`, as close to the shares as integers can be (largest remainders)."""
    exact = total * shares / shares.sum()
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: total - int(sizes.sum())]] += 1
    return np.asarray(sizes, dtype=np.int64)


def _even(train: NDArray[np.intp], clients: int, seed: int) -> list[NDArray[np.intp]]:
    shares = 0.5 + uniform(clients, "sizes", seed)
    sizes = MIN_ROWS + _sizes(train.size - MIN_ROWS * clients, shares)
    return np.split(train, np.cumsum(sizes)[:-1])


def _skewed(
    y: NDArray[np.int64], train: NDArray[np.intp], clients: int, seed: int, skew: float
) -> list[NDArray[np.intp]]:
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in range(int(y.max()) + 1):
        rows = train[y[train] == label]
        shares = np.array([_gamma(skew, "skew", seed, label, client) for client in range(clients)])
        cuts = np.cumsum(_sizes(rows.size, shares))[:-1]
        for client, piece in enumerate(np.split(rows, cuts)):
            parts[client].extend(map(int, piece))
    for part in parts:  # the largest hospital hands rows to those that were left with too few
        while len(part) < MIN_ROWS:
            part.append(max(parts, key=len).pop())
    return [np.array(part, dtype=np.intp) for part in parts]


def _gamma(shape: float, *labels: object) -> float:
    """One Gamma(shape, 1) number (Marsaglia and Tsang, ACM TOMS 26(3), 2000), never 0."""

    def numbers() -> Iterator[float]:
        for block in range(1 << 20):
            yield from uniform(16, *labels, block).tolist()

    source = numbers()
    boost = 1.0
    if shape < 1:
        boost = next(source) ** (1 / shape)
        shape += 1
    d = shape - 1 / 3
    c = 1 / math.sqrt(9 * d)
    normal = NormalDist()
    while True:
        z = normal.inv_cdf(next(source))
        v = (1 + c * z) ** 3
        if v > 0 and math.log(next(source)) < z * z / 2 + d - d * v + d * math.log(v):
            return max(d * v * boost, 1e-300)

"""Tables, splits and partitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from privcomp.demo.data import MIN_ROWS, Table, federate, load, load_csv, load_ranges
from privcomp.errors import ParameterError


@pytest.fixture(scope="module")
def cancer() -> Table:
    return load("breast-cancer")


def test_bundled_tables_lie_within_their_public_ranges(cancer: Table) -> None:
    for table in (cancer, load("digits")):
        assert table.ranges is not None
        assert len(table.ranges) == len(table.features) == table.x.shape[1]
        low, high = np.array(table.ranges).T
        assert (table.x >= low).all()
        assert (table.x <= high).all()
    assert cancer.malignant == 0
    assert cancer.classes == ("malignant", "benign")


@pytest.mark.parametrize("skew", [None, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("clients", [2, 50, 227])
def test_a_federation_is_a_stratified_partition(cancer: Table, clients: int, skew: float | None) -> None:
    split = federate(cancer, clients, 3, skew=skew)
    assert len(split.sites) == clients
    assert min(site.rows for site in split.sites) >= MIN_ROWS
    assert split.test_y.size == 114
    assert np.bincount(split.test_y).tolist() in ([42, 72], [43, 71])
    every = np.concatenate([site.x for site in split.sites] + [split.test_x])
    assert np.array_equal(np.unique(every, axis=0), np.unique(cancer.x, axis=0))
    assert every.shape == cancer.x.shape


def test_the_seed_decides_and_nothing_else(cancer: Table) -> None:
    a, b, c = (federate(cancer, 20, seed, skew=0.5) for seed in (1, 1, 2))
    assert all(np.array_equal(s.x, t.x) for s, t in zip(a.sites, b.sites, strict=True))
    assert not np.array_equal(a.test_x, c.test_x)


def test_sizes_are_uneven_and_skew_skews(cancer: Table) -> None:
    even, skewed = federate(cancer, 20, 0), federate(cancer, 20, 0, skew=0.2)
    assert len({site.rows for site in even.sites}) > 5

    def spread(sites: tuple[object, ...]) -> float:
        return float(np.std([site.y.mean() for site in sites]))  # type: ignore[attr-defined]

    assert spread(skewed.sites) > 2 * spread(even.sites)


def test_a_site_does_not_print_its_rows(cancer: Table) -> None:
    assert repr(federate(cancer, 5, 0).sites[0]) == "Site()"


@pytest.mark.parametrize(
    ("clients", "skew"), [(228, None), (1, None), (0, None), (5, 0.0), (5, -1.0), (5, float("nan"))]
)
def test_impossible_federations_are_refused(cancer: Table, clients: int, skew: float | None) -> None:
    with pytest.raises(ParameterError):
        federate(cancer, clients, 0, skew=skew)


def test_unknown_source_is_refused() -> None:
    with pytest.raises(ParameterError, match="allowed: breast-cancer, digits"):
        load("iris")


# -------------------------------------------------------------------------------------------------------------- CSV

GOOD = "age,stage,Outcome\n" + "".join(f"{40 + i},{i % 5},{'malignant' if i % 2 else 'benign'}\n" for i in range(40))


def write(path: Path, text: str | bytes) -> Path:
    file = path / "table.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_csv(tmp_path: Path) -> None:
    table = load_csv(write(tmp_path, "\ufeff" + GOOD + "\n\n"), "Outcome")
    assert table.features == ("age", "stage")
    assert table.classes == ("benign", "malignant")
    assert table.malignant == 1
    assert table.x.shape == (40, 2)
    assert table.ranges is None
    assert table.x[3].tolist() == [43.0, 3.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("Outcome", "Result"), "no column 'Outcome'; its columns are: age, stage, Result"),
        (GOOD.replace("47,", "n/a,"), "line 9, column 'age': 'n/a' is no number"),
        (GOOD.replace("47,", ","), "line 9, column 'age': '' is no number"),
        (GOOD.replace("47,", "nan,"), "line 9, column 'age': NaN"),
        (GOOD.replace("47,", "inf,"), "line 9, column 'age': NaN, infinite"),
        (GOOD.replace("47,", "1e30,"), "beyond 2\\^63"),
        (GOOD.replace("malignant", "benign"), "every row has the label 'benign'"),
        (GOOD.replace("47,2,malignant", "47,2,"), "line 9: the label is empty"),
        (GOOD.replace("47,2,malignant", "47,2"), "line 9: 2 cells; the header has 3"),
        (GOOD.replace("age,stage", "age,age"), "two columns have one name"),
        ("Outcome\na\nb\n", "label column only"),
        ("age,Outcome\n", "1 lines; a header line and rows"),
        ("", "0 lines"),
        (b"\xff\xfe\x00", "cannot be read"),
        ('age,Outcome\n"1,a\n', "cannot be read"),
    ],
)
def test_bad_csv_is_refused_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        load_csv(write(tmp_path, text), "Outcome")


def test_missing_csv_and_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cannot be read"):
        load_csv(tmp_path / "none.csv", "Outcome")
    table = load_csv(write(tmp_path, GOOD), "Outcome")
    with pytest.raises(ParameterError, match=r"32 rows are left for training, too few for 50 hospitals.*at most 16"):
        federate(table, 50, 0)
    lone = load_csv(write(tmp_path, GOOD + "1,1,unclear\n"), "Outcome")
    with pytest.raises(ParameterError, match="class 'unclear' has 1 row"):
        federate(lone, 2, 0)


def test_ranges_of_a_csv(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    ranges = tmp_path / "ranges.json"
    ranges.write_text('{"table": {"ranges": {"age": [0, 120], "*": [0, 4]}}}')
    assert load_csv(file, "Outcome", ranges=ranges).ranges == ((0.0, 120.0), (0.0, 4.0))
    ranges.write_text('{"table": {"ranges": {"age": [0, 120]}}}')
    with pytest.raises(ParameterError, match="no range for 'stage'"):
        load_csv(file, "Outcome", ranges=ranges)
    ranges.write_text('{"other": {"ranges": {"*": [0, 120]}}}')
    with pytest.raises(ParameterError, match="no ranges for 'table'"):
        load_csv(file, "Outcome", ranges=ranges)
    with pytest.raises(ParameterError, match="no ranges for 'digits'"):
        load("digits", ranges=ranges)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": {}}',
        '{"a": {"ranges": {"x": [1]}}}',
        '{"a": {"ranges": {"x": [1, 0]}}}',
        '{"a": {"ranges": {"x": [0, NaN]}}}',
        '{"a": {"ranges": {"x": [0, 1e300]}}}',
        '{"a": {"ranges": []}}',
    ],
)
def test_bad_ranges_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ranges.json"
    file.write_text(text)
    with pytest.raises(ParameterError):
        load_ranges(file)
    with pytest.raises(ParameterError):
        load_ranges(tmp_path / "none.json")

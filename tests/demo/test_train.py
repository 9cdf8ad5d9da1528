"""The whole job over a secure sum without the security (the protocols have their own tests)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.demo import DemoOptions, Progress, Report, run_demo
from privcomp.demo.train import PURPOSES, SecureResult, Updates, largest_difference, load_federation
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError, RoundAborted
from tests.demo.plain import PlainSum

KEYS = {
    "accuracy",
    "precision",
    "recall",
    "malignant_recall",
    "single_site_accuracy",
    "pooled_accuracy",
    "plain_accuracy",
    "integer_difference",
    "max_difference",
    "quantisation_bound",
    "bytes_per_client",
    "rounds",
    "clients",
    "ledger",
}


def run(seed: int = 0, **options: Any) -> Report:
    chosen = DemoOptions(seed=seed, **options)
    return run_demo(chosen, PlainSum(chosen.clients, seed=seed))


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, PlainSum, list[Progress]]:
    folder = tmp_path_factory.mktemp("demo")
    options = DemoOptions(figure=folder / "curves.png", ledger=folder / "ledger")
    plain, steps = PlainSum(50), list[Progress]()
    return run_demo(options, plain, steps.append), plain, steps


def check(report: Report) -> None:
    assert report.integer_difference == 0
    assert report.clipped == 0
    assert report.within_bounds
    assert report.max_difference <= report.quantisation_bound <= 1e-3
    assert abs(report.private.accuracy - report.plain.accuracy) <= 0.01
    assert report.private.accuracy > report.single_site.accuracy


def test_fifty_hospitals_train_a_cancer_classifier(cancer: tuple[Report, PlainSum, list[Progress]]) -> None:
    report, _, _ = cancer
    check(report)
    assert report.private.accuracy >= 0.95
    assert report.private.precision >= 0.94
    assert report.private.recall >= 0.96
    assert all(len(r.survivors) <= 45 for r in report.round_reports)


def test_rounds_purposes_and_models(cancer: tuple[Report, PlainSum, list[Progress]]) -> None:
    report, plain, steps = cancer
    assert [purpose for purpose, _, _ in plain.calls] == ["statistics"] + ["training"] * 16
    assert {purpose for purpose, _, _ in plain.calls} <= set(PURPOSES)
    assert len({model for _, model, _ in plain.calls}) == len(plain.calls)
    assert [(s.purpose, s.index, s.total) for s in steps[:2]] == [("statistics", 1, 1), ("training", 1, 16)]
    assert steps[0].accuracy is None
    assert steps[-1].accuracy == report.private.accuracy
    assert [r.survivors for r in report.round_reports] == plain.asked
    assert plain.calls[0][2].modulus_bits == 64
    assert plain.calls[1][2].modulus_bits == 40


def test_report_as_json_text_and_picture(cancer: tuple[Report, PlainSum, list[Progress]]) -> None:
    report, _, _ = cancer
    content = json.loads(report.json())
    assert content.keys() >= KEYS
    assert content["clients"] == 50
    assert content["rounds"] == 16
    assert content["integer_difference"] == 0
    text = report.text()
    assert "malignant recall" in text
    assert "private (this run)" in text
    assert max(map(len, text.splitlines())) < 200
    assert report.figure is not None
    assert Path(report.figure).read_bytes().startswith(b"\x89PNG")


def test_a_hospital_that_is_lost_is_never_computed() -> None:
    """Losses before masking cost nothing and leave nothing: the comparison uses the survivors' updates only."""

    class Counting(PlainSum):
        def __call__(self, *, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
            seen: list[int] = []

            def counted(hospital: int) -> tuple[np.ndarray, int]:
                seen.append(hospital)
                return updates(hospital)

            result = super().__call__(purpose=purpose, model=model, encoding=encoding, updates=counted)
            assert sorted(seen) == list(result.survivors)
            assert result.decoded.total_weight == sum(updates(i)[1] for i in result.survivors)
            return result

    check(run_demo(DemoOptions(clients=12, rounds=2), Counting(12, loss=0.3)))


def test_same_seed_same_run() -> None:
    a, b, c = (run(seed, clients=10, rounds=3) for seed in (5, 5, 6))
    assert a.private == b.private
    assert a.curve == b.curve
    assert [r.difference for r in a.round_reports] == [r.difference for r in b.round_reports]
    assert [r.difference for r in a.round_reports] != [r.difference for r in c.round_reports]


def test_label_skew() -> None:
    report = run(skew=0.3)
    check(report)
    assert report.private.accuracy >= 0.95
    assert "label skew 0.3" in report.text()


def test_digits() -> None:
    report = run(data="digits", clients=20, rounds=8)
    check(report)
    assert report.private.accuracy > 0.9
    assert report.private.malignant_recall is None
    assert json.loads(report.json())["malignant_recall"] is None


def write_table(path: Path) -> Path:
    """Features of very different size, one constant, one negative."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 4)) * [1e-6, 1e9, 1.0, 3.0] + y[:, None] * [2e-6, 2e9, 0.0, -7.0]
    lines = [",".join(map(repr, row)) + f",7,{'abc'[label]}" for row, label in zip(x.tolist(), y, strict=True)]
    file = path / "user.csv"
    file.write_text("tiny,huge,noise,negative,constant,kind\n" + "\n".join(lines) + "\n")
    return file


def test_csv_with_scales_from_a_secure_sum(tmp_path: Path) -> None:
    file = write_table(tmp_path)
    options = DemoOptions(csv=file, label="kind", clients=10, rounds=4)
    plain = PlainSum(10)
    report = run_demo(options, plain)
    check(report)
    assert [r.purpose for r in report.round_reports[:3]] == ["scales", "statistics", "training"]
    assert report.round_reports[0].difference == 0
    assert report.private.accuracy > 0.9
    ranges = tmp_path / "ranges.json"
    ranges.write_text('{"user": {"ranges": {"tiny": [0, 1e-5], "huge": [-1e10, 1e10], "*": [-32, 32]}}}')
    again = run_demo(DemoOptions(csv=file, label="kind", ranges=ranges, clients=10, rounds=4), PlainSum(10))
    check(again)
    assert again.round_reports[0].purpose == "statistics"


def test_weights_are_capped_at_the_public_limit() -> None:
    options = DemoOptions(clients=3, rounds=1, max_weight=100)
    assert all(site.rows > 100 for site in load_federation(options).sites)
    report = run_demo(options, PlainSum(3, loss=0.0))
    assert report.round_reports[0].total_weight == 300


def test_an_aborted_round_ends_the_run() -> None:
    def abort(*, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
        raise RoundAborted(None, "unmask", "too few hospitals answered")

    with pytest.raises(RoundAborted):
        run_demo(DemoOptions(clients=5, rounds=1), abort)


def test_a_wrong_secure_sum_shows_in_the_report() -> None:
    class Wrong(PlainSum):
        def __call__(self, **arguments: Any) -> SecureResult:
            result = super().__call__(**arguments)
            result.integer_sum[3] += 7
            return result

    assert run_demo(DemoOptions(clients=5, rounds=1), Wrong(5)).integer_difference == 7


def test_difference_of_integers_does_not_wrap() -> None:
    low, high = np.array([-(1 << 63), 5]), np.array([(1 << 63) - 1, 4])
    assert largest_difference(low, high) == largest_difference(high, low) == (1 << 64) - 1
    with pytest.raises(ParameterError):
        largest_difference(low, high[:1])


@pytest.mark.parametrize(
    "bad",
    [
        {"clients": 1},
        {"clients": 2.0},
        {"rounds": 0},
        {"rounds": 1001},
        {"csv": Path("x.csv")},
        {"label": "kind"},
        {"max_weight": 0},
    ],
)
def test_bad_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        DemoOptions(**bad)


@pytest.mark.assurance
def test_mean_over_ten_seeds() -> None:
    reports = [run(seed) for seed in range(1, 11)]
    for report in reports:
        check(report)
    assert np.mean([r.private.accuracy for r in reports]) >= 0.95
    assert np.mean([r.private.precision for r in reports]) >= 0.94
    assert np.mean([r.private.recall for r in reports]) >= 0.96

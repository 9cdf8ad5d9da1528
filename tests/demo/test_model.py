"""Logistic regression, its scores, and the statistics that it stands on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, precision_score, recall_score

from privcomp.demo import moments
from privcomp.demo.baselines import plain_average
from privcomp.demo.data import Site, federate, load
from privcomp.demo.metrics import Scores, mean_scores, score
from privcomp.demo.model import Standardiser, Training, class_weights, descend, initial, predict
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from tests.demo.plain import coins


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_training_converges_to_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    y = rng.integers(0, classes, 300)
    z = rng.normal(size=(300, 4)) + np.eye(classes, 4)[y]
    got = descend(initial(4, classes), z, y, np.ones(classes), Training(steps=4000, rate=0.5, l2=0.01))
    peer = LogisticRegression(C=1 / (300 * 0.01), tol=1e-10, max_iter=10_000).fit(z, y)
    assert np.allclose(got["weight"].T, peer.coef_, atol=1e-4)
    assert np.array_equal(predict(got, z), peer.predict(z))


def test_training_is_deterministic_and_leaves_its_inputs_alone() -> None:
    start = {"weight": np.full((3, 1), 0.1), "bias": np.zeros(1)}
    z, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
    a, b = (descend(start, z, y, np.ones(2), Training()) for _ in range(2))
    assert np.array_equal(a["weight"], b["weight"])
    assert start["weight"].tolist() == [[0.1]] * 3
    assert not np.array_equal(a["weight"], start["weight"])


def test_large_logits_do_not_overflow() -> None:
    z = np.array([[1e6], [-1e6]])
    with np.errstate(all="raise", under="ignore"):
        for classes in (2, 3):
            got = descend(initial(1, classes), z, np.array([1, 0]), np.ones(classes), Training(steps=5, rate=10))
            assert predict(got, z).tolist() == [1, 0]


def test_class_weights_are_square_roots_of_balanced_weights() -> None:
    weights = class_weights(np.array([10.0, 40.0]))
    assert weights**2 == pytest.approx([50 / 20, 50 / 80])
    assert np.isfinite(class_weights(np.array([0.0, 5.0]))).all()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 1.5}, {"rate": 0.0}, {"rate": float("nan")}, {"l2": -1.0}])
def test_bad_training_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        Training(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_agree_with_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, classes, 100), rng.integers(0, classes, 100)
    got = score(truth, predicted, classes, 1)
    assert got.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert got.precision == pytest.approx(precision_score(truth, predicted, average="macro"))
    assert got.recall == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert got.malignant_recall == pytest.approx(recall_score(truth, predicted, average=None)[1])
    assert np.sum(got.confusion) == 100


def test_scores_of_a_model_that_predicts_one_class() -> None:
    got = score(np.array([0, 1, 1, 1]), np.array([1, 1, 1, 1]), 2, 0)
    assert got == Scores(0.75, 0.375, 0.5, 0.0, ((0, 1), (0, 3)))
    assert mean_scores([got, Scores(0.25, 0.125, 0.5, 1.0)]) == Scores(0.5, 0.25, 0.5, 0.5)
    for bad in (np.array([], dtype=np.int64), np.array([1])):
        with pytest.raises(ParameterError):
            score(bad, np.array([], dtype=np.int64), 2, None)
    with pytest.raises(ParameterError):
        mean_scores([])
    with pytest.raises(ParameterError):
        plain_average([])


# --------------------------------------------------------------------------------------------------------- moments


def statistics(sites: tuple[Site, ...], exponents: np.ndarray, encoding: FixedPoint) -> tuple[Standardiser, np.ndarray]:
    total = sum(
        (
            encoding.encode(moments.local_statistics(site, exponents, 2), site.rows, rng=coins(i))
            for i, site in enumerate(sites)
        ),
        np.zeros(encoding.length, dtype=np.int64),
    )
    decoded = encoding.decode(total, len(sites))
    assert decoded.clipped == 0
    return moments.decode_statistics(decoded.mean, exponents, decoded.quantisation_bound, decoded.total_weight)


def test_every_variance_is_right_at_48_bits_and_wrong_in_a_common_16_bit_scale() -> None:
    table = load("breast-cancer")
    sites = federate(table, 50, 0).sites
    x, y = np.concatenate([s.x for s in sites]), np.concatenate([s.y for s in sites])
    assert table.ranges is not None
    exponents = moments.exponents_from_ranges(table.ranges)
    encoding = moments.statistics_encoding(30, 2, 50, 1024)
    assert (encoding.bits, encoding.modulus_bits) == (48, 64)
    got, counts = statistics(sites, exponents, encoding)
    assert counts.tolist() == np.bincount(y).tolist()
    assert np.abs(got.mean / x.mean(axis=0) - 1).max() < 1e-8
    assert np.abs(got.scale / x.std(axis=0) - 1).max() < 1e-6

    common = np.full(30, exponents.max())
    coarse = FixedPoint(16, 2.0**-14, "exact", 1024, 50, 62)
    wrong, _ = statistics(sites, common, coarse)
    assert (np.abs(wrong.scale / x.std(axis=0) - 1) > 0.05).sum() >= 28


def test_constant_features_keep_a_scale_of_one() -> None:
    rows = np.array([[3.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
    sites = (Site(rows, np.array([0, 1])), Site(rows + np.array([0.0, 0.0, 4.0]), np.array([1, 1])))
    exponents = np.array([2, 0, 3])
    got, counts = statistics(sites, exponents, moments.statistics_encoding(3, 2, 2, 8))
    assert got.scale[:2].tolist() == [1.0, 1.0]
    assert got.mean == pytest.approx([3.0, 0.0, 3.5])
    assert got.scale[2] == pytest.approx(np.std([1, 2, 5, 6]))
    assert counts.tolist() == [1.0, 3.0]


def test_exponents_from_ranges() -> None:
    ranges = ((0.0, 1.0), (0.0, 1.0001), (-64.0, 3.0), (0.0, 0.2))
    assert moments.exponents_from_ranges(ranges).tolist() == [0, 1, 6, -2]


def test_exponents_by_a_secure_sum_of_one_hot_vectors() -> None:
    sites = (
        Site(np.array([[0.0, -5.0, 1e-30], [0.0, 3.0, 0.0]]), np.array([0, 1])),
        Site(np.array([[0.0, 8.0, 1e-3], [0.0, 0.1, 0.0]]), np.array([0, 1])),
        Site(np.array([[0.0, 1.0, 0.0], [0.0, 0.1, 0.0]]), np.array([0, 1])),
    )
    encoding = moments.exponent_encoding(3, 3)
    assert encoding.modulus_bits == 8
    total = sum((encoding.encode(moments.local_exponents(s), 1) for s in sites), np.zeros(encoding.length, np.int64))
    exponents = moments.decode_exponents(encoding.decode(total, 3))
    assert exponents.tolist() == [-64, 4, -9]
    top = np.max([np.abs(s.x).max(axis=0) for s in sites], axis=0)
    assert (top < 2.0**exponents).all()


def test_bits_are_given_up_for_many_rows_and_refused_below_32() -> None:
    assert moments.statistics_encoding(3, 2, 64, 1024).bits == 48
    assert moments.statistics_encoding(3, 2, 65, 1024).bits == 47
    assert moments.statistics_encoding(3, 2, 1000, 1 << 20).modulus_bits <= 64
    with pytest.raises(ParameterError, match="lower the largest weight"):
        moments.statistics_encoding(3, 2, 1 << 16, 1 << 20)

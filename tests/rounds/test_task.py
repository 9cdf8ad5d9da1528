"""Tasks: named arrays and metrics to vectors and back, and what a node refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from privcomp.encoding import FixedPoint, model_bytes, parse_model
from privcomp.errors import CodecError, EncodingError, ParameterError
from privcomp.rounds import RoundSpec, Task

RNG = np.random.default_rng(3)
MODEL: dict[str, Any] = {
    "w": RNG.normal(size=(3, 4)).astype(np.float32),
    "bn.num_batches_tracked": np.array([7], dtype=np.int64),
    "b": RNG.normal(size=2),
}
TASK = Task("update", metrics=(("loss", 0.0, 8.0), ("accuracy", 0.0, 1.0)), kept=("*.num_batches_tracked",))


def trained(step: float) -> dict[str, Any]:
    return {name: array + array.dtype.type(step) for name, array in MODEL.items()}


def encoding(task: Task = TASK, **options: Any) -> FixedPoint:
    return task.encoding(MODEL, **{"clients": 10, "clip": 1.0, "max_weight": 100, **options})


def test_weighted_mean_of_models_and_metrics() -> None:
    code, sites = encoding(), [(0.25, 10, 2.0, 0.5), (-0.5, 30, 4.0, 1.0), (0.75, 1, 0.0, 0.0)]
    total = np.zeros(code.length, dtype=np.int64)
    for step, weight, loss, accuracy in sites:
        values = TASK.values(MODEL, trained(step), {"loss": loss, "accuracy": accuracy, "own": 3}, code)
        total += code.encode(values, weight)
    decoded = code.decode(total, len(sites))
    arrays, metrics = TASK.result(MODEL, decoded, code)
    weights = np.array([w for _, w, _, _ in sites])
    mean = lambda k: float(np.average([s[k] for s in sites], weights=weights))  # noqa: E731
    bound = decoded.quantisation_bound
    assert list(arrays) == list(MODEL)
    assert {n: (a.dtype, a.shape) for n, a in arrays.items()} == {n: (a.dtype, a.shape) for n, a in MODEL.items()}
    assert np.abs(arrays["w"] - MODEL["w"] - mean(0)).max() < bound + 1e-6
    assert np.abs(arrays["b"] - MODEL["b"] - mean(0)).max() < bound + 1e-12
    assert arrays["bn.num_batches_tracked"] == MODEL["bn.num_batches_tracked"]
    assert metrics == pytest.approx({"loss": mean(2), "accuracy": mean(3)}, abs=8 * bound)


def test_a_perfect_round_of_extremes() -> None:
    code = encoding()
    values = TASK.values(MODEL, trained(0), {"loss": 8.0, "accuracy": 0}, code)
    assert values[-2:].tolist() == [code.clip_limit, -code.clip_limit]
    decoded = code.decode(code.encode(values, 5), 1)
    assert decoded.clipped == 0
    assert TASK.result(MODEL, decoded, code)[1] == {"loss": 8.0, "accuracy": 0.0}


def test_evaluation_is_another_request_on_the_same_arrays() -> None:
    evaluation = Task("metrics", metrics=(("loss", 0.0, 8.0),))
    assert (evaluation.purpose, TASK.purpose) == ("evaluation", "training")
    question = evaluation.request(MODEL)
    assert question != TASK.request(MODEL)
    # Other metrics, the same request: a node counts both as one evaluation of this model.
    assert question == Task("metrics", metrics=(("accuracy", 0.0, 1.0),)).request(MODEL)
    assert list(evaluation.parse(question)) == list(MODEL)
    for wrong, data in ((TASK, question), (evaluation, TASK.request(MODEL))):
        with pytest.raises(CodecError, match="mixes training and evaluation"):
            wrong.parse(data)
    code = encoding(evaluation)
    assert evaluation.entries(MODEL) == 1
    values = evaluation.values(MODEL, {}, {"loss": 3.0}, code)
    arrays, metrics = evaluation.result(MODEL, code.decode(code.encode(values, 4), 1), code)
    assert metrics == pytest.approx({"loss": 3.0}, abs=1e-3)
    assert all(np.array_equal(arrays[name], MODEL[name]) for name in MODEL)
    assert list(parse_model(question)) == [*MODEL, "privcomp:evaluation"]


def test_what_a_task_binds_changes_the_round_but_not_the_request() -> None:
    bound = Task(TASK.kind, TASK.metrics, TASK.kept, bytes(range(32)))
    assert bound.request(MODEL) == TASK.request(MODEL)  # rule 6 counts the model, whatever else the nodes are told
    specs = [RoundSpec.secure_sum(encoding(task), task, adversary="semi_honest") for task in (TASK, bound)]
    assert specs[0].aggregation.context != specs[1].aggregation.context
    assert RoundSpec.of_params(specs[1].aggregation).task == bound
    with pytest.raises(ParameterError, match="binding"):
        Task(TASK.kind, TASK.metrics, TASK.kept, bytes(33)).to_bytes()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"w": None}, "missing \\['w'\\]"),
        ({"extra": np.zeros(2)}, "'extra'"),
        ({"w": np.zeros((4, 3), np.float32)}, "shape"),
        ({"w": np.zeros((3, 4))}, "float64"),
        ({"b": np.zeros(2, np.int64)}, "int64"),
    ],
)
def test_another_model_comes_back(change: dict[str, Any], match: str) -> None:
    new = {name: array for name, array in {**trained(0.1), **change}.items() if array is not None}
    with pytest.raises(EncodingError, match=match):
        TASK.values(MODEL, new, {"loss": 1, "accuracy": 1}, encoding())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_in_an_update(bad: float) -> None:
    new = trained(0.0)
    new["w"][1, 1] = bad
    code = encoding()
    with pytest.raises(EncodingError):
        code.encode(TASK.values(MODEL, new, {"loss": 1, "accuracy": 1}, code), 1)


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        ({"loss": 1.0}, "'accuracy', which this node did not return"),
        ({"loss": float("nan"), "accuracy": 0.5}, "is not finite"),
        ({"loss": 10**400, "accuracy": 0.5}, "is not finite"),
        ({"loss": float("-inf"), "accuracy": 0.5}, "is not finite"),
        ({"loss": "1", "accuracy": 0.5}, "must be a number"),
        ({"loss": True, "accuracy": 0.5}, "must be a number"),
    ],
)
def test_bad_metrics(metrics: dict[str, Any], match: str) -> None:
    with pytest.raises(EncodingError, match=match):
        TASK.values(MODEL, trained(0.1), metrics, encoding())


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (Task("update", (("loss", 0.0, high),), TASK.kept), {"max_weight": limit, "clip": clip})
        for high in (1e-300, 1.0, 3.19, 3.2, 1e300)
        for limit in (1, 210, 211, 212)
        for clip in (2.0**-200, 0.01, 1.0)
    ],
)
def test_no_refusal_tells_which_side_of_a_servers_bound_a_value_is_on(task: Task, options: dict[str, Any]) -> None:
    """A server that moves the range of a metric, the largest weight or the clip gets an upload whatever it chooses."""
    code = encoding(task, **options)
    values = task.values(MODEL, trained(0.5), {"loss": 3.193}, code)
    vector = code.encode(values, task.weight(211, code))
    assert vector[-2] == min(211, code.max_weight)
    decoded = code.decode(vector, 1)
    beyond_range, beyond_clip = task.metrics[0][2] < 3.193, code.clip_limit < 0.5
    assert (decoded.clipped == 0) == (not beyond_range and not beyond_clip)
    assert task.result(MODEL, decoded, code)[1]["loss"] <= task.metrics[0][2] * (1 + 1e-9)


@pytest.mark.parametrize("weight", [0, -1, 1.5, "7", None, True, float("nan")])
def test_bad_weights(weight: Any) -> None:
    with pytest.raises(EncodingError, match="whole number"):
        TASK.weight(weight, encoding())
    assert TASK.weight(7.0, encoding()) == TASK.weight(np.int64(7), encoding()) == 7


def test_integer_arrays_must_be_kept() -> None:
    with pytest.raises(EncodingError, match="name it in `kept`"):
        Task("update").entries(MODEL)
    with pytest.raises(ParameterError, match=r"no array 'x\*' to keep"):
        Task("update", kept=("x*",)).entries(MODEL)
    with pytest.raises(ParameterError, match="nothing is left"):
        Task("update", kept=("*",)).entries(MODEL)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "gradient"},
        {"kind": "metrics"},
        {"kind": "update", "metrics": (("a", 0.0, 1.0), ("a", 0.0, 2.0))},
        {"kind": "update", "metrics": (("a", 1.0, 1.0),)},
        {"kind": "update", "metrics": (("a", float("nan"), 1.0),)},
        {"kind": "update", "metrics": (("a", -1e308, 1e308),)},
        {"kind": "update", "kept": ("a", "a")},
        {"kind": "update", "metrics": (("a", 0.0),)},
        {"kind": "update", "metrics": (("a", "low", "high"),)},
    ],
)
def test_bad_tasks(arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Task(**arguments)


def test_whole_numbers_are_ranges_too() -> None:
    task = Task("update", metrics=(("loss", 0, 8),))
    assert Task.from_bytes(task.to_bytes(), max_bytes=1 << 12) == task


def test_a_reserved_name() -> None:
    with pytest.raises(ParameterError, match="reserved"):
        TASK.request({"privcomp:evaluation": np.zeros(1)})


def test_another_models_encoding() -> None:
    with pytest.raises(EncodingError, match="another model"):
        TASK.values(MODEL, trained(0.1), {"loss": 1, "accuracy": 1}, encoding(Task("update", kept=TASK.kept)))


def test_the_task_is_bound() -> None:
    """Every field of the task changes what the parameters bind, and comes back from them."""
    code = encoding()
    tasks = [
        None,
        TASK,
        Task("update", TASK.metrics, ("bn.*",)),
        Task("update", (("loss", 0.0, 8.0), ("accuracy", 0.0, 2.0)), TASK.kept),
        Task("metrics", TASK.metrics, TASK.kept),
    ]
    specs = [RoundSpec.secure_sum(code, task) for task in tasks]
    assert len({spec.aggregation.context for spec in specs}) == len(specs)
    for spec in specs:
        assert RoundSpec.of_params(spec.aggregation) == spec
    for a, b in itertools.permutations(specs, 2):
        with pytest.raises(ParameterError, match="does not bind"):
            RoundSpec(code, a.aggregation, b.task)


@pytest.mark.parametrize(
    "marked",
    [
        {**MODEL, "privcomp:evaluation": np.ones(1, np.uint8)},
        {**MODEL, "privcomp:evaluation": np.empty(0, np.float32)},
        {**MODEL, "privcomp:evaluation": np.empty((0, 2), np.uint8)},
        {"privcomp:evaluation": np.empty(0, np.uint8), **MODEL},
    ],
)
def test_one_spelling_of_the_mark(marked: dict[str, Any]) -> None:
    """Otherwise a server has as many evaluation requests on one and the same model as it likes (rule 6)."""
    with pytest.raises(CodecError, match="not the empty array at its end"):
        Task("metrics", metrics=(("loss", 0.0, 8.0),)).parse(model_bytes(marked))

"""Differential privacy under Flower: rounds with a plan, and the mod that noises alone. Nothing clear leaves a node."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import strategy as flower
from flwr.supercore.task_identity import TaskIdentity

from privcomp.codec import Message as Coded
from privcomp.codec import decode_any
from privcomp.dp import DistributedPlan
from privcomp.errors import LocalError, ParameterError
from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.flower import LocalDpMod
from privcomp.integrations.flower.messages import HELLO
from privcomp.integrations.flower.records import KEY, from_content
from privcomp.ledger import ABORTED, COMPLETE, Record
from privcomp.rounds import NodeBudget, RoundSpec, audit
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.secagg.context import RoundContext
from privcomp.secagg.messages import Announce
from tests.integrations.flower_federation import RUN, Federation, Node, on_the_wire

MODEL = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2, dtype=np.float64)}
EPSILON = 100.0  # four nodes hide little; here it matters that sums are close enough to be recognised
REQUIRED = f'adversary = "semi_honest"\nprivacy = "required"\nepsilon_max = {EPSILON}\n'
PLAN: dict[str, Any] = {
    "privcomp-clip": None,
    "privcomp-max-examples": None,
    "privcomp-train-metrics": None,
    "privcomp-evaluate-metrics": None,
    "privcomp-dp-epsilon": EPSILON,
    "privcomp-dp-clip-norm": 4.0,
    "privcomp-dp-rounds": 2,
}


def record(model: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in model.items()})


def start(federation: Federation, rounds: int = 1, **options: Any) -> Any:
    strategy = flower.FedAvg(min_available_nodes=3, **{"fraction_evaluate": 0.0, **options})
    with federation.secure(strategy) as grid:
        return strategy.start(grid=grid, initial_arrays=record(MODEL), num_rounds=rounds)


def records(federation: Federation) -> list[Record]:
    with ServerHome.open(federation.folder / "server") as home:
        return list(home.ledger.records())


def spent(folder: Path, adjacency: str = "zero_out") -> float:
    with NodeHome.open(folder) as home:
        return NodeBudget(home.policy, home.journal).of("user", adjacency).spent_epsilon()


def refusals(federation: Federation) -> str:
    return "\n".join(
        str(message.error.reason) for way, message, _ in federation.grid.seen if way == "in" and message.has_error()
    )


def plans(federation: Federation) -> list[DistributedPlan]:
    """The plans of the rounds that were announced, one for each node."""
    found = []
    for way, message, _ in federation.grid.seen:
        parcel = from_content(message.content) if way == "out" else None
        if parcel is not None and parcel.stage == "advertise":
            announced = RoundAnnouncement.from_bytes(parcel.items[0], max_bytes=1 << 20)
            announce = Announce.from_bytes(announced.announce, max_bytes=1 << 20)
            plan = RoundSpec.of_params(RoundContext.of(announce).params).encoding
            assert isinstance(plan, DistributedPlan)
            found.append(plan)
    return found


# ---- rounds with a plan


def test_a_run_with_a_plan_and_the_round_too_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4, PLAN, REQUIRED)
    with caplog.at_level(logging.INFO):
        result = start(federation, rounds=3)
    assert [entry.outcome for entry in records(federation)] == [COMPLETE, COMPLETE, ABORTED]
    announced = plans(federation)
    assert len(announced) == 12
    assert len(set(announced)) == 1  # frozen
    plan = announced[0]
    assert (plan.epsilon, plan.rounds, plan.min_survivors, plan.colluders) == (EPSILON, 2, 3, 0)
    # Every node counts once, whatever its number of examples is.
    updates = federation.recorder.updates
    noise = plan.sigma_local / math.sqrt(4)
    for name, array in result.arrays.items():
        mean = sum(updates[node, "train", turn][0][name] for node in range(1, 5) for turn in (1, 2)) / 4
        difference = array.numpy() - MODEL[name] - mean
        assert 0 < np.abs(difference).max() < 7 * math.sqrt(2) * noise + 1e-3
    assert [dict(metrics) for metrics in result.train_metrics_clientapp.values()] == [{}, {}]
    # The nodes refuse the third round, and do not say what they have spent.
    assert {turn for _, _, turn in updates} == {1, 2}
    assert refusals(federation).count("this node's privacy budget does not allow it") == 4
    assert "epsilon" not in refusals(federation)
    for k in range(1, 5):
        assert spent(tmp_path / str(k)) == pytest.approx(plan.epsilon_after(2), rel=1e-9)
    for text in ("the plan of this run's training rounds", "honest shares", "noise of standard deviation"):
        assert text in caplog.text
    assert f"privacy spent by this ledger: epsilon = {plan.epsilon_after(2):.4f}" in caplog.text
    assert "not sent, because no metric leaves a node in a round with noise: loss, num-examples, own" in caplog.text
    with ServerHome.open(tmp_path / "server") as home:
        key, roster = home.identity.public, home.roster
    report = audit(tmp_path / "server" / "ledger", ledger_key=key, roster=roster)
    assert report.ok
    assert any("privacy spent" in line for line in report.shown)


def test_a_node_whose_budget_is_smaller_is_not_trained(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4, PLAN, REQUIRED)
    text = (tmp_path / "4" / "policy.toml").read_text()
    (tmp_path / "4" / "policy.toml").write_text(text.replace(f"epsilon_max = {EPSILON}", "epsilon_max = 1.0"))
    start(federation)
    assert {node for node, _, _ in federation.recorder.updates} == {1, 2, 3}
    (entry,) = records(federation)
    assert entry.survivors == (b"site-1", b"site-2", b"site-3")
    assert spent(tmp_path / "4") == 0.0


def test_what_is_not_noised_is_refused_by_nodes_that_ask_for_privacy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Node 4's policy does not ask for it, and is alone with that."""
    changes = {**PLAN, "privcomp-evaluate-metrics": "loss 0 20", "privcomp-max-examples": 1000}
    federation = Federation(tmp_path, 4, changes, REQUIRED)
    (tmp_path / "4" / "policy.toml").write_text(
        (tmp_path / "4" / "policy.toml").read_text().replace('privacy = "required"', 'privacy = "any"')
    )
    with caplog.at_level(logging.WARNING):
        start(federation, fraction_evaluate=1.0)
    assert [(entry.purpose, entry.outcome) for entry in records(federation)] == [
        ("training", COMPLETE), ("evaluation", ABORTED)
    ]  # fmt: skip
    assert refusals(federation).count("a round without differential privacy") == 3
    assert {kind for _, kind, _ in federation.recorder.updates} == {"train"}
    assert "summed without noise, outside of privcomp-dp-epsilon" in caplog.text


def test_nodes_that_allow_it_evaluate_without_noise(tmp_path: Path) -> None:
    changes = {**PLAN, "privcomp-evaluate-metrics": "loss 0 20", "privcomp-max-examples": 1000}
    federation = Federation(tmp_path, 3, changes, REQUIRED.replace("required", "any"))
    result = start(federation, fraction_evaluate=1.0)
    _, metrics, _ = federation.recorder.mean(range(1, 4), "evaluate", 1)
    assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(metrics["loss"], abs=0.01)
    assert 0 < spent(tmp_path / "1") < EPSILON


def test_a_plan_is_not_changed_within_a_run(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3, PLAN, REQUIRED)
    with federation.secure(flower.FedAvg()) as grid:
        for size, match in ((5, None), (6, "a plan is not changed within a run")):
            content = RecordDict({"arrays": record({"w": np.zeros(size)}), "config": ConfigRecord({"server-round": 1})})
            batch = [Message(content, node, "train") for node in (1, 2, 3)]
            if match is None:
                (reply,) = grid.send_and_receive(batch)
                assert not reply.has_error()
            else:
                with pytest.raises(LocalError, match=match):
                    grid.send_and_receive(batch)


def test_no_clear_update_weight_or_metric_leaves_a_node_under_a_plan(tmp_path: Path) -> None:
    """Canaries, in every form that a plain run shows or an encoding could; and every message is of a known type."""
    from tests.fuzz.targets import message_classes

    pattern = np.array([0.123456789, -0.25, 0.987654321, 0.0625, 0.3333] + [0.111] * 7, np.float32).reshape(3, 4)
    weight, loss, own = 777_777, 13.371337, 987654.321

    def canary(node: int, arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        if node == 2:
            arrays["w"] = MODEL["w"] + pattern
            arrays["b"] = MODEL["b"]
            metrics.update({"num-examples": weight, "loss": loss, "own": own})

    plain, ours = Federation(tmp_path / "plain", 3), Federation(tmp_path / "ours", 3, PLAN, REQUIRED)
    for k in plain.grid.nodes:
        plain.add(k, mods=[])
    plain.recorder.change = ours.recorder.change = canary
    flower.FedAvg(min_available_nodes=3, fraction_evaluate=0).start(
        grid=plain.grid, initial_arrays=record(MODEL), num_rounds=1
    )
    start(ours)
    plan = plans(ours)[0]
    steps = np.rint(pattern.astype(np.float64) / plan.granularity)
    forms: dict[str, bytes] = {
        "trained array": (MODEL["w"] + pattern).tobytes(),
        "update": pattern.tobytes(),
        "update, float64": pattern.astype(np.float64).tobytes(),
        "in steps, i64": steps.astype("<i8").tobytes(),
        "in steps, i32": steps.astype("<i4").tobytes(),
        "weight": varint(weight),
        "weight, zigzag": varint(2 * weight),
        "weight, u32": weight.to_bytes(4, "little"),
        "loss": np.float64(loss).tobytes(),
        "own metric": np.float64(own).tobytes(),
    }
    seen = {
        name: b"".join(b"".join(data) for _, _, data in grid.seen)
        for name, grid in (("plain", plain.grid), ("ours", ours.grid))
    }
    for form in ("trained array", "weight, zigzag", "loss", "own metric"):
        assert forms[form] in seen["plain"], form
    for form, data in forms.items():
        assert data not in seen["ours"], form
    classes, kinds = message_classes(), set[type[Coded]]()
    for way, message, _ in ours.grid.seen:
        assert list(message.content) == [KEY]
        parcel = from_content(message.content)
        if not (way == "out" and parcel.stage == HELLO):
            kinds |= {type(decode_any(item, classes, max_bytes=1 << 20)) for item in parcel.items}
    assert {kind.__name__ for kind in kinds} == {
        "Claim", "RoundAnnouncement", "Advertise", "KeyList", "BundleMessage", "MaskRequest", "Extras", "UploadBlock",
        "UploadEnd", "UnmaskRequest", "UnmaskResponse",
    }  # fmt: skip


def varint(number: int) -> bytes:
    groups = [number >> shift & 127 for shift in range(0, number.bit_length(), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


# ---- a node that noises alone


class Alone:
    """One node with a mod and no secure aggregation: `train` is what it learns, `answer` what it sends."""

    def __init__(self, mod: LocalDpMod, config: dict[str, Any] | None = None) -> None:
        self.calls = 0
        self.new: Any = {}
        self.metrics: dict[str, Any] = {"num-examples": 777_777, "loss": 13.371337}
        app = ClientApp(mods=[mod])

        @app.train()
        def train(message: Message, context: Context) -> Message:
            self.calls += 1
            if isinstance(self.new, Exception):
                raise self.new
            content = {"metrics": MetricRecord(self.metrics), "note": ConfigRecord({"patient": 4711004711})}
            return Message(RecordDict({"arrays": record(self.new), **content}), reply_to=message)

        @app.evaluate()
        @app.query()
        def other(message: Message, context: Context) -> Message:
            raise AssertionError("the mod lets it through")

        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, 0
        self.node = Node(app, config or {}, {}, 1)

    def answer(self, model: Any, kind: str = "train") -> tuple[Message, bytes]:
        sent, _ = on_the_wire(Message(RecordDict({"arrays": record(model), "config": ConfigRecord({})}), 1, kind))
        reply, data = on_the_wire(self.node.answer(sent))
        return reply, b"".join(data)

    def reason(self, model: Any, kind: str = "train") -> str:
        reply, data = self.answer(model, kind)
        assert reply.has_error()
        assert b"4711004711" not in data
        return str(reply.error.reason)


def test_what_a_node_releases_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Clip, grid, noise, and nothing else: the reply is a function of the received arrays and of grid points."""
    mod = LocalDpMod(2.0, epsilon=50.0, delta=1e-5)
    alone = Alone(mod)
    size = 1 << 14
    model = {"w": np.random.default_rng(1).normal(size=size), "zero": np.zeros(size)}
    update = 1.0  # norm 2^7.5, so clipped to 2: every entry becomes 2 / 2^7.5
    alone.new = {name: array + update for name, array in model.items()}
    with caplog.at_level(logging.INFO):
        reply, data = alone.answer(model)
    arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
    step = mod.mechanism.granularity
    assert math.frexp(step)[0] == 0.5  # a power of two, so that multiples are exact
    steps = np.rint(arrays["zero"] / step)
    assert (steps * step == arrays["zero"]).all()
    again = np.rint((arrays["w"] - model["w"]) / step)
    assert (model["w"] + again * step == arrays["w"]).all()
    noise = np.concatenate([steps, again]) * step - 2.0 / math.sqrt(2 * size)
    count = noise.size
    assert abs(noise.mean()) < 6 * mod.noise_std / math.sqrt(count)
    assert abs(noise.var() / mod.noise_std**2 - 1) < 6 * math.sqrt(2 / count)
    assert len(set(steps)) > size / 2  # noise of 2^20 steps hardly ever repeats
    # one record of arrays, one constant
    assert set(reply.content) == {"arrays", "metrics"}
    assert dict(reply.content.metric_records["metrics"]) == {"num-examples": 1}
    canaries = np.float64(13.371337).tobytes(), varint(2 * 777_777), b"4711004711", b"patient"
    for clear in (*canaries, alone.new["w"].tobytes()):
        assert clear not in data
    assert "a metric of one node would be in clear: loss, num-examples" in caplog.text
    assert "nobody counts its releases" in caplog.text
    assert "epsilon = 50.0000 at delta = 1e-05 for 1 release(s)" in caplog.text
    assert alone.answer(model)[1] != data  # fresh noise


def test_local_noise_under_a_plain_strategy_and_grid(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3, policy='adversary = "semi_honest"\nepsilon_max = 256.0\n')
    mod = LocalDpMod(4.0, epsilon=100.0, delta=1e-5)
    for k in list(federation.grid.nodes):
        federation.add(k, mods=[mod])
    strategy = flower.FedAvg(min_available_nodes=3, fraction_evaluate=0)
    result = strategy.start(grid=federation.grid, initial_arrays=record(MODEL), num_rounds=1)
    for name, array in result.arrays.items():
        mean = sum(federation.recorder.updates[node, "train", 1][0][name] for node in (1, 2, 3)) / 3
        assert 0 < np.abs(array.numpy() - MODEL[name] - mean).max() < 7 * mod.noise_std / math.sqrt(3)
        assert array.numpy().dtype == MODEL[name].dtype
    assert dict(result.train_metrics_clientapp[1]) == {}
    for k in (1, 2, 3):
        # charged as the policy counts: zero in an update's place moves half as far as another update
        zeroed = mod.mechanism.curve().epsilon(1e-5)
        assert spent(tmp_path / str(k)) == pytest.approx(zeroed, rel=1e-9)
        assert zeroed < mod.curve.epsilon(1e-5)


def test_the_journal_refuses_the_release_too_many(tmp_path: Path) -> None:
    NodeHome.create(tmp_path / "home", b"alone")
    mod = LocalDpMod(1.0, epsilon=3.0, delta=1e-5, adjacency="zero_out")
    limit = mod.curve.times(2).epsilon(1e-5) * 1.001
    policy = tmp_path / "home" / "policy.toml"
    policy.write_text(f'adversary = "semi_honest"\nepsilon_max = {limit}\n')
    model = {"w": np.zeros(3, np.float32)}
    for turn in (1, 2):
        alone = Alone(mod, {"privcomp-home": str(tmp_path / "home")})  # a new process each time
        alone.new = {"w": np.array([1.0, np.nan, 0.0], np.float32)}
        before = spent(tmp_path / "home")
        assert "NaN or infinity" in alone.reason(model)
        assert spent(tmp_path / "home") == before  # what cannot be released costs nothing
        alone.new = {"w": np.ones(3, np.float32)}
        assert not alone.answer(model)[0].has_error()
        assert spent(tmp_path / "home") == pytest.approx(mod.curve.times(turn).epsilon(1e-5), rel=1e-9)
    calls = alone.calls
    assert alone.reason(model).endswith("this node's privacy budget does not allow it; the figures stay in its log")
    assert alone.calls == calls  # not even trained
    # A server that is not trusted has chosen this code, too.
    policy.write_text(policy.read_text().replace("semi_honest", "malicious"))
    assert "the server chooses the code that runs here" in alone.reason(model)


@pytest.mark.parametrize(
    ("unit", "adjacency", "doubled"),
    [("user", "zero_out", False), ("user", "replace_one", True), ("record", "zero_out", True)],
)
def test_one_home_has_one_budget_whichever_mod_releases(
    tmp_path: Path, unit: str, adjacency: str, doubled: bool
) -> None:
    """What a plan's rounds have spent, a lone release does not spend again in a budget of another adjacency."""
    NodeHome.create(tmp_path / "home", b"alone")
    mod = LocalDpMod(1.0, epsilon=3.0, delta=1e-5, adjacency="replace_one")
    cost = mod.mechanism.curve(replace_one=doubled)
    limit = cost.times(2).epsilon(1e-5) * 1.001
    (tmp_path / "home" / "policy.toml").write_text(
        f'adversary = "semi_honest"\nprivacy = "required"\nprivacy_unit = "{unit}"\n'
        f'privacy_adjacency = "{adjacency}"\nepsilon_max = {limit}\n'
    )
    with NodeHome.open(tmp_path / "home") as home:
        NodeBudget(home.policy, home.journal).charge_curve(cost, unit, adjacency)  # as a round under a plan does
    alone = Alone(mod, {"privcomp-home": str(tmp_path / "home")})
    model = {"w": np.zeros(3, np.float32)}
    alone.new = {"w": np.ones(3, np.float32)}
    assert not alone.answer(model)[0].has_error()
    assert "this node's privacy budget does not allow it" in alone.reason(model)


def test_what_a_lone_node_refuses() -> None:
    alone = Alone(LocalDpMod(1.0, epsilon=1.0, delta=1e-6, kept=["*.count"]))
    model = {"w": np.zeros((2, 2), np.float32), "bn.count": np.array(7)}
    good = {"w": np.ones((2, 2), np.float32), "bn.count": np.array(8)}
    for new, match in (
        ({**good, "w": np.full((2, 2), np.inf, np.float32)}, "NaN or infinity"),
        ({**good, "w": np.ones((2, 2))}, "'w' is float64"),
        ({**good, "w": np.ones(4, np.float32)}, "shape"),
        ({"w": good["w"]}, "other names"),
        ({**good, "more": good["w"]}, "other names"),
        (ValueError("patient 4711004711"), "the app raised ValueError"),
    ):
        alone.new = new
        assert match in alone.reason(model)
    alone.new = good
    for kind in ("evaluate", "query"):
        assert "this mod noises the updates of TRAIN" in alone.reason(model, kind)
    assert "'n' is int64" in alone.reason({**model, "n": np.array([1, 2])})
    reply, _ = alone.answer(model)
    assert reply.content.array_records["arrays"]["bn.count"].numpy() == 7
    double = Message(RecordDict({"a": record(model), "b": record(model)}), 1, "train")
    assert "2 ArrayRecords" in str(alone.node.answer(double).error.reason)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 100.0])
def test_the_noise_suffices_and_is_not_wasted(epsilon: float) -> None:
    """Against the exact curve of continuous Gaussian noise, which knows nothing of Rényi orders."""
    delta = 1e-6
    mod, half = (LocalDpMod(3.0, epsilon=epsilon, delta=delta, adjacency=name) for name in ("replace_one", "zero_out"))
    assert epsilon * 0.999 < mod.curve.epsilon(delta) <= epsilon
    assert mod.noise_std == pytest.approx(2 * half.noise_std, rel=1e-9)

    def exact(sigma: float) -> float:
        # Balle, Wang, ICML 2018, Theorem 8, for a distance of two clips
        a, b = 6.0 / (2 * sigma), epsilon * sigma / 6.0

        def phi(x: float) -> float:
            return math.erfc(-x / math.sqrt(2)) / 2

        return phi(a - b) - math.exp(epsilon) * phi(-a - b)

    assert exact(mod.noise_std) <= delta
    assert exact(mod.noise_std * 0.8) > delta


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"clipping_norm": 0.0}, "clipping_norm"),
        ({"clipping_norm": math.nan}, "clipping_norm"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": "8"}, "epsilon"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"adjacency": "add_or_remove"}, "adjacency"),
        ({"epsilon": 1e-9, "delta": 1e-12}, "more than a million clips"),
    ],
)
def test_a_target_that_makes_no_sense(arguments: dict[str, Any], match: str) -> None:
    values = {"clipping_norm": 1.0, "epsilon": 1.0, "delta": 1e-5, **arguments}
    with pytest.raises(ParameterError, match=match):
        LocalDpMod(values.pop("clipping_norm"), **values)

"""The mod and the Grid under Flower's own strategies, in one process: results, transcripts, losses, every misuse."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from privcomp.codec import Message as Coded
from privcomp.codec import decode_any
from privcomp.errors import EncodingError, LocalError, ParameterError
from privcomp.integrations import ServerHome
from privcomp.integrations.flower.messages import HELLO, Claim, Parcel
from privcomp.integrations.flower.mod import LAUNCHER
from privcomp.integrations.flower.records import KEY, from_content, raw, to_content
from privcomp.integrations.flower.settings import Settings
from privcomp.keys import Roster
from privcomp.ledger import ABORTED, COMPLETE, Record
from privcomp.rounds import audit
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.secagg.messages import STAGES
from tests.integrations.flower_federation import Federation, LoopGrid, stage_of

MODEL = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2, dtype=np.float64)}
ROUND = 2.0**-13  # 16 bits for changes up to 1, then float32
LOSS = 20 * ROUND


def record(model: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in model.items()})


def start(federation: Federation, strategy: Any = None, rounds: int = 1, model: Any = None, **options: Any) -> Any:
    if strategy is None:
        strategy = flower.FedAvg(min_available_nodes=3, fraction_evaluate=0)
    with federation.secure(strategy, **options) as grid:
        return strategy.start(grid=grid, initial_arrays=record(model or MODEL), num_rounds=rounds)


def records(federation: Federation) -> list[Record]:
    with ServerHome.open(federation.folder / "server") as home:
        return list(home.ledger.records())


def sites(nodes: Any) -> tuple[bytes, ...]:
    return tuple(f"site-{k}".encode() for k in nodes)


def check_means(federation: Federation, result: Any, rounds: int, model: Any = None) -> dict[str, Any]:
    """Every completed round's aggregate is the weighted mean over the survivors that the ledger names."""
    arrays = {name: array.astype(np.float64) for name, array in (model or MODEL).items()}
    turn = 0
    for entry in records(federation):
        turn += entry.purpose == "training"
        if entry.outcome != COMPLETE:
            continue
        nodes = [int(party.removeprefix(b"site-")) for party in entry.survivors]
        kind = "train" if entry.purpose == "training" else "evaluate"
        delta, metrics, _ = federation.recorder.mean(nodes, kind, turn)
        found = result.train_metrics_clientapp if kind == "train" else result.evaluate_metrics_clientapp
        assert found[turn] == pytest.approx(metrics, abs=LOSS)
        if kind == "train":
            arrays = {name: arrays[name] + delta[name] for name in arrays}
    assert turn == rounds
    for name, array in result.arrays.items():
        np.testing.assert_allclose(array.numpy(), arrays[name], atol=rounds * ROUND)
    return arrays


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_fedavg(tmp_path: Path, adversary: str) -> None:
    federation = Federation(tmp_path, 4, {"privcomp-adversary": adversary})
    result = start(federation, flower.FedAvg(min_available_nodes=4), rounds=2)
    check_means(federation, result, 2)
    assert [entry.purpose for entry in records(federation)] == ["training", "evaluation"] * 2
    assert {name: array.numpy().dtype for name, array in result.arrays.items()} == {
        name: array.dtype for name, array in MODEL.items()
    }
    # The strategy's own config reached every app, and the ledger stands up to its audit.
    assert federation.recorder.configs == [{"server-round": turn} for turn in (1, 1, 2, 2) for _ in range(4)]
    with ServerHome.open(tmp_path / "server") as home:
        key, roster = home.identity.public, home.roster
    assert audit(tmp_path / "server" / "ledger", ledger_key=key, roster=roster).ok


def test_secaggplus_with_ml_kem(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3, {"privcomp-protocol": "secaggplus", "privcomp-hybrid": True})
    check_means(federation, start(federation), 1)
    assert records(federation)[0].protocol == "secaggplus"


@pytest.mark.parametrize(
    "make",
    [
        lambda: flower.FedProx(min_available_nodes=3, proximal_mu=0.25),
        lambda: flower.FedAvgM(min_available_nodes=3, server_learning_rate=0.5, server_momentum=0.9),
        lambda: flower.FedAdagrad(min_available_nodes=3),
        lambda: flower.FedAdam(min_available_nodes=3),
        lambda: flower.FedYogi(min_available_nodes=3),
    ],
    ids=["FedProx", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi"],
)
def test_strategies_that_use_the_weighted_mean(tmp_path: Path, make: Any) -> None:
    """The same strategy, the same updates, with and without secure aggregation: the same model."""
    secure = Federation(tmp_path / "secure", 3)
    ours = start(secure, make(), rounds=2)
    plain = Federation(tmp_path / "plain", 3)
    for k in plain.grid.nodes:
        plain.add(k, mods=[])
    theirs = make().start(grid=plain.grid, initial_arrays=record(MODEL), num_rounds=2)
    # FedAdam and its kin divide by the size of the change, which magnifies an error of a change near 0.
    tolerance = 0.02 if "Ada" in type(make()).__name__ or "Yogi" in type(make()).__name__ else 4 * ROUND
    for name, array in theirs.arrays.items():
        np.testing.assert_allclose(ours.arrays[name].numpy(), array.numpy(), atol=tolerance)
    if isinstance(make(), flower.FedProx):
        assert {config.get("proximal-mu") for config in secure.recorder.configs} == {0.25, None}  # training, evaluation


class Mine(flower.FedAvg):
    """Somebody's own strategy."""


def own_metrics(found: list[RecordDict], weight: str) -> MetricRecord:
    return MetricRecord({"nodes": len(found)})


@pytest.mark.parametrize(
    "strategy",
    [
        flower.Krum(),
        flower.MultiKrum(),
        flower.FedMedian(),
        flower.FedTrimmedAvg(),
        flower.Bulyan(),
        flower.QFedAvg(0.1),
        flower.DifferentialPrivacyServerSideFixedClipping(flower.FedAvg(), 1.0, 1.0, 4),
        Mine(),
        flower.FedAvg(train_metrics_aggr_fn=own_metrics),
        flower.FedAvg(evaluate_metrics_aggr_fn=own_metrics),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_that_need_more_than_the_mean(tmp_path: Path, strategy: Any) -> None:
    federation = Federation(tmp_path, 3)
    with pytest.raises(LocalError, match=r"assume_weighted_mean=True"):
        federation.secure(strategy)
    federation.secure(strategy, assume_weighted_mean=True).close()


# ---- what travels


def test_every_record_is_of_a_known_type_and_shows_nothing_of_a_node(tmp_path: Path) -> None:
    """Canaries: one node's update is a striking pattern; weight and metrics are striking numbers."""
    from tests.fuzz.targets import message_classes

    pattern = np.array([0.123456789, -0.25, 0.987654321, 0.0625, 0.3333] + [0.111] * 7, np.float32).reshape(3, 4)
    weight, loss, own = 777_777, 13.371337, 987654.321

    def canary(node: int, arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        if node == 2:
            if arrays:
                arrays["w"] = MODEL["w"] + pattern
            metrics.update({"num-examples": weight, "loss": loss, "own": own})

    limits = {"privcomp-max-examples": 1_000_000}
    plain, ours = Federation(tmp_path / "plain", 3, limits), Federation(tmp_path / "ours", 3, limits)
    for k in plain.grid.nodes:
        plain.add(k, mods=[])
    plain.recorder.change = ours.recorder.change = canary
    strategy = flower.FedAvg(min_available_nodes=3)
    strategy.start(grid=plain.grid, initial_arrays=record(MODEL), num_rounds=1)
    start(ours, flower.FedAvg(min_available_nodes=3))

    roster = Roster.from_bytes((tmp_path / "ours" / "server" / "roster").read_bytes())
    spec = Settings.of(ours.config).spec(Settings.of(ours.config).task("update", b""), MODEL, roster)
    clean = spec.encoding.encode(np.concatenate([pattern.ravel().astype(float), np.zeros(2), [0.0]]), weight)[:12]
    forms: dict[str, bytes] = {
        "trained array": (MODEL["w"] + pattern).tobytes(),
        "update": pattern.tobytes(),
        "update, float64": pattern.astype(np.float64).tobytes(),
        "weight": varint(weight),
        "weight, zigzag": varint(2 * weight),
        "weight, u32": weight.to_bytes(4, "little"),
        "loss": np.float64(loss).tobytes(),
        "own metric": np.float64(own).tobytes(),
        "quantised, i64": (clean // weight).astype("<i8").tobytes(),
        "quantised, i32": (clean // weight).astype("<i4").tobytes(),
        "quantised, i16": (clean // weight).astype("<i2").tobytes(),
        "weighted, i64": clean.astype("<i8").tobytes(),
        "weighted, packed": packed(clean, spec.aggregation.segments[0].bits),
    }
    seen = {
        name: b"".join(b"".join(data) for _, _, data in grid.seen)
        for name, grid in (("plain", plain.grid), ("ours", ours.grid))
    }
    for form in ("trained array", "weight, zigzag", "loss", "own metric"):
        assert forms[form] in seen["plain"], form
    for form, data in forms.items():
        assert data not in seen["ours"], form
    kinds: set[type[Coded]] = set()
    classes = message_classes()
    for way, message, _ in ours.grid.seen:
        assert list(message.content) == [KEY]
        assert all(isinstance(found, ArrayRecord) for found in message.content.values())
        parcel = from_content(message.content)
        items = parcel.items
        if way == "out" and parcel.stage == HELLO:
            assert [len(item) for item in items] == [32]
            continue
        kinds |= {type(decode_any(item, classes, max_bytes=1 << 20)) for item in items}
    assert {kind.__name__ for kind in kinds} == {
        "Claim", "RoundAnnouncement", "Advertise", "KeyList", "BundleMessage", "MaskRequest", "Extras", "UploadBlock",
        "UploadEnd", "UnmaskRequest", "UnmaskResponse",
    }  # fmt: skip


def varint(number: int) -> bytes:
    groups = [number >> shift & 127 for shift in range(0, number.bit_length(), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def packed(values: Any, bits: int) -> bytes:
    total = sum((int(value) % (1 << bits)) << (bits * k) for k, value in enumerate(values))
    return total.to_bytes(-(-bits * len(values) // 8), "little")


def test_the_model_is_stored_once_for_all_nodes(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    big = {"w": np.ones(5000, np.float32)}
    start(federation, model=big)
    sent = [message for way, message, _ in federation.grid.seen if way == "out" and stage_of(message) == "mask"]
    objects = [{array.object_id: len(array.data) for array in message.content[KEY].values()} for message in sent]
    assert len(sent) == 3
    (large,) = {key for found in objects for key, size in found.items() if size > 20000}
    assert all(large in found and sum(found.values()) < 25000 for found in objects)


# ---- losses


def test_a_node_that_is_lost_before_it_masks(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 5)
    federation.grid.nodes[5].lost = lambda stage: stage == "mask"
    check_means(federation, start(federation), 1)
    (entry,) = records(federation)
    assert (entry.u2, entry.survivors) == (sites(range(1, 6)), sites(range(1, 5)))


def test_a_round_with_too_few_is_aborted_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    stages = {3: ["mask"], 4: ["mask"]}  # lost once each
    for k, lost in stages.items():
        federation.grid.nodes[k].lost = lambda stage, lost=lost: stage in lost and lost.pop() == stage
    with caplog.at_level(logging.INFO, "flwr"):
        result = start(federation, rounds=2)
    assert [entry.outcome for entry in records(federation)] == [ABORTED, COMPLETE]
    assert list(result.train_metrics_clientapp) == [2]
    check_means(federation, result, 2)
    assert caplog.text.count("Received error in reply from node") == 4
    assert "aggregate_train: Received 0 results and 4 failures" in caplog.text


def test_a_model_that_was_evaluated_is_not_evaluated_again(tmp_path: Path) -> None:
    """The second training is aborted, so the strategy evaluates the same model once more."""
    federation = Federation(tmp_path, 4)
    for k in (3, 4):
        masked: list[str] = []
        federation.grid.nodes[k].lost = lambda stage, masked=masked: (
            stage == "mask" and not masked.append(stage) and len(masked) == 3
        )
    result = start(federation, flower.FedAvg(min_available_nodes=4), rounds=2)
    assert [entry.outcome for entry in records(federation)] == [COMPLETE, COMPLETE, ABORTED]
    metrics = result.evaluate_metrics_clientapp
    assert metrics[1] == metrics[2]


def test_a_stalled_round_is_finished_first_by_the_node_that_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """t = 3 of 4: without one of the survivors nothing opens. It is restarted, with another node id."""
    federation = Federation(tmp_path, 4, {"privcomp-threshold": 3})
    federation.grid.nodes[4].lost = lambda stage: stage == "unmask"
    strategy = flower.FedAvg(min_available_nodes=4, fraction_evaluate=1.0)
    with federation.secure(strategy) as grid, caplog.at_level(logging.INFO):
        result = strategy.start(grid=grid, initial_arrays=record(MODEL), num_rounds=1)
        assert not result.train_metrics_clientapp
        assert "cannot be summed again under the nodes' policy" in caplog.text
        assert "training round on this model is not finished" in caplog.text  # the evaluation waits
        federation.add(4, number=44)
        del federation.grid.nodes[4]
        result = strategy.start(grid=grid, initial_arrays=record(MODEL), num_rounds=1)
    delta, metrics, _ = federation.recorder.mean(range(1, 5), "train", 1)
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx(metrics["loss"], abs=LOSS)
    np.testing.assert_allclose(result.arrays["w"].numpy(), MODEL["w"] + delta["w"], atol=ROUND)
    first, second = records(federation)
    assert (first.outcome, first.purpose, first.survivors) == (COMPLETE, "training", sites(range(1, 5)))
    assert (second.outcome, second.purpose) == (COMPLETE, "evaluation")
    assert [node for node, kind, _ in federation.recorder.updates if kind == "train"] == [1, 2, 3, 4]  # once each


def test_a_node_that_is_restarted_in_the_last_stage_completes_it(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4, {"privcomp-threshold": 3, "privcomp-deadline": 20.0})

    def restart(stage: str) -> bool:
        if stage == "unmask":
            federation.add(4, number=44)
            del federation.grid.nodes[4]
        return stage == "unmask"

    federation.grid.nodes[4].lost = restart
    check_means(federation, start(federation), 1)


def test_a_server_that_is_restarted_finishes_what_had_stalled(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4, {"privcomp-threshold": 3})
    federation.grid.nodes[1].lost = lambda stage: stage == "unmask"
    assert not start(federation).train_metrics_clientapp
    federation.grid.nodes[1].lost = lambda stage: False
    check_means(federation, start(federation), 1)


def test_a_model_that_was_summed_is_not_summed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 3)
    start(federation)
    with caplog.at_level(logging.WARNING):
        assert not start(federation).train_metrics_clientapp
    assert "this client answered 1 round(s) on this very model" in caplog.text


# ---- misuse, and a server that lies


def refusals(federation: Federation) -> str:
    """What the nodes gave as reasons."""
    return "\n".join(
        str(message.error.reason) for way, message, _ in federation.grid.seen if way == "in" and message.has_error()
    )


def nan(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
    arrays["w"][1, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (nan, "NaN or infinite"),
        (lambda arrays, metrics: arrays.update(w=arrays["w"].astype(np.float64)), "'w' is float64"),
        (lambda arrays, metrics: arrays.update(w=arrays["w"][:2]), "shape"),
        (lambda arrays, metrics: arrays.pop("b"), "missing"),
        (lambda arrays, metrics: arrays.update(more=arrays["b"]), "the server did not send: 'more'"),
        (lambda arrays, metrics: metrics.pop("loss"), "sums the metric 'loss'"),
        (lambda arrays, metrics: metrics.update(loss=float("nan")), "is not finite"),
        (lambda arrays, metrics: metrics.update(loss=[1.0, 2.0]), "must be a number"),
        (lambda arrays, metrics: metrics.update({"num-examples": -4321}), "a whole number of at least 1"),
        (lambda arrays, metrics: metrics.update({"num-examples": 17.5}), "must be a whole number"),
    ],
)
def test_what_an_app_must_not_return(tmp_path: Path, change: Any, match: str) -> None:
    """The node says why and sends nothing of it; the others' round goes on without it."""
    federation = Federation(tmp_path, 4)
    federation.recorder.change = lambda node, arrays, metrics: change(arrays, metrics) if node == 4 else None
    with federation.secure(flower.FedAvg(min_available_nodes=4, fraction_evaluate=0)) as grid:
        message = Message(
            RecordDict({"arrays": record(MODEL), "config": ConfigRecord({"server-round": 1})}), 1, "train"
        )
        batch = [Message(message.content, k, "train") for k in range(1, 5)]
        (reply,) = grid.send_and_receive(batch)
    assert not reply.has_error()
    assert records(federation)[0].survivors == sites((1, 2, 3))
    assert match in refusals(federation)
    for secret in ("4321", "17.5"):
        assert secret not in refusals(federation)


def test_an_exception_of_the_app_stays_at_the_node(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4)

    def change(node: int, arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        if node == 2:
            raise ValueError("patient 4711004711 has no label")

    federation.recorder.change = change
    start(federation)
    assert records(federation)[0].survivors == sites((1, 3, 4))
    assert "the app raised ValueError" in refusals(federation)
    assert "4711004711" not in refusals(federation)


def test_integer_arrays_are_kept_or_refused(tmp_path: Path) -> None:
    model = {**MODEL, "bn.num_batches_tracked": np.array(7)}
    with pytest.raises(EncodingError, match=r"'bn.num_batches_tracked' is int64: .* name it in `kept`"):
        start(Federation(tmp_path / "refused", 3), model=model)
    federation = Federation(tmp_path / "kept", 3, {"privcomp-kept": "*.num_batches_tracked"})
    result = start(federation, model=model)
    assert result.arrays["bn.num_batches_tracked"].numpy() == 7
    check_means(
        federation,
        type(result)(record({k: result.arrays[k].numpy() for k in MODEL}), result.train_metrics_clientapp),
        1,
    )


def test_two_nodes_with_one_identity(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    federation.add(4, number=9)
    with caplog.at_level(logging.ERROR):
        check_means(federation, start(federation), 1)
    assert records(federation)[0].u1 == sites((1, 2, 3))
    assert "2 nodes answer as b'site-4', and none of them takes part" in caplog.text


def test_a_second_node_with_an_identity_that_is_here_already(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    strategy = flower.FedAvg(min_available_nodes=4, fraction_evaluate=0)
    with federation.secure(strategy) as grid, caplog.at_level(logging.ERROR):
        result = strategy.start(grid=grid, initial_arrays=record(MODEL), num_rounds=1)
        federation.add(4, number=9)
        strategy.start(grid=grid, initial_arrays=result.arrays, num_rounds=1)
    assert "2 nodes answer as b'site-4'" in caplog.text
    assert [entry.u1 for entry in records(federation)] == [sites((1, 2, 3, 4)), sites((1, 2, 3))]


def test_an_old_address_that_answers_as_somebody_else(tmp_path: Path) -> None:
    """Two members that work together, or an operator who moves homes: the run goes on, and nobody loses their place."""
    federation = Federation(tmp_path, 5)
    strategy = flower.FedAvg(min_available_nodes=5, fraction_evaluate=0)
    with federation.secure(strategy) as grid:
        result = strategy.start(grid=grid, initial_arrays=record(MODEL), num_rounds=1)
        federation.add(5, number=9)
        federation.grid.nodes[5].context.node_config["privcomp-home"] = str(tmp_path / "4")
        strategy.start(grid=grid, initial_arrays=result.arrays, num_rounds=1)
    assert [entry.outcome for entry in records(federation)] == [COMPLETE, COMPLETE]
    assert records(federation)[1].u1 == sites((1, 2, 3, 4, 5))


def test_a_claim_that_is_not_signed_by_its_member(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    stranger = Federation(tmp_path / "other", 3)
    shutil.copytree(stranger.folder / "1", tmp_path / "9")  # site-1, but of another roster
    federation.add(9)
    with caplog.at_level(logging.WARNING):
        start(federation, flower.FedAvg(min_available_nodes=5, fraction_evaluate=0))
    assert "node 9 is not b'site-1'" in caplog.text
    assert records(federation)[0].u1 == sites(range(1, 5))


def test_a_node_of_another_roster_and_one_of_another_server(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4)
    with ServerHome.open(tmp_path / "server") as home:
        assert home.roster is not None
        smaller = type(home.roster).of({party: home.roster.public(party) for party in home.roster.ids[:3]})
    (tmp_path / "1" / "roster").write_bytes(smaller.to_bytes())
    policy = tmp_path / "1" / "policy.toml"
    policy.write_text("\n".join(line for line in policy.read_text().splitlines() if "roster_hash" not in line))
    other = tmp_path / "2" / "policy.toml"
    other.write_text("\n".join(line for line in other.read_text().splitlines() if "ledger_key" not in line)
                     + f'\nledger_key = "{"ab" * 32}"\n')  # fmt: skip
    start(federation)
    assert "another roster" in refusals(federation)
    assert "the key that this node's policy pins" in refusals(federation)
    assert [entry.outcome for entry in records(federation)] == [ABORTED]


def test_a_policy_bounds_what_the_run_config_proposes(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4, policy='adversary = "semi_honest"\nprotocols = ["secaggplus"]\n')
    start(federation)
    assert "protocol 'bonawitz'" in refusals(federation)
    assert [entry.outcome for entry in records(federation)] == [ABORTED]


def test_a_policy_that_does_not_trust_the_server_needs_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    federation = Federation(tmp_path, 6, {"privcomp-adversary": "malicious"}, policy='adversary = "malicious"\n')
    start(federation)
    assert "the server chooses the code that runs here" in refusals(federation)
    # One environment, one home: it does not speak for another one.
    monkeypatch.setenv(LAUNCHER, str((tmp_path / "1").resolve()))
    federation.grid.seen.clear()
    start(federation)
    assert refusals(federation).count("the server chooses the code that runs here") == 5
    assert [entry.outcome for entry in records(federation)] == [ABORTED, ABORTED]


def test_trusting_nodes_in_a_malicious_session_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        start(Federation(tmp_path, 4, {"privcomp-adversary": "malicious"}))
    assert "4 of 4 nodes were not started by `privcomp supernode`" in caplog.text
    assert "towards them this session is semi_honest" in caplog.text


def test_a_node_without_the_mod_and_a_server_without_the_grid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    federation.add(4, mods=[])
    check_means(federation, start(federation), 1)
    assert records(federation)[0].u1 == sites((1, 2, 3))
    plain = Federation(tmp_path / "plain", 3)
    flower.FedAvg(min_available_nodes=3).start(grid=plain.grid, initial_arrays=record(MODEL), num_rounds=1)
    assert "one side runs without secure aggregation" in refusals(plain)
    assert not plain.recorder.updates


def test_other_types_of_messages(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    node = federation.grid.nodes[1]

    @node.app.query()
    def query(message: Message, context: Any) -> Message:
        raise AssertionError("the mod lets it through")

    with federation.secure(flower.FedAvg()) as grid:
        (reply,) = grid.send_and_receive([Message(RecordDict(), 1, "query")])
    assert "this mod answers TRAIN and EVALUATE" in str(reply.error.reason)


def test_evaluation_needs_named_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 3, {"privcomp-evaluate-metrics": ""})
    with caplog.at_level(logging.WARNING):
        result = start(federation, flower.FedAvg(min_available_nodes=3), rounds=2)
    assert not result.evaluate_metrics_clientapp
    assert caplog.text.count("name its metrics in privcomp-evaluate-metrics") == 1
    assert "not sent, because privcomp-train-metrics does not name them: own" in caplog.text


def lies(grid: LoopGrid, stage: str, change: Any) -> None:
    """A server that changes what it sends to node 1 in one stage."""

    def tamper(message: Message) -> Message:
        if message.metadata.dst_node_id == 1 and stage_of(message) == stage:
            parcel = change(from_content(message.content))
            data = message.metadata
            return Message(to_content(parcel), data.dst_node_id, data.message_type, ttl=data.ttl)
        return message

    grid.tamper = tamper


@pytest.mark.parametrize(
    ("stage", "change", "match"),
    [
        ("advertise", lambda p: Parcel("mask", p.items), "1 items"),
        ("share", lambda p: Parcel("share", (p.items[0][:-1],)), "CodecError"),
        ("share", lambda p: Parcel("share", (p.items[0][:2] + b"\x09" + p.items[0][3:],)), "version"),
        ("hello", lambda p: Parcel(HELLO, (b"short",)), "one nonce of 32 bytes"),
        (
            "mask",
            lambda p: Parcel("mask", (p.items[0], p.items[1].replace(b"config", b"cOnfig"))),
            "another configuration",
        ),
        (
            "mask",
            lambda p: Parcel("mask", (p.items[0], p.items[1].replace(b"num-examples", b"own", 1))),
            "another conf",
        ),
    ],
)
def test_a_server_that_sends_one_node_something_else(tmp_path: Path, stage: str, change: Any, match: str) -> None:
    federation = Federation(tmp_path, 5)
    lies(federation.grid, stage, change)
    start(federation)
    assert match in refusals(federation)
    (entry,) = records(federation)
    assert (entry.outcome, entry.survivors) == (COMPLETE, sites(range(2, 6)))


def test_a_node_with_another_run_config(tmp_path: Path) -> None:
    """A SuperLink that tells one node another learning rate would make the sum that node's update."""
    federation = Federation(tmp_path, 4)
    federation.grid.nodes[1].context.run_config["local-epochs"] = 2
    start(federation)
    assert "this node was given another configuration than the rest" in refusals(federation)
    assert records(federation)[0].survivors == sites((2, 3, 4))
    assert 1 not in {node for node, _, _ in federation.recorder.updates}


def test_a_node_that_is_told_another_round_number(tmp_path: Path) -> None:
    """Flower's group id, by which an app may choose its learning rate."""
    federation = Federation(tmp_path, 4)

    def tamper(message: Message) -> Message:
        data = message.metadata
        if data.dst_node_id == 1:
            return Message(message.content, 1, data.message_type, ttl=data.ttl, group_id="999")
        return message

    federation.grid.tamper = tamper
    start(federation)
    assert "this node was given another configuration than the rest" in refusals(federation)
    assert records(federation)[0].survivors == sites((2, 3, 4))


def test_an_update_cannot_be_asked_for_by_evaluate(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)

    def tamper(message: Message) -> Message:
        data = message.metadata
        return (
            Message(message.content, data.dst_node_id, "evaluate", ttl=data.ttl)
            if data.message_type == "train"
            else message
        )

    federation.grid.tamper = tamper
    start(federation)
    assert "purpose 'training'; allowed: ['evaluation']" in refusals(federation)
    assert not federation.recorder.updates


def test_answers_of_another_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = Federation(tmp_path, 4)
    honest = federation.grid.nodes[2].answer

    def answer(message: Message) -> Message:
        reply = honest(message)
        if stage_of(message) == "share":
            reply.content = to_content(Parcel("mask", from_content(reply.content).items))
        return reply

    federation.grid.nodes[2].answer = answer  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        start(federation)
    assert "an answer of stage 'mask' in stage 'share'" in caplog.text
    assert [entry.outcome for entry in records(federation)] == [COMPLETE]
    assert records(federation)[0].survivors == sites((1, 3, 4))


def test_different_contents_for_different_nodes(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    with federation.secure(flower.FedAvg()) as grid:
        batch = [
            Message(RecordDict({"arrays": record(MODEL), "config": ConfigRecord({"rate": k})}), k, "train")
            for k in (1, 2)
        ]
        with pytest.raises(LocalError, match="one question for all"):
            grid.send_and_receive(batch)
        two = RecordDict({"arrays": record(MODEL), "more": record(MODEL)})
        with pytest.raises(LocalError, match="2 ArrayRecords"):
            grid.send_and_receive([Message(two, 1, "train")])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"privcomp-clipp": 1.0}, "unknown key 'privcomp-clipp'"),
        ({"privcomp-clip": "1"}, "privcomp-clip must be a float"),
        ({"privcomp-bits": True}, "privcomp-bits must be a int"),
        ({"privcomp-train-metrics": "loss 0"}, 'is not "NAME LO HI"'),
        ({"privcomp-train-metrics": "loss 1 1"}, "finite range"),
        ({"privcomp-mask-deadline": -1}, "positive number of seconds"),
        ({"privcomp-cipher": "rot13"}, "is one of aes128, chacha20"),
        ({"privcomp-protocol": "trust-me"}, "protocol 'trust-me'"),
        ({"privcomp-home": ""}, "the server has no folder"),
        ({"privcomp-home": "/nowhere"}, "not the folder of a server"),
    ],
)
def test_a_run_config_that_is_wrong(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    with pytest.raises(LocalError, match=match):
        start(Federation(tmp_path, 3, change))


def test_range_and_weight_must_be_given() -> None:
    with pytest.raises(ParameterError, match="privcomp-clip and privcomp-max-examples must be given"):
        Settings.of({"learning-rate": 0.1})


def test_a_node_needs_a_home_of_the_right_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(tmp_path, 3, {"privcomp-sim-home": str(tmp_path)})
    node = federation.grid.nodes[1]
    hello = Message(to_content(Parcel(HELLO, (bytes(32),))), 1, "train")

    def reason(config: dict[str, Any]) -> str:
        node.context.node_config.clear()
        node.context.node_config.update(config)
        reply = node.answer(hello)
        return str(reply.error.reason) if reply.has_error() else ""

    assert "this node has no home" in reason({})
    assert "this node has no home" in reason({"partition-id": 1})
    assert "is the home of a real node" in reason({"partition-id": 1, "num-partitions": 3})
    assert "is not the folder of a node" in reason({"privcomp-home": str(tmp_path / "server")})
    assert not reason({"privcomp-home": str(tmp_path / "2")})
    monkeypatch.setenv(LAUNCHER, str(tmp_path / "2"))  # under the launcher nobody is simulated
    assert "this node has no home" in reason({"partition-id": 1, "num-partitions": 3})


def test_a_claim_is_for_one_nonce_run_and_node(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 3)
    reply = federation.grid.nodes[1].answer(Message(to_content(Parcel(HELLO, (bytes(32),))), 1, "train"))
    claim = Claim.from_bytes(from_content(reply.content).items[0], max_bytes=1 << 10)
    with ServerHome.open(tmp_path / "server") as home:
        roster = home.roster
    assert roster is not None
    assert claim.verify(roster, bytes(32), 77, 1)
    assert not claim.verify(roster, bytes(31) + b"\1", 77, 1)
    assert not claim.verify(roster, bytes(32), 78, 1)
    assert not claim.verify(roster, bytes(32), 77, 2)
    assert not Claim(claim.id, True, claim.signature).verify(roster, bytes(32), 77, 1)
    assert not Claim(b"site-2", False, claim.signature).verify(roster, bytes(32), 77, 1)
    assert not Claim(b"nobody", False, claim.signature).verify(roster, bytes(32), 77, 1)


def test_parcels_in_pieces() -> None:
    model = raw(b"model" * 100)
    parcel = Parcel("mask", (b"head" + model.data + b"tail", b"x"))
    for shared in (None, model, raw(b"not in it"), raw(b"")):
        assert from_content(to_content(parcel, shared)) == parcel
    assert len(to_content(parcel, model)[KEY]) == 3
    assert STAGES[2] == "mask"
    assert RoundAnnouncement.TAG not in (Parcel.TAG, Claim.TAG)

"""One-shot rounds under Flower's own strategies, in one process: every message opens the node's home anew, so a node
keeps nothing but its journal between two of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")

from flwr.serverapp import strategy as flower

from privcomp.codec import decode_any
from privcomp.errors import ParameterError
from privcomp.integrations.committee import drawn_committee
from privcomp.integrations.flower.messages import HELLO
from privcomp.integrations.flower.records import KEY, from_content
from privcomp.integrations.flower.settings import Settings
from privcomp.keys import Identity, Roster
from privcomp.ledger import ABORTED, COMPLETE
from tests.integrations.flower_federation import Federation, stage_of
from tests.integrations.test_flower import LOSS, MODEL, ROUND, check_means, records, sites, start

MEMBERS = sites(range(1, 6))  # four must answer
ONESHOT: dict[str, Any] = {
    "privcomp-protocol": "oneshot",
    "privcomp-committee": "site-5, site-4,site-3,site-2,site-1",
    "privcomp-adversary": "malicious",
    "privcomp-corrupt": 0,
    "privcomp-deadline": 60.0,
    "privcomp-mask-deadline": 60.0,
}
POLICY = 'adversary = "semi_honest"\ncorrupt = 0\n'


#: Where a stage is waited for in vain; a deadline counts the answers of all other nodes, one after another.
IMPATIENT: dict[str, Any] = {"privcomp-deadline": 6.0, "privcomp-mask-deadline": 8.0}


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path, 6, ONESHOT, POLICY, MEMBERS)


@pytest.fixture
def impatient(tmp_path: Path) -> Federation:
    return Federation(tmp_path, 6, {**ONESHOT, **IMPATIENT}, POLICY, MEMBERS)


def test_training_and_evaluation(federation: Federation) -> None:
    """Nodes that are no members get one message per round; the model is stored once for all."""
    from tests.fuzz.targets import message_classes

    result = start(federation, flower.FedAvg(min_available_nodes=6), rounds=2)
    check_means(federation, result, 2)
    assert [entry.purpose for entry in records(federation)] == ["training", "evaluation"] * 2
    sent = [message for way, message, _ in federation.grid.seen if way == "out"]
    assert [stage_of(message) for message in sent if message.metadata.dst_node_id == 6] == [HELLO, *["upload"] * 4]
    kinds = set()
    for way, message, _ in federation.grid.seen:
        parcel = from_content(message.content)
        if parcel.stage != HELLO or way == "in":
            kinds |= {type(decode_any(item, message_classes(), max_bytes=1 << 22)) for item in parcel.items}
    assert {kind.__name__ for kind in kinds} == {
        "Claim", "BoxKeyRequest", "BoxKey", "RoundUpload", "Extras", "UploadBlock", "UploadEnd", "Shares", "Accept",
        "RoundAgain", "Vote", "Answer",
    }  # fmt: skip


def test_the_model_is_stored_once_for_all_nodes(federation: Federation) -> None:
    start(federation, model={"w": np.ones(5000, np.float32)})
    sent = [message for way, message, _ in federation.grid.seen if way == "out" and stage_of(message) == "upload"]
    objects = [{array.object_id: len(array.data) for array in message.content[KEY].values()} for message in sent]
    assert len(sent) == 6
    (large,) = {key for found in objects for key, size in found.items() if size >= 20000}
    assert all(large in found and sum(found.values()) < 25000 for found in objects)


@pytest.mark.parametrize("stage", ["boxkeys", "upload", "vote"])
def test_a_member_that_is_lost(impatient: Federation, stage: str) -> None:
    impatient.grid.nodes[3].lost = lambda now: now == stage
    check_means(impatient, start(impatient), 1)
    (entry,) = records(impatient)
    assert entry.survivors == sites(k for k in range(1, 7) if stage != "upload" or k != 3)


def test_a_stalled_round_is_finished_by_the_members_that_come_back(
    impatient: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    """By a restarted server, too; the clients that are no members are gone."""
    for k in (2, 3):
        impatient.grid.nodes[k].lost = lambda stage: stage == "answer"
    strategy = flower.FedAvg(min_available_nodes=5, min_train_nodes=5, fraction_evaluate=0)
    with caplog.at_level(logging.INFO):
        assert not start(impatient, strategy).train_metrics_clientapp
    assert "stalled: 3 answers, 4 are needed" in caplog.text
    impatient.add(2, number=22)
    for k in (2, 6):
        del impatient.grid.nodes[k]
    result = start(impatient, strategy)
    delta, metrics, _ = impatient.recorder.mean(range(1, 7), "train", 1)
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx(metrics["loss"], abs=LOSS)
    np.testing.assert_allclose(result.arrays["w"].numpy(), MODEL["w"] + delta["w"], atol=ROUND)
    (entry,) = records(impatient)
    assert (entry.outcome, entry.survivors) == (COMPLETE, sites(range(1, 7)))
    assert sorted(node for node, _, _ in impatient.recorder.updates) == [1, 2, 3, 4, 5, 6]  # once each


def test_a_round_with_too_few_members_is_aborted_and_the_run_goes_on(impatient: Federation) -> None:
    lost = {2: ["accept"], 3: ["accept"]}  # once each
    for k, stages in lost.items():
        impatient.grid.nodes[k].lost = lambda stage, stages=stages: stage in stages and bool(stages.pop())
    result = start(impatient, rounds=2)
    assert [entry.outcome for entry in records(impatient)] == [ABORTED, COMPLETE]
    check_means(impatient, result, 2)


def test_a_node_that_names_no_committee(federation: Federation) -> None:
    path = federation.folder / "6" / "policy.toml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("members = ")))
    check_means(federation, start(federation), 1)
    assert records(federation)[0].survivors == MEMBERS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privcomp-committee": None}, "privcomp-committee must be given with privcomp-protocol = 'oneshot'"),
        ({"privcomp-protocol": "bonawitz"}, "a committee is for privcomp-protocol = 'oneshot'"),
        ({"privcomp-committee": "site-1,site-2,site-3"}, "a committee of 3"),
        ({"privcomp-committee": "site-1,site-2,site-3,site-9"}, "b'site-9', which is not in the roster"),
        ({"privcomp-committee-privacy": 4}, "lower t_p"),
        ({"privcomp-committee-privacy": "1"}, "privcomp-committee-privacy must be a int"),
        ({"privcomp-beacon": "abcd"}, "or privcomp-beacon: one of the two"),
        ({"privcomp-absent": 0.1}, "privcomp-absent goes with privcomp-beacon"),
        ({"privcomp-committee": None, "privcomp-beacon": "beacon"}, "in hexadecimal digits"),
        (
            {"privcomp-committee": None, "privcomp-beacon": "ab", "privcomp-committee-privacy": 1},
            "privcomp-committee-privacy goes with privcomp-committee",
        ),
        ({"privcomp-committee": None, "privcomp-beacon": "ab"}, "no committee of 6 clients withstands"),
        ({"privcomp-threshold": 3, "privcomp-gamma": 0.1}, "privcomp-threshold, privcomp-gamma in one-shot rounds"),
        ({"privcomp-dp-epsilon": 8.0}, "privcomp-dp-epsilon in one-shot rounds"),
    ],
)
def test_run_configs_that_do_not_add_up(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    federation = Federation(tmp_path, 6, {**ONESHOT, **changes}, POLICY)
    for _ in range(2):  # and the server's folder is not held
        with pytest.raises(ParameterError, match=said):
            federation.secure(flower.FedAvg())


def test_a_beacon_draws_the_committee_that_nodes_draw() -> None:
    given = {"privcomp-protocol": "oneshot", "privcomp-beacon": "abcd", "privcomp-absent": 0, "privcomp-corrupt": 1}
    settings = Settings.of({**given, "privcomp-clip": 1.0, "privcomp-max-examples": 9})
    roster = Roster.of({b"site-%d" % k: Identity.generate().public for k in range(6)})
    assert settings.committee_of(roster) == drawn_committee(roster, b"\xab\xcd", absent=0, corrupt=1)


def test_ids_are_separated_by_commas() -> None:
    assert Settings.of({**ONESHOT, "privcomp-clip": 1.0, "privcomp-max-examples": 9}).committee == tuple(
        f"site-{k}" for k in (5, 4, 3, 2, 1)
    )

"""Flower as it is deployed: its simulation on Ray, and SuperLink and SuperNodes as processes on loopback."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")
pytest.importorskip("ray", reason="ray is not installed here; `make check-embed` runs these tests")

from flwr.app import ArrayRecord, Message
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from privcomp.dp import DistributedPlan
from privcomp.errors import LedgerError
from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.flower.messages import HELLO
from privcomp.integrations.flower.records import KEY, from_content
from privcomp.integrations.home import certificate_name, make_roster, make_simulation
from privcomp.ledger import ABORTED, COMPLETE, Record
from privcomp.rounds import NodeBudget, RoundSpec, audit
from privcomp.secagg.params import Params
from tests.fuzz.targets import decode_any, message_classes
from tests.integrations.flower_deployment import Deployment, copy_app, toml

APP = Path(__file__).parent / "flower_app"


def app_with(folder: Path, config: Mapping[str, Any]) -> Path:
    """The app of the tests with its run config (without what is None), and the folder that it writes into."""
    (folder / "out").mkdir(exist_ok=True)
    ranges = {"privcomp-clip": 1.0, "privcomp-max-examples": 1_000_000, "privcomp-train-metrics": "loss 0 20"}
    values = {"out": folder / "out", "secure": True, "fraction-evaluate": 0.0, "dimension": 1000, **ranges, **config}
    text = "".join(f"{key} = {toml(value)}\n" for key, value in values.items() if value is not None)
    return copy_app(APP, folder / f"app-{len(list(folder.glob('app-*')))}", {"pyproject.toml": text})


def make_homes(folder: Path, nodes: int, policy: str) -> None:
    ServerHome.create(folder / "server")
    certificates = {}
    for k in range(nodes):
        party = f"site-{k}".encode()
        NodeHome.create(folder / f"home-{k}", party)
        certificates[str(k)] = (folder / f"home-{k}" / certificate_name(party)).read_bytes()
    roster, clients = make_roster(certificates)
    ServerHome.install(folder / "server", roster, clients)
    for k in range(nodes):
        (folder / f"home-{k}" / "policy.toml").write_text(policy)
        NodeHome.trust(folder / f"home-{k}", roster.to_bytes(), (folder / "server" / "server.pem").read_bytes())


def records(server: Path) -> list[Record]:
    """The ledger's records, after its audit."""
    end = time.monotonic() + 20
    while True:
        try:
            home = ServerHome.open(server)
            break
        except LedgerError:  # Flower's processes end a little after their run does
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
    with home:
        key, roster, found = home.identity.public, home.roster, list(home.ledger.records())
    assert audit(server / "ledger", ledger_key=key, roster=roster).ok
    return found


def check_round(out: Path, entry: Record, asked: int, applied: int) -> float:
    """The model of round `applied` minus the one before it is the survivors' weighted mean of round `asked`."""
    assert entry.outcome == COMPLETE
    found = [np.load(out / f"train-{asked}-{party.split(b'-')[1].decode()}.npz") for party in entry.survivors]
    weights = np.array([float(update["weight"]) for update in found])
    before, after = np.load(out / f"model-{applied - 1}.npz"), np.load(out / f"model-{applied}.npz")
    step = RoundSpec.of_params(Params.from_bytes(entry.params, max_bytes=1 << 16)).encoding.granularity
    worst = 0.0
    for name in before.files:
        mean = sum(w * update[name] for w, update in zip(weights, found, strict=True)) / weights.sum()
        difference = np.abs(np.subtract(after[name], before[name], dtype=np.float64) - mean).max()
        worst = max(worst, float(difference))
    assert worst <= step + 1e-6  # the stated bound, and the rounding of two float32 models
    return worst


def check_plain(federation: Deployment, app: Path, out: Path, nodes: int = 0) -> None:
    """The same app and nodes without privcomp, for one round: the search for canaries can fail."""
    federation.run(app, {"secure": False, "num-server-rounds": 1}, name="plain", nodes=nodes)
    federation.finish("plain")
    assert len(canaries(out)) >= 4 * 3  # of each node: model, loss, its own metric
    shutil.rmtree(out)
    out.mkdir()


def test_simulation(tmp_path: Path) -> None:
    make_simulation(tmp_path / "homes", map(str, range(4)))
    app = app_with(
        tmp_path,
        {
            "privcomp-sim-home": tmp_path / "homes",
            "privcomp-evaluate-metrics": "loss 0 20",
            "fraction-evaluate": 1.0,
            "nodes": 4,
            "num-server-rounds": 2,
        },
    )
    with Deployment(tmp_path / "run", simulation=True) as federation:
        check_plain(federation, app, tmp_path / "out", nodes=4)
        federation.run(app, nodes=4)
        log = federation.finish()
    assert "privcomp: simulation" in log
    assert not canaries(tmp_path / "out")
    assert record_types(tmp_path / "out") == TYPES | CONSISTENCY
    found = records(tmp_path / "homes" / "server")
    assert [entry.purpose for entry in found] == ["training", "evaluation"] * 2
    for turn, entry in ((1, found[0]), (2, found[2])):
        assert entry.survivors == tuple(f"simulation-{k}".encode() for k in range(4))
        check_round(tmp_path / "out", entry, turn, turn)
    metrics = re.findall(r"'loss': ([\d.]+)", log.partition("METRICS")[2])
    weights = 111_111 + 7_777 * np.arange(4) + 1
    expected = float((weights * 1.371337 * np.arange(1, 5)).sum() / weights.sum())
    assert float(metrics[0]) == pytest.approx(expected, abs=1e-3)
    assert len(metrics) == 4


@pytest.mark.assurance
def test_simulation_with_a_plan(tmp_path: Path) -> None:
    """Noised means, a budget that is spent to its end, and nothing clear: no update, no weight, no metric."""
    make_simulation(tmp_path / "homes", map(str, range(4)))
    config = {
        **dict.fromkeys(("privcomp-clip", "privcomp-max-examples", "privcomp-train-metrics")),
        **{"privcomp-dp-epsilon": 8.0, "privcomp-dp-clip-norm": 16.0, "privcomp-dp-rounds": 2},
        **{"privcomp-dp-min-survivors": 4, "privcomp-sim-home": tmp_path / "homes", "nodes": 4},
    }
    app = app_with(tmp_path, {**config, "num-server-rounds": 3})
    with Deployment(tmp_path / "run", simulation=True) as federation:
        check_plain(federation, app, tmp_path / "out", nodes=4)
        federation.run(app, nodes=4)
        log = federation.finish()
    assert not canaries(tmp_path / "out")
    assert record_types(tmp_path / "out") == TYPES | CONSISTENCY
    found = records(tmp_path / "homes" / "server")
    assert [entry.outcome for entry in found] == [COMPLETE, COMPLETE, ABORTED]
    assert "this node's privacy budget does not allow it" in log
    plan = RoundSpec.of_params(Params.from_bytes(found[0].params, max_bytes=1 << 16)).encoding
    assert isinstance(plan, DistributedPlan)
    assert (plan.min_survivors, plan.rounds, plan.epsilon) == (4, 2, 8.0)
    for turn in (1, 2):
        updates = [np.load(tmp_path / "out" / f"train-{turn}-{k}.npz") for k in range(4)]
        before, after = (np.load(tmp_path / "out" / f"model-{k}.npz") for k in (turn - 1, turn))
        for name in before.files:
            mean = sum(update[name] for update in updates) / 4
            noise = np.subtract(after[name], before[name], dtype=np.float64) - mean
            assert 0 < np.abs(noise).max() < 7 * plan.sigma_local / 2
    assert not list((tmp_path / "out").glob("train-3-*"))
    for k in range(4):
        with NodeHome.open(tmp_path / "homes" / str(k)) as home:
            spent = NodeBudget(home.policy, home.journal).of("user", "zero_out").spent_epsilon()
        assert spent == pytest.approx(plan.epsilon_after(2), rel=1e-9)


def objects(transcript: Path) -> Iterable[tuple[bytes, bytes]]:
    data, at = transcript.read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 9], "little")
        yield data[at : at + 1], data[at + 9 : at + 9 + size]
        at += 9 + size


def record_types(out: Path) -> set[str]:
    """The types of our messages in a transcript, in which nothing else may be: no object that no message is made of."""
    contents = {get_object_id(data): data for _, data in objects(out / "transcript")}
    classes, kinds, used = message_classes(), set(), set()
    for key, data in contents.items():
        if get_object_type_from_object_content(data) != "Message":
            continue
        message = inflate_object_from_contents(key, dict(contents))
        assert isinstance(message, Message)
        used |= set(get_all_nested_objects(message))
        if message.has_error():
            continue
        assert list(message.content) == [KEY]
        assert isinstance(message.content[KEY], ArrayRecord)
        parcel = from_content(message.content)
        if parcel.stage == HELLO and not message.metadata.reply_to_message_id:
            assert [len(item) for item in parcel.items] == [32]  # the server's nonce
            continue
        kinds |= {type(decode_any(item, classes, max_bytes=1 << 20)).__name__ for item in parcel.items}
    assert used == set(contents)
    return kinds


#: Of a round with a semi-honest server, and what the consistency stage adds with a malicious one.
TYPES = {
    "Claim", "RoundAnnouncement", "Advertise", "KeyList", "BundleMessage", "MaskRequest", "Extras", "UploadBlock",
    "UploadEnd", "UnmaskRequest", "UnmaskResponse",
}  # fmt: skip
CONSISTENCY = {"ConsistencyRequest", "ConsistencySignature"}


def test_a_node_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Semi-honest, c = 0, and t = 3 of 4: the sum cannot be opened without the node that was killed after it masked."""
    make_homes(tmp_path, 4, 'adversary = "semi_honest"\n')
    config = {"privcomp-adversary": "semi_honest", "privcomp-threshold": 3, "nodes": 4}
    # Time enough for a busy machine; only the last stage, whose end is waited for here, is shorter.
    config |= {"privcomp-deadline": 180.0, "privcomp-unmask-deadline": 60.0}
    app = app_with(tmp_path, {**config, "privcomp-home": tmp_path / "server", "num-server-rounds": 3})
    with Deployment(tmp_path / "run") as federation:
        for k in range(4):
            federation.node(k, home=tmp_path / f"home-{k}")
        check_plain(federation, app, tmp_path / "out")
        federation.run(app)
        # What it sent in the plain run; greeting, keys, shares, masked update.
        federation.wait_for("node-3", "Sent successfully", seconds=300, count=1 + 4)
        federation.kill("node-3")
        federation.wait_for("run", "Received 0 results", seconds=300)
        federation.node(3, home=tmp_path / "home-3")
        log = federation.finish()
        log += federation.log("superlink")
    assert "stalled" in log
    found = records(tmp_path / "server")
    first, second = found
    assert len(first.survivors) == 4
    check_round(tmp_path / "out", first, asked=1, applied=2)
    check_round(tmp_path / "out", second, asked=3, applied=3)
    assert not (tmp_path / "out" / "train-2-0.npz").exists()  # the second request was answered by the first round's sum
    assert not canaries(tmp_path / "out")
    assert record_types(tmp_path / "out") == TYPES


def canaries(out: Path) -> list[str]:
    """What of the nodes is in the clear in anything that the server sent or received."""
    seen = b"".join(data for _, data in objects(out / "transcript"))
    assert len(seen) > 10_000
    found = []
    for file in sorted(out.glob("train-*.npz")):
        update, name = np.load(file), "w"
        before = np.load(out / f"model-{int(file.stem.split('-')[1]) - 1}.npz")[name]
        forms = {
            "update": update[name].tobytes(),
            "update, float32": update[name].astype(np.float32).tobytes(),
            "update, 16 bits": np.rint(update[name] * 2**15).astype("<i2").tobytes(),
            "update, 32 bits": np.rint(update[name] * 2**15).astype("<i4").tobytes(),
            "weighted": np.rint(update[name] * 2**15 * int(update["weight"])).astype("<i8").tobytes(),
            "model": (before + update[name].astype(np.float32)).tobytes(),
            "weight": int(update["weight"]).to_bytes(8, "little"),
            "loss": np.float64(update["loss"]).tobytes(),
            "own": np.float64(987654.321).tobytes(),
        }
        found += [f"{file.stem} {form}" for form, data in forms.items() if data[:32] in seen]
    return found


def test_a_malicious_server_and_a_changed_bundle(tmp_path: Path) -> None:
    """Six SuperNodes started by `privcomp supernode`, with the default policy: they run the pinned bundle only."""
    make_homes(tmp_path, 6, "")
    config = {"privcomp-home": tmp_path / "server", "nodes": 6, "num-server-rounds": 1, "privcomp-deadline": 180.0}
    app = app_with(tmp_path, config)
    changed = copy_app(app, tmp_path / "changed")
    with open(changed / "recorded" / "client_app.py", "a") as file:
        file.write(f"\nPath({str(tmp_path / 'out' / 'broken-in')!r}).touch()\n")
    pinned = sha256(build_fab_from_disk(app)).hexdigest()
    for k in range(6):
        policy = tmp_path / f"home-{k}" / "policy.toml"
        policy.write_text(f'code_hashes = ["{pinned}"]\n' + policy.read_text())
    with Deployment(tmp_path / "run") as federation:
        for k in range(6):
            federation.node(k, home=tmp_path / f"home-{k}", guarded=True)
        for k in range(6):
            federation.wait_for(f"node-{k}", "SuperNode ID")
        federation.run(changed, name="changed")
        log = federation.finish("changed")
        assert "this node's policy does not allow the app bundle" in log
        assert "Received 0 results and 6 failures" in log
        federation.run(app)
        log = federation.finish()
        assert "were not started by" not in log
        for k in range(6):
            assert "privcomp: refused: this node's policy does not allow" in federation.log(f"node-{k}")
    assert not (tmp_path / "out" / "broken-in").exists()
    found = records(tmp_path / "server")
    assert [(entry.outcome, len(entry.survivors)) for entry in found] == [("aborted", 0), (COMPLETE, 6)]
    assert len(found[1].quorum) >= 4
    check_round(tmp_path / "out", found[1], 1, 1)
    assert not canaries(tmp_path / "out")
    assert record_types(tmp_path / "out") == TYPES | CONSISTENCY

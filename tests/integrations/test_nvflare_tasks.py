"""NVFlare's Task API in the simulator: FedAvg's recipe with losses, the ledger, and what the server receives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from privcomp.ledger import ABORTED, COMPLETE
from tests.integrations import nvflare_harness as harness

harness.require_nvflare()

from privcomp.integrations.nvflare.site import is_answer  # noqa: E402


def final_model(out: Path) -> np.ndarray:
    (file,) = (out / "workspace" / "job" / "server").rglob("*.npy")
    return np.load(file)


@pytest.mark.parametrize("kind", ["full", "diff"])
def test_rounds_with_losses(tmp_path: Path, kind: str) -> None:
    """A site that is silent, then too many that fail: the run goes on. The script knows nothing of it."""
    if kind == "full":
        faults = {"1": {"site-2": "sleep 20"}, "3": {"site-3": "nan", "site-4": "shape"}}
    else:
        faults = {"2": {"site-5": "kill"}}
    proposal = {**harness.PROPOSAL, "deadlines": {"mask": 14.0, "share": 30.0, "advertise": 60.0}}
    rounds = 5 if kind == "full" else 4
    harness.run("tasks_job.py", tmp_path, rounds=rounds, faults=faults, proposal=proposal, kind=kind)
    records = harness.ledger(tmp_path)
    assert len(records) == rounds
    lost = [set(harness.SITES) - set(harness.survivors(record)) for record in records]
    if kind == "full":
        assert [record.outcome for record in records] == [COMPLETE] * 3 + [ABORTED, COMPLETE]
        assert lost[0] == set()
        assert lost[1] == {"site-2"}
        assert lost[2] <= {"site-2"}  # it may be asleep still
        assert lost[4] == set()
    else:
        assert [record.outcome for record in records] == [COMPLETE] * rounds
        assert lost[:2] == [set(), set()]
        assert lost[2:] == [{"site-5"}] * 2
    model = np.zeros(40)
    for number, record in enumerate(records):
        if record.outcome == COMPLETE:
            means, _ = harness.check_mean(record, tmp_path, number, ("numpy_key",))
            model += means["numpy_key"]
    assert np.abs(final_model(tmp_path) - model).max() < rounds * 1e-3
    assert (tmp_path / "executor").exists()


def test_sites_take_turns_in_fewer_processes(tmp_path: Path) -> None:
    """Two processes play three sites: what a site must remember between two tasks stands in its home."""
    names = harness.SITES[:3]
    proposal = {**harness.PROPOSAL, "deadlines": {"advertise": 100.0, "share": 100.0, "mask": 100.0}}
    harness.run("tasks_job.py", tmp_path, sites=names, proposal=proposal, threads=2, seconds=400.0)
    (record,) = harness.ledger(tmp_path)
    assert harness.survivors(record) == names
    harness.check_mean(record, tmp_path, 0, ("numpy_key",))


def test_what_the_server_receives(tmp_path: Path) -> None:
    """Canaries are found in a run without privcomp, and not in ours; every reply is messages of the protocol only."""
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    harness.run("tasks_job.py", plain, plain=True, record=True)
    received = {"numpy_key": np.zeros(40, np.float32)}
    found = harness.found(plain, harness.needles(plain, 0, received))
    for site in harness.SITES:
        assert {f"{site} numpy_key new <f4", f"{site} weight >I", f"{site} loss >d", f"{site} note"} <= found
    assert any("secret" in label for label in found)
    harness.run("tasks_job.py", ours, record=True)
    assert harness.found(ours, harness.needles(ours, 0, received)) == set()
    sys.path.append(str(harness.JOBS))
    import recorder

    replies = recorder.records(ours)
    assert [name for _, name, _ in replies].count("train") == 5
    assert [name for _, name, _ in replies].count("privcomp") == 20
    for _, name, reply in replies:
        assert name in ("train", "privcomp")
        headers, content = reply.pop("__headers__"), reply.pop("DXO")
        assert not reply
        assert content["kind"] == "APP_DEFINED"
        assert not content["meta"].keys() - {"filter_history"}
        assert list(content["data"]) == ["privcomp"]
        assert all(map(is_answer, content["data"]["privcomp"]))
        # What NVFlare itself adds: names, ids, the number of the round.
        assert set(headers) == {
            "__content_type__", "__audit_event_id__", "__cookie_jar__", "__task_name__", "__task_id__",
            "__msg_root_id__", "__peer_ctx__", "fl_client", "__peer_props__",
        }  # fmt: skip
        assert headers["__cookie_jar__"].keys() == {"contribution_round", "__workflow__", "__task_id__"}


def test_the_example(tmp_path: Path) -> None:
    """Both jobs of docs/examples run with the same script, end with the same model, and differ by ten lines at most."""
    folder = harness.ROOT / "docs" / "examples" / "nvflare" / "tasks"
    models = []
    for name in ("plain.py", "secure.py"):
        out = tmp_path / name
        out.mkdir()
        harness.program([str(folder / name), str(out)], out)
        (file,) = (out / "fedavg" / "server").rglob("*.npy")
        models.append(np.load(file))
    assert np.abs(models[0] - models[1]).max() < 2e-3
    before, after = ((folder / name).read_text().splitlines()[1:] for name in ("plain.py", "secure.py"))
    assert len([line for line in after if line.strip() and line not in before]) <= 10

"""NVFlare's Collab API in the simulator: several rounds with losses, the ledger, and what the server receives."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from privcomp.ledger import ABORTED, COMPLETE
from tests.integrations import nvflare_harness as harness

harness.require_nvflare()

from privcomp.integrations.nvflare.site import is_answer  # noqa: E402


def test_rounds_with_losses(tmp_path: Path) -> None:
    """A site that raises, one that is silent, too many at once, and one that dies: the run goes on."""
    faults = {
        "1": {"site-2": "raise"},
        "2": {"site-1": "raise", "site-2": "nan", "site-3": "shape"},
        "3": {"site-4": "sleep 15"},
        "5": {"site-5": "kill"},
    }
    proposal = {**harness.PROPOSAL, "kept": ["round"], "deadlines": {"mask": 10.0, "share": 30.0, "advertise": 30.0}}
    log = harness.run("collab_job.py", tmp_path, rounds=6, faults=faults, proposal=proposal)
    records = harness.ledger(tmp_path)
    assert [record.outcome for record in records[:6]] == [COMPLETE] * 2 + [ABORTED] + [COMPLETE] * 3
    lost = [set(harness.SITES) - set(harness.survivors(record)) for record in records]
    assert lost[0] == set()
    assert lost[1] == {"site-2"}
    assert lost[3] == {"site-4"}
    assert lost[4] <= {"site-4"}  # it may be asleep still
    assert lost[5] == {"site-5"}
    done = json.loads((tmp_path / "done.json").read_text())
    model = {"w": np.zeros(40, np.float32), "b": np.ones((3, 2))}
    for number, record in enumerate(records[:6]):
        after = dict(np.load(tmp_path / f"model.{number}.npz"))
        assert after["round"] == number
        if record.outcome == COMPLETE:
            means, loss = harness.check_mean(record, tmp_path, number, ("w", "b"))
            model = {name: model[name] + means[name] for name in model}
            assert done[number][1]["loss"] == pytest.approx(loss, abs=1e-3)
        else:
            assert "uploads" in done[number][0]
        for name in model:
            assert np.abs(after[name] - model[name]).max() < 1e-3
            model[name] = after[name]
    assert done[1][3] == ["site-2"]
    # The evaluation: sites 1 to 4, weights 10 i, values i.
    assert records[6].purpose == "evaluation"
    alive = [int(site.split("-")[1]) for site in harness.survivors(records[6])]
    assert done[6][1]["loss"] == pytest.approx(sum(i * i for i in alive) / sum(alive), abs=1e-3)
    assert "a script that quotes its data" not in log.split("site-2 does not answer")[0]


def test_what_the_server_receives(tmp_path: Path) -> None:
    """Canaries are found in a round without privcomp, and not in ours; every record has a type of the protocol."""
    received = {"w": np.zeros(40, np.float32), "b": np.ones((3, 2))}
    harness.run("collab_job.py", tmp_path, plain=True, record=True, proposal={**harness.PROPOSAL, "kept": ["round"]})
    wanted = harness.needles(tmp_path, 0, received)
    found = harness.found(tmp_path, wanted, before=True)
    for site in harness.SITES:
        assert {f"{site} w new <f4", f"{site} b new <f8", f"{site} weight >I", f"{site} loss >d"} <= found
    assert harness.found(tmp_path, wanted, before=False) == set()
    sys.path.append(str(harness.JOBS))
    import recorder

    records = recorder.records(tmp_path)
    calls = [content for _, name, content in records if name in ("train", "evaluate")]
    assert len(calls) == 5 * 5 * 2  # five sites, five stages, a training and an evaluation
    assert all(isinstance(content, list) and all(map(is_answer, content)) for content in calls)
    others = {name for _, name, _ in records} - {"train", "evaluate", "in_the_clear"}
    assert all(name.startswith(("_", "collab", "sync", "setup")) for name in others), others


def test_the_example(tmp_path: Path) -> None:
    """Both files of docs/examples run, end with the same model, and differ by ten lines at most."""
    folder = harness.ROOT / "docs" / "examples" / "nvflare" / "collab"
    models = []
    for name in ("plain.py", "secure.py"):
        out = tmp_path / name
        out.mkdir()
        text = harness.program([str(folder / name), str(out)], out)
        models.append(json.loads(next(line for line in text.splitlines() if line.startswith("model"))[6:]))
    assert np.abs(np.subtract(*models)).max() <= 0.011
    before, after = ((folder / name).read_text().splitlines()[1:] for name in ("plain.py", "secure.py"))
    assert len([line for line in after if line.strip() and line not in before]) <= 10

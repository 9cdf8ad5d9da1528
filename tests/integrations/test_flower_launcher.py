"""`privcomp supernode`: what it refuses, at the start and from a SuperLink, with Flower's own functions and objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")

from flwr.app import Message, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.cli.config_utils import get_fab_metadata
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal as loop
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from privcomp.cli import main
from privcomp.errors import LocalError
from privcomp.integrations import NodeHome
from privcomp.integrations.flower import launcher

APP = Path(__file__).parents[2] / "docs" / "examples" / "flower"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hooks and the environment are put back."""
    for target, name in ((loop, "_pull_and_store_message"), (InMemoryNodeState, "get_fab")):
        monkeypatch.setattr(target, name, getattr(target, name))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    NodeHome.create(tmp_path / "node", b"site-1")
    return tmp_path / "node"


def allow(home: Path, *hashes: str) -> None:
    policy = home / "policy.toml"
    policy.write_text(f"code_hashes = {list(hashes)!r}\n" + policy.read_text())


def test_a_policy_without_hashes_runs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supernode", str(home), "--insecure"]) == 2
    assert "names no code_hashes, so nothing may run here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--allow-runtime-dependency-installation"], "installation of dependencies"),
        (["--allow-run"], "installation of dependencies"),  # argparse takes abbreviations
        (["--host", "0.0.0.0"], "--host must be the loopback"),
        (["--isolation", "process"], "--isolation must be subprocess"),
        (["--iso=process"], "--isolation must be subprocess"),
        (["--node-config", 'privcomp-home="/elsewhere"'], "the home is the first argument"),
        (["--node-config", "a=1", "--node-config", "b=1"], "give --node-config once"),
        (['--node-config=a=1 privcomp-home="/elsewhere"'], "the home is the first argument"),
    ],
)
def test_options_that_would_let_other_code_in(home: Path, options: list[str], match: str) -> None:
    allow(home, "ab" * 32)
    with pytest.raises(LocalError, match=match):
        launcher.run_supernode(home, options)


def test_the_home_is_put_into_the_node_config() -> None:
    own = '--node-config=privcomp-home="/n"'
    assert launcher._with_home(["--insecure"], "/n") == ["--insecure", own]
    assert launcher._with_home(["--node-config", "a=1", "--port", "1"], "/n") == [f"{own} a=1", "--port", "1"]
    assert launcher._with_home(["--port", "1", "--node-config=a=1"], "/n") == ["--port", "1", f"{own} a=1"]


def test_another_flower_is_not_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(home, "ab" * 32)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.42.0")
    with pytest.raises(LocalError, match=r"guards the inside of Flower 1\.41\.x and starts no other"):
        launcher.run_supernode(home, [])


def test_a_flower_that_is_built_otherwise_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_pull_and_store_message", lambda state, store: None)
    with pytest.raises(LocalError, match="built otherwise"):
        launcher._guard(frozenset())


class SuperLink:
    """What Flower's loop asks of its connection, answered by a SuperLink that may lie."""

    def __init__(self, run: Run, fab: Fab) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run.run_id, 1, 0
        self.run, self.fab = run, fab
        factory = ObjectStoreFactory()
        self.store = factory.store()
        self.state = NodeStateFactory(objectstore_factory=factory).state()
        self.state.set_node_id(5)

    def deliver(self) -> str:
        """One message through the loop; the error reply, or nothing where a task was made of it."""
        message = Message(RecordDict(), 5, "train")
        message.metadata.__dict__["_message_id"] = message.object_id
        loop._pull_and_store_message(
            state=self.state,
            object_store=self.store,
            node_config={},
            receive=lambda: (message, get_object_tree(message)),
            get_run=lambda run_id: self.run,
            get_fab=lambda fab_hash, run_id: self.fab,
            pull_object=lambda run_id, object_id: (
                message.content.deflate() if object_id == message.content.object_id else message.deflate()
            ),
            confirm_message_received=lambda run_id, message_id: None,
            trusted_entities=None,
        )
        replies = self.state.get_messages_legacy(is_reply=True)
        return str(replies[0].error.reason) if replies else ""

    def handed_out(self) -> Fab | None:
        found: Fab | None = self.state.get_fab(self.run.fab_hash)
        return found


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The example, and the same with a byte more."""
    import shutil

    changed = tmp_path_factory.mktemp("app") / "flower"
    shutil.copytree(APP, changed, ignore=shutil.ignore_patterns("__pycache__"))
    with open(changed / "flowerapp" / "task.py", "a") as file:
        file.write("#\n")
    return {"pinned": build_fab_from_disk(APP), "changed": build_fab_from_disk(changed)}


def link(bundle: bytes, **lies: Any) -> SuperLink:
    name, version = get_fab_metadata(bundle)
    digest = sha256(bundle).hexdigest()
    run = replace(Run.create_empty(7), fab_id=name, fab_version=version, fab_hash=digest)
    fab = Fab(lies.pop("hash_str", digest), bundle, {})
    return SuperLink(replace(run, **lies), fab)


def test_the_pinned_bundle_runs_and_no_other(bundles: dict[str, bytes]) -> None:
    launcher._guard(frozenset({sha256(bundles["pinned"]).digest()}))
    good = link(bundles["pinned"])
    assert good.deliver() == ""
    handed = good.handed_out()
    assert handed is not None
    assert handed.content == bundles["pinned"]
    bad = link(bundles["changed"])
    for _ in range(2):  # again and again: nothing of a refused bundle is kept
        assert f"does not allow the app bundle {sha256(bundles['changed']).hexdigest()}" in bad.deliver()
    assert bad.state.get_run(7) is None
    assert bad.handed_out() is None
    # The last gate, behind the first one: a bundle that came into the store another way is not handed out.
    bad.state.store_fab(bad.fab)
    assert bad.handed_out() is None


@pytest.mark.parametrize(
    ("lies", "match"),
    [
        ({"fab_hash": "ab" * 32}, "another hash than its own"),
        ({"hash_str": "ab" * 32}, "another hash than its own"),
        ({"fab_id": "example/other"}, "another name or version"),
        ({"fab_version": "1/../../../../tmp/1.0"}, "another name or version"),
        ({"primary_task_type": TaskType.AGENT_APP}, "not an AgentApp"),
    ],
)
def test_the_pinned_bundle_under_another_name(bundles: dict[str, bytes], lies: dict[str, str], match: str) -> None:
    """Flower builds the folder that it loads code from out of what the SuperLink says about the bundle."""
    launcher._guard(frozenset({sha256(bundles["pinned"]).digest()}))
    assert match in link(bundles["pinned"], **lies).deliver()


def test_without_the_guard_flower_takes_whatever_comes(bundles: dict[str, bytes]) -> None:
    assert link(bundles["changed"]).deliver() == ""

"""`privcomp serve` and `privcomp join`: what the command line refuses, before anything is done. What they do when all
is well is in tests/integrations."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from privcomp.errors import LocalError
from privcomp.integrations import ServerHome
from privcomp.integrations.npz import load_model, save_model
from tests.integrations.federation import Federation, first_model
from tests.test_cli import refused, run

ONESHOT = ("--protocol", "oneshot", "--committee")
DRAWN = ("--protocol", "oneshot", "--beacon")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = Federation.create(tmp_path_factory.mktemp("cli tcp"), 4)
    save_model(made.folder / "first.npz", first_model(100))
    return made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "nowhere.npz"], "nowhere.npz cannot be read: No such file"),
        (["--model", "UPDATE"], "is no model"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--clip", "-1"], "--clip is -1.0; a positive number"),
        (["--clip", "nan"], "--clip is nan"),
        (["--deadline", "0"], "--deadline is 0.0"),
        (["--port", "70000"], "--port is 70000"),
        (["--max-connections", "0"], "--max-connections is 0"),
        (["--metric", "loss"], "--metric 'loss': NAME=LO:HI is needed"),
        (["--metric", "loss=1:x"], "--metric 'loss=1:x'"),
        (["--metric", "loss=2:1"], "needs a finite range lo < hi"),
        (["--metric", "a=0:1", "--metric", "a=0:1"], "named twice"),
        (["--keep", "nothing"], "no array 'nothing' to keep"),
        (["--bits", "99"], "bits is 99"),
        (["--clients", "9"], "clients = 9; 3..4 (the roster)"),
        (["--min-clients", "2"], "lower c or ask more"),
        (["--corrupt", "3"], "lower c or ask more"),
        (["--protocol", "secaggplus", "--adversary", "malicious"], "use bonawitz"),
        (["--protocol", "oneshot"], "--protocol oneshot needs --committee"),
        (["--committee", "node-0,node-1,node-2,node-3"], "are for --protocol oneshot, not bonawitz"),
        (["--privacy", "1", "--protocol", "secaggplus"], "are for --protocol oneshot, not secaggplus"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--epsilon", "8"], "one-shot rounds take no noise"),
        ([*ONESHOT, "node-0,node-1,node-2,node-4"], "b'node-4', which is not in the roster"),
        ([*ONESHOT, "node-0,node-1,node-2,node-2"], "b'node-2' twice"),
        ([*ONESHOT, "node-0,node-1,node-2"], "a committee of 3: 4 members at least"),
        ([*ONESHOT, "node-0,node-1,,node-2"], "with commas between them"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--privacy", "3"], "lower t_p"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--clients", "3"], "the committee has 4 members"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--corrupt", "2"], "ask more nodes, or withstand fewer"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--min-clients", "3"], "a sum needs 4 nodes"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--corrupt", "-1"], "--corrupt is -1"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--privacy", "0"], "every single member could read every key"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--bits", "32"], "no shipped profile sums 4 clients of 32 bits"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--max-weight", "0"], "max_weight is 0"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--max-weight", "5000000000"], "weight is 5000000000"),
        (
            [*ONESHOT, "node-0,node-1,node-2,node-3", "--out", "nowhere/model.npz"],
            "nowhere/model.npz cannot be written",
        ),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--beacon", "ab"], "one of the two"),
        ([*ONESHOT, "node-0,node-1,node-2,node-3", "--absent", "0.1"], "--absent goes with --beacon"),
        ([*DRAWN, "ab", "--privacy", "1"], "--privacy goes with --committee"),
        ([*DRAWN, "beacon"], "in hexadecimal digits"),
        ([*DRAWN, ""], "1 to 64 bytes are needed"),
        ([*DRAWN, "ab", "--absent", "0.6"], "absent is 0.6"),
        ([*DRAWN, "ab"], "no committee of 4 clients withstands"),
        (["--beacon", "ab"], "so are --beacon and --absent"),
        (["--absent", "0"], "so are --beacon and --absent"),
        (["--out", "FOLDER"], "cannot be written: Is a directory"),
        (["--corrupt", "-1"], "--corrupt is -1"),
        (["--clip-norm", "0"], "--clip-norm needs --epsilon"),
        (["--min-survivors", "0"], "--min-survivors needs --epsilon"),
        (["--delta", "0.5"], "--delta needs --epsilon"),
        (
            [*ONESHOT, "node-0,node-1,node-2,node-3", "--wait", "0.2"],
            "and 0 members of the committee, of 3: start the others",
        ),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1"),
        (["--wait", "0.2"], "0 nodes are connected and free after 0 s"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_serving_that_does_not_work(federation: Federation, options: list[str], said: str) -> None:
    names = {"UPDATE": str(federation.node(0) / "update.py"), "FOLDER": str(federation.folder)}
    given = {"--model": str(federation.folder / "first.npz"), "--rounds": "1", "--clip": "1", "--port": "0"}
    rest = [names.get(option, option) for option in options]
    needed = [word for name, value in given.items() if name not in options for word in (name, value)]
    result = run("serve", federation.server, *needed, *rest)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err
    # Whatever is wrong with the options is said before a node can come: only these wait for nodes.
    assert ("listening" in result.err) == ("--wait" in options)


def test_a_model_that_cannot_be_trained_is_refused_before_anybody_can_join(
    federation: Federation, tmp_path: Path
) -> None:
    np.savez(tmp_path / "nan.npz", w=np.array([1, np.nan]))
    np.savez(tmp_path / "counts.npz", w=np.arange(3))
    for name, said in (("nan.npz", "NaN or infinity"), ("counts.npz", "have no mean")):
        result = run(
            "serve", federation.server, "--model", tmp_path / name, "--rounds", "1", "--clip", "1", "--port", "0"
        )
        assert (result.code, said in result.err, "listening" in result.err) == (2, True, False)
    result = run(
        "serve", federation.server, "--model", federation.folder / "first.npz", "--rounds", "1", "--port", "0",
        "--epsilon", "0.001", "--clip-norm", "1",
    )  # fmt: skip
    assert (result.code, "listening" in result.err) == (2, False)
    assert not [path for path in federation.server.iterdir() if path.name.endswith(".new")]


def test_serving_with_a_committee_that_is_drawn(tmp_path: Path) -> None:
    """It is known before anybody is there."""
    made = Federation.create(tmp_path, 6)
    save_model(tmp_path / "first.npz", first_model(100))
    given = "--model", tmp_path / "first.npz", "--rounds", "1", "--clip", "1", "--port", "0", "--wait", "0.2"
    said = run("serve", made.server, *given, *DRAWN, "0badcafe", "--absent", "0", "--corrupt", "1").err
    assert "a committee of 6: 6 members must answer; 2 members and the server together could open" in said
    assert "0 members of the committee, of 6" in said


def test_serving_needs_a_model_a_number_of_rounds_and_a_clip(federation: Federation) -> None:
    said = refused("serve", federation.server)
    assert all(option in said for option in ("--model", "--rounds"))
    said = refused("serve", federation.server, "--model", federation.folder / "first.npz", "--rounds", "1")
    assert "--clip" in said


def test_serving_from_a_folder_that_does_not_work(federation: Federation, tmp_path: Path) -> None:
    model = "--model", federation.folder / "first.npz", "--rounds", "1", "--clip", "1"
    assert "is not the folder of a server" in refused("serve", tmp_path, *model)
    ServerHome.create(tmp_path / "server")
    assert "has no roster" in refused("serve", tmp_path / "server", *model)
    with ServerHome.open(federation.server):
        assert "one writer" in refused("serve", federation.server, *model)


def test_joining_that_does_not_work(federation: Federation, tmp_path: Path) -> None:
    node = federation.node(0)
    update = "--update", f"{node / 'update.py'}:update"
    assert "--update" in refused("join", node, "127.0.0.1:7443")
    for address in ("127.0.0.1", "127.0.0.1:", ":7443", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:99999"):
        assert "HOST:PORT is needed" in refused("join", node, address, *update)
    assert "is not the folder of a node" in refused("join", tmp_path, "[::1]:7443", *update)
    files = {
        "broken.py": "def f(:",
        "raises.py": "raise RuntimeError('no data')",
        "other.py": "import sys\nvalue = 3",
        "leaves.py": "def f(arrays):\n    return arrays, 1, {}",
        "note.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for given, said in (
        ("broken.py", "FILE.py:FUNCTION is needed"),
        (f"{tmp_path / 'broken.py'}:", "FILE.py:FUNCTION is needed"),
        (f"{tmp_path / 'nowhere.py'}:f", "is no file"),
        (f"{tmp_path / 'note.txt'}:f", "is no Python file"),
        (f"{tmp_path / 'broken.py'}:f", "cannot be run: SyntaxError"),
        (f"{tmp_path / 'raises.py'}:f", "cannot be run: RuntimeError: no data"),
        (f"{tmp_path / 'other.py'}:f", "has no function 'f'"),
        (f"{tmp_path / 'other.py'}:value", "has no function 'value'"),
    ):
        assert said in refused("join", node, "127.0.0.1:7443", "--update", given)
    good = "--update", f"{tmp_path / 'leaves.py'}:f"
    assert "--max-message is 0" in refused("join", node, "127.0.0.1:7443", *good, "--max-message", "0")
    said = run("join", node, "127.0.0.1:9", *good, "--patience", "0").err.splitlines()[-1]
    assert "no server at 127.0.0.1:9 for 0 s" in said
    (node / "identity").chmod(0o644)
    assert "chmod 600" in refused("join", node, "127.0.0.1:7443", *good)
    (node / "identity").chmod(0o600)


def test_joining_before_the_operator_has_answered(tmp_path: Path) -> None:
    run("keys", "node", tmp_path / "new", "--id", "new")
    (tmp_path / "f.py").write_text("def f(arrays):\n    return arrays, 1, {}")
    assert "has no roster" in refused("join", tmp_path / "new", "127.0.0.1:7443", "--update", f"{tmp_path / 'f.py'}:f")


def test_ctrl_c_while_nobody_is_there(federation: Federation) -> None:
    """In this process: the handlers are those of the running loop, and are gone with it."""
    model = "--model", federation.folder / "first.npz", "--rounds", "1", "--clip", "1", "--port", "0", "--json"
    timer = threading.Timer(1.0, os.kill, (os.getpid(), 2))
    timer.start()
    result = run("serve", federation.server, *model)
    timer.join()
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


# ---- models in files


def test_models_survive_the_file(tmp_path: Path) -> None:
    arrays = {
        "file": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a/b.weight": np.zeros((0, 4)),
        "scalar": np.array(3, dtype=np.int64),
    }
    for _ in range(2):  # over an older one
        save_model(tmp_path / "model.npz", arrays)
    loaded = load_model(tmp_path / "model.npz")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(loaded[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]
    np.savez(tmp_path / "theirs.npz", w=np.ones(3))
    assert load_model(tmp_path / "theirs.npz")["w"].tolist() == [1, 1, 1]


def test_models_that_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", w=np.array([{}], dtype=object))
    np.savez(tmp_path / "complex.npz", w=np.zeros(3, np.complex64))
    np.savez(tmp_path / "empty.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "complex.npz").read_bytes()[:50])
    for name, said in (
        ("objects.npz", "is no model"),
        ("complex.npz", "dtype complex64"),
        ("empty.npz", "holds no arrays"),
        ("one.npy", "is no model"),
        ("cut.npz", "is no model"),
    ):
        with pytest.raises(ValueError, match=said):
            load_model(tmp_path / name)


def test_a_model_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot be written"):
        save_model(tmp_path / "no such folder" / "model.npz", first_model(100))

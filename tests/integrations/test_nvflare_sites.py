"""Both sides of the NVFlare adapter without its network: what a site refuses, who learns why, what leaves it."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp import oneshot
from privcomp.errors import EncodingError, LocalError, ParameterError, RemoteError
from privcomp.integrations.committee import drawn_committee
from privcomp.integrations.home import NodeHome, make_roster
from privcomp.keys import Identity, Roster
from privcomp.ledger import ABORTED, COMPLETE
from privcomp.rounds.aggregation import TRAINING_STAGES
from tests.integrations import nvflare_harness as harness

harness.require_nvflare()

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable  # noqa: E402
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode  # noqa: E402
from nvflare.apis.fl_context import FLContext  # noqa: E402
from nvflare.apis.shareable import Shareable, make_reply  # noqa: E402
from nvflare.apis.signal import Signal  # noqa: E402
from nvflare.apis.workspace import Workspace  # noqa: E402
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe  # noqa: E402
from nvflare.collab import collab  # noqa: E402
from nvflare.collab.api.decorators import get_object_publish_interface  # noqa: E402
from nvflare.collab.api.module_wrapper import ModuleWrapper  # noqa: E402
from nvflare.private.fed.app.fl_conf import create_privacy_manager  # noqa: E402
from nvflare.private.fed.client.client_runner import TaskRouter  # noqa: E402

from privcomp.integrations import nvflare as adapter  # noqa: E402
from privcomp.integrations.nvflare import site as sites  # noqa: E402
from privcomp.integrations.nvflare.server import Proposal, SecureServer, load_executor  # noqa: E402
from privcomp.integrations.nvflare.tasks import NAME, QuietExecutor, _told  # noqa: E402

SITES = harness.SITES
MODEL = {"w": np.zeros(6, np.float32), "b": np.ones((2, 2)), "n": np.array([3, 4])}
PROPOSAL = Proposal(clip=2.0, max_weight=1000, metrics={"loss": (0.0, 4.0)}, kept=("n",), corrupt=0)

META = {"current_round": 1}
TOLD = _told(DXO(DataKind.WEIGHTS, data={NAME: b""}, meta=dict(META)).to_shareable())

Reply = Callable[[dict[str, Any]], Shareable]


def context(site: str, task: str) -> FLContext:
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=True)
    fl_ctx.set_prop(FLContextKey.TASK_NAME, task, private=True, sticky=False)
    fl_ctx.set_prop(FLContextKey.TASK_ID, str(uuid.uuid4()), private=True, sticky=False)
    return fl_ctx


def reply(
    arrays: Mapping[str, Any] | None = None,
    *,
    kind: str = DataKind.WEIGHTS,
    steps: Any = 10,
    metrics: Mapping[str, Any] | None = None,
    **meta: Any,
) -> Shareable:
    """What a training script's executor returns."""
    given: dict[str, Any] = {**meta, MetaKey.INITIAL_METRICS: {"loss": 1.0} if metrics is None else metrics}
    if steps is not None:
        given[MetaKey.NUM_STEPS_CURRENT_ROUND] = steps
    return DXO(kind, data=dict(arrays or {}), meta=given).to_shareable()


def honest(model: dict[str, Any]) -> Shareable:
    return reply({name: array + 1 if array.dtype.kind == "f" else array for name, array in model.items()})


#: The same, one-shot; four of the five sites must answer.
ONE_SHOT = replace(PROPOSAL, protocol="oneshot", committee=SITES[::-1])


class Federation:
    """A server and five sites whose executors and filters are called as NVFlare calls them."""

    def __init__(self, folder: Path, proposal: Proposal = PROPOSAL) -> None:
        self.folder = folder / "homes"
        self.simulation = adapter.simulation_homes(
            self.folder, SITES, policy="corrupt = 0", committee=proposal.committee
        )
        self.scripts: dict[str, Reply] = {}
        self.replies: list[tuple[str, str, Shareable]] = []
        self.change: Callable[[str, str, bytes], bytes] = lambda stage, site, message: message
        self.meddle: Callable[[str, Shareable], None] = lambda site, task: None
        self.pairs = 1
        self.server = SecureServer(proposal, simulation=self.simulation)

    def close(self) -> None:
        self.server.close()
        for site in SITES:
            sites.close_sites(site)

    def at(self, site: str, stage: str, message: bytes) -> Shareable:
        """One task at one site."""
        task = DXO(DataKind.WEIGHTS, data={NAME: message}, meta=dict(META)).to_shareable()
        self.meddle(site, task)
        if stage not in TRAINING_STAGES:
            executor = adapter.SecureExecutor(self.simulation)
            return executor.execute(NAME, task, context(site, NAME), Signal())
        fl_ctx = context(site, "train")
        try:
            for _ in range(self.pairs):
                task = adapter.ModelFilter(self.simulation).process(task, fl_ctx)
            result = self.scripts.get(site, honest)(from_shareable(task).data)
            for _ in range(self.pairs):
                result = adapter.MaskFilter(self.simulation).process(result, fl_ctx)
            return result
        except (sites.SiteRefused, RemoteError):
            return make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR)

    def call(self, stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        for site, message in messages.items():
            answer = self.at(site, stage, self.change(stage, site, message))
            self.replies.append((site, stage, answer))
            if answer.get_return_code() == ReturnCode.OK:
                yield site, from_shareable(answer).data[NAME]

    def round(self, model: Mapping[str, Any] = MODEL) -> adapter.Outcome:
        return self.server.round("update", model, SITES, self.call, TOLD)

    def lost(self, outcome: adapter.Outcome) -> list[str]:
        assert outcome.result is not None, outcome.error
        names = [party.decode().removeprefix("simulation-") for party in outcome.result.aggregate.survivors]
        return [site for site in SITES if site not in names]


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path)
    yield made
    made.close()


@pytest.fixture
def one_shot(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path, ONE_SHOT)
    yield made
    made.close()


@pytest.mark.parametrize("stage", ["", "boxkeys", "upload", "accept", "vote", "answer"])
def test_a_one_shot_round(one_shot: Federation, stage: str) -> None:
    """All sites take turns in one process, and forget: what they must remember stands in their homes. A site that is
    lost is out of the sum only if its upload is."""
    at = one_shot.at

    def swapped(site: str, now: str, message: bytes) -> Shareable:
        if (site, now) == ("site-2", stage):
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        try:
            return at(site, now, message)
        finally:
            sites.close_sites(site)

    one_shot.at = swapped  # type: ignore[method-assign]
    outcome = one_shot.round()
    assert one_shot.lost(outcome) == (["site-2"] if stage == "upload" else [])
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3
    assert outcome.arrays["n"].tolist() == [3, 4]
    assert outcome.metrics["loss"] == pytest.approx(1.0, abs=1e-3)
    stages = list(dict.fromkeys(now for _, now, _ in one_shot.replies))
    assert stages == ["boxkeys", "upload", "accept", "vote", "answer"]
    for _, now, answer in one_shot.replies:
        if answer.get_return_code() == ReturnCode.OK:
            assert all(map(sites.is_answer, from_shareable(answer).data[NAME])), now


def test_a_one_shot_round_that_stalls(one_shot: Federation) -> None:
    """It is finished when it is asked for again; the script does not train a second time."""
    lost = {"site-2", "site-3"}

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        for site, answers in one_shot.call(stage, messages, seconds):
            if stage != "vote" or site not in lost:
                yield site, answers

    outcome = one_shot.server.round("update", MODEL, SITES, call, TOLD)
    assert outcome.error == "vote: 3 votes, 4 are needed; nothing was opened"
    lost.clear()
    one_shot.scripts = dict.fromkeys(SITES, lambda model: pytest.fail("trained again"))
    outcome = one_shot.server.round("update", MODEL, SITES, call, TOLD)
    assert one_shot.lost(outcome) == []
    assert [record.outcome for record in one_shot.server.home.ledger.records()] == [COMPLETE]


def test_a_one_shot_request_is_not_answered_without_training(one_shot: Federation) -> None:
    """Nor is a model that nobody announced."""

    def change(stage: str, site: str, message: bytes) -> bytes:
        if stage == "upload" and site == "site-2":
            return message.replace(MODEL["b"].tobytes(), (MODEL["b"] + 1).tobytes())
        return message

    one_shot.change = change
    taken: list[Shareable] = []

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        if stage == "upload":
            taken.append(one_shot.at("site-3", "vote", messages["site-3"]))
        yield from one_shot.call(stage, messages, seconds)

    assert one_shot.lost(one_shot.server.round("update", MODEL, SITES, call, TOLD)) == ["site-2"]
    assert [answer.get_return_code() for answer in taken] == [ReturnCode.EXECUTION_EXCEPTION]


def test_an_honest_round(federation: Federation) -> None:
    outcome = federation.round()
    assert federation.lost(outcome) == []
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3
    assert np.abs(outcome.arrays["b"] - 2).max() < 1e-3
    assert outcome.arrays["n"].tolist() == [3, 4]
    assert outcome.metrics["loss"] == pytest.approx(1.0, abs=1e-3)
    assert {name: array.dtype for name, array in outcome.arrays.items()} == {k: v.dtype for k, v in MODEL.items()}
    assert set(outcome.sent) == set(outcome.received) == set(SITES)
    federation.server.close()
    record = next(federation.server.home.ledger.records())
    assert all(party.startswith(b"simulation-") for party in record.u1)


def test_the_pair_in_the_sites_own_configuration_and_in_the_job(federation: Federation) -> None:
    """NVFlare runs the site's filters before the job's, in both directions."""
    federation.pairs = 2
    outcome = federation.round()
    assert federation.lost(outcome) == []
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3


def changed(**changes: Any) -> Reply:
    """An honest reply, except for these arrays (None: left out)."""

    def script(model: dict[str, Any]) -> Shareable:
        arrays = {**from_shareable(honest(model)).data, **changes}
        return reply({name: array for name, array in arrays.items() if array is not None})

    return script


WRONG: dict[str, tuple[Reply, str]] = {
    "nan": (changed(w=np.full(6, np.nan, np.float32)), "NaN or infinite"),
    "shape": (changed(w=np.zeros(5, np.float32)), "shape"),
    "dtype": (changed(w=np.zeros(6, np.float64)), "float64"),
    "missing": (changed(b=None), "missing"),
    "extra": (changed(x=np.zeros(1)), "did not send"),
    "list": (changed(w=[0.0] * 6), "list"),
    "metric missing": (lambda model: reply(from_shareable(honest(model)).data, metrics={}), "did not return"),
    "metric nan": (lambda model: reply(from_shareable(honest(model)).data, metrics={"loss": np.nan}), "finite"),
    "metric text": (lambda model: reply(from_shareable(honest(model)).data, metrics={"loss": "1"}), "number"),
    "weight zero": (lambda model: reply(from_shareable(honest(model)).data, steps=0), "weight"),
    "weight half": (lambda model: reply(from_shareable(honest(model)).data, steps=1.5), "weight"),
    "kind": (lambda model: reply({"loss": 1.0}, kind=DataKind.METRICS), "WEIGHTS"),
    "diff of a stranger": (lambda model: reply({"x": np.zeros(1)}, kind=DataKind.WEIGHT_DIFF), "unknown"),
    "no dxo": (lambda model: Shareable({"w": 1}), "valid DXO"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_script_may_not_return(federation: Federation, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """The site's own log says why, the server learns nothing but the loss, and the round goes on."""
    federation.scripts["site-3"], text = WRONG[case]
    outcome = federation.round()
    assert federation.lost(outcome) == ["site-3"]
    (record,) = [record for record in caplog.records if "site-3 does not answer" in record.message]
    assert text in record.exc_text or text in str(record.exc_info[1])  # type: ignore[operator, index]
    (told,) = [answer for site, stage, answer in federation.replies if (site, stage) == ("site-3", "mask")]
    assert dict(told) == dict(make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR))


def test_a_reply_without_weight_counts_once_and_differences_are_taken_as_such(federation: Federation) -> None:
    federation.scripts["site-2"] = lambda model: reply(from_shareable(honest(model)).data, steps=None)
    federation.scripts["site-4"] = lambda model: reply(
        {"w": np.ones(6, np.float32), "b": np.ones((2, 2)), "n": np.zeros(2, np.int64)}, kind=DataKind.WEIGHT_DIFF
    )
    federation.scripts["site-5"] = lambda model: reply(from_shareable(honest(model)).data, steps=np.float64(30))
    outcome = federation.round()
    assert federation.lost(outcome) == []
    assert outcome.result is not None
    assert outcome.result.decoded.total_weight == 61
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3


def test_nothing_but_messages_leaves_a_site(federation: Federation) -> None:
    """Whatever a script adds to its reply: headers, metadata, further data."""

    def script(model: dict[str, Any]) -> Shareable:
        out = reply(from_shareable(honest(model)).data, steps=7, metrics={"loss": 1, "age": 81}, note="secret", x=[1.5])
        out["more"] = "secret"
        out.set_header("secret", "secret")
        return out

    federation.scripts = dict.fromkeys(SITES, script)
    assert federation.round().error is None
    for _, _, answer in federation.replies:
        assert answer.keys() == {"__headers__", "DXO"}
        assert answer["__headers__"] == {"__content_type__": "DXO"}
        assert answer["DXO"]["meta"] == {}
        assert list(answer["DXO"]["data"]) == [NAME]
        assert all(map(sites.is_answer, answer["DXO"]["data"][NAME]))


def test_filters_refuse_what_is_not_part_of_a_round(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """Also what a job without our controller would ask, where the pair stands in a site's privacy.json."""
    model, mask = adapter.ModelFilter(federation.simulation), adapter.MaskFilter(federation.simulation)
    plain = DXO(DataKind.WEIGHTS, data={"w": np.zeros(3)}).to_shareable()
    with pytest.raises(RemoteError, match="without a request to train"):
        model.process(plain, context("site-1", "train"))
    with pytest.raises(RemoteError):
        model.process(Shareable(), context("site-1", "submit_model"))
    for task in ("train", "validate", NAME):
        with pytest.raises(sites.SiteRefused):
            mask.process(reply({"w": np.zeros(3)}), context("site-1", task))
        with pytest.raises(sites.SiteRefused):
            mask.process(DXO(DataKind.APP_DEFINED, data={NAME: [b"\x00\x01"]}).to_shareable(), context("site-1", task))
    failed = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    failed["w"] = "secret"
    assert dict(mask.process(failed, context("site-1", "train"))) == dict(make_reply(ReturnCode.EXECUTION_EXCEPTION))
    # A key stage passes both unchanged.
    task = DXO(DataKind.WEIGHTS, data={NAME: b"x"}).to_shareable()
    assert model.process(task, context("site-1", NAME)) is task
    federation.round()
    answer = next(answer for _, stage, answer in federation.replies if stage == "advertise")
    assert mask.process(answer, context("site-1", NAME)) == answer


def test_the_training_stage_is_not_answered_without_training(federation: Federation) -> None:
    """The executor of the key stages has no update: a masking request that comes as such a task is refused."""
    taken: list[Shareable] = []

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        if stage == "mask":
            taken.extend(federation.at(site, "share", message) for site, message in messages.items())
            return
        yield from federation.call(stage, messages, seconds)

    outcome = federation.server.round("update", MODEL, SITES, call, TOLD)
    assert "uploads" in (outcome.error or "")
    assert {answer.get_return_code() for answer in taken} == {ReturnCode.EXECUTION_EXCEPTION}
    assert outcome.arrays["w"].tolist() == MODEL["w"].tolist()
    assert federation.round().error is None
    assert [record.outcome for record in federation.server.home.ledger.records()] == [ABORTED, COMPLETE]


def test_a_model_that_is_not_the_announced_one(federation: Federation) -> None:
    """The script trains, but the update stays: the request's model does not have the announced hash."""

    def change(stage: str, site: str, message: bytes) -> bytes:
        if stage == "mask" and site == "site-2":
            return message.replace(MODEL["b"].tobytes(), (MODEL["b"] + 1).tobytes())
        return message

    federation.change = change
    assert federation.lost(federation.round()) == ["site-2"]


@pytest.mark.parametrize("where", ["meta", "header"])
def test_a_site_that_is_told_something_else(federation: Federation, where: str) -> None:
    """A learning rate or a number of the round, for one site only, would make the sum that site's update."""

    def meddle(site: str, task: Shareable) -> None:
        if site == "site-2" and where == "meta":
            task["DXO"]["meta"]["rate"] = 1.0
        elif site == "site-2":
            task.set_header("current_round", 99)

    federation.meddle = meddle
    assert federation.lost(federation.round()) == ["site-2"]


def test_a_task_that_comes_twice_with_another_model(federation: Federation) -> None:
    """Once the request, which the script fails on, then under the same id a model that nobody announced."""
    model, mask = adapter.ModelFilter(federation.simulation), adapter.MaskFilter(federation.simulation)
    served: list[str] = []

    def at(site: str, stage: str, message: bytes) -> Shareable:
        if stage != "mask":
            return Federation.at(federation, site, stage, message)
        fl_ctx = context(site, "train")
        task = DXO(DataKind.WEIGHTS, data={NAME: message}, meta=dict(META)).to_shareable()
        model.process(task, fl_ctx)
        if site != "site-1":
            mask.process(make_reply(ReturnCode.TASK_ABORTED), fl_ctx)
        other = DXO(DataKind.WEIGHTS, data={"w": np.full(6, 9.0, np.float32)}, meta=dict(META)).to_shareable()
        with pytest.raises(RemoteError, match="without a request to train"):
            model.process(other, fl_ctx)
        with pytest.raises(sites.SiteRefused):
            mask.process(honest(MODEL), fl_ctx)
        served.append(site)
        return make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR)

    federation.at = at  # type: ignore[method-assign]
    assert federation.round().result is None
    assert served == SITES


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consistency", "unmask"])
def test_another_version_and_garbage(federation: Federation, stage: str) -> None:
    def change(now: str, site: str, message: bytes) -> bytes:
        if now == stage and site == "site-2":
            return message[:2] + b"\x02" + message[3:]
        return message[:-1] if now == stage and site == "site-4" and stage == "advertise" else message

    federation.change = change
    survives = stage in ("consistency", "unmask")
    expected = [] if survives else ["site-2", "site-4"] if stage == "advertise" else ["site-2"]
    if stage == "advertise":
        # Three of five are left, where c = 0 and n = 3 need more than t = 2.
        outcome = federation.round()
        assert federation.lost(outcome) == expected
    else:
        assert federation.lost(federation.round()) == expected


def test_other_policy_and_other_roster(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """A node whose own file forbids what is asked, or that knows other members, sits out and says so at its side."""
    file = federation.folder / "site-2" / "policy.toml"
    file.write_text(file.read_text().replace("require_hybrid = false", "require_hybrid = true"))
    certificates = {}
    for name in SITES[:4]:
        with NodeHome.open(federation.folder / name) as home:
            certificates[name] = home.certificate.read_bytes()
    roster, _ = make_roster(certificates)
    server = (federation.folder / "server" / "server.pem").read_bytes()
    NodeHome.trust(federation.folder / "site-4", roster.to_bytes(), server, force=True)
    assert federation.lost(federation.round()) == ["site-2", "site-4"]
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert any("refused by this node's policy" in text for text in texts)
    assert any("roster" in text for text in texts)


def test_two_sites_with_one_home(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(federation.folder / "site-5")
    shutil.copytree(federation.folder / "site-1", federation.folder / "site-5")
    outcome = federation.round()
    assert federation.lost(outcome) == ["site-5"]
    assert any("give every site its own home" in str(r.exc_info[1]) for r in caplog.records if r.exc_info)


def test_a_site_that_answers_in_anothers_name(federation: Federation) -> None:
    """The sender is who NVFlare has authenticated, whatever the message says; both copies are dropped."""

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        for site, answers in federation.call(stage, messages, seconds):
            yield ("site-2" if site == "site-1" and stage == "advertise" else site), answers

    outcome = federation.server.round("update", MODEL, SITES, call, TOLD)
    assert set(federation.lost(outcome)) >= {"site-1"}


def test_a_round_that_stalls_is_finished_on_the_same_model(federation: Federation) -> None:
    """Too few answer in the last stage; asked again on this model, the same survivors complete the same round."""

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        for site, answers in federation.call(stage, messages, seconds):
            if stage != "unmask" or site == "site-1":
                yield site, answers

    stalled = federation.server.round("update", MODEL, SITES, call, TOLD)
    assert stalled.result is None
    assert stalled.arrays["w"].tolist() == MODEL["w"].tolist()
    federation.server.close()
    federation.server = SecureServer(PROPOSAL, simulation=federation.simulation)  # the server was restarted
    before = len(federation.replies)
    outcome = federation.round()
    assert federation.lost(outcome) == []
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3
    assert {stage for _, stage, _ in federation.replies[before:]} == {"unmask"}
    assert [record.outcome for record in federation.server.home.ledger.records()] == [COMPLETE]


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 1.0},
        {"metrics": {"loss": (0.0, 8.0)}},
        {"metrics": {}},
        {"metrics": {"loss": (0.0, 4.0), "age": (0, 9)}},
    ],
)
def test_a_stalled_round_is_decoded_by_its_own_declaration(federation: Federation, changes: dict[str, Any]) -> None:
    """Also if the job that finishes it proposes another clip or other metrics."""

    def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
        for site, answers in federation.call(stage, messages, seconds):
            if stage != "unmask" or site == "site-1":
                yield site, answers

    assert federation.server.round("update", MODEL, SITES, call, TOLD).result is None
    federation.server.close()
    federation.server = SecureServer(replace(PROPOSAL, **changes), simulation=federation.simulation)
    outcome = federation.round()
    assert federation.lost(outcome) == []
    assert np.abs(outcome.arrays["w"] - 1).max() < 1e-3
    assert outcome.metrics == {"loss": pytest.approx(1.0, abs=1e-3)}


def test_strangers_are_not_asked(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    outcome = federation.server.round("update", MODEL, [*SITES, "site-9"], federation.call, TOLD)
    assert federation.lost(outcome) == []
    assert "not in the roster, not asked: site-9" in caplog.text
    assert "site-9" not in outcome.sent


def test_integers_are_refused_at_the_server(federation: Federation) -> None:
    other = SecureServer.round
    federation.server.proposal = Proposal(clip=2.0, max_weight=1000, corrupt=0)
    with pytest.raises(EncodingError, match="name it in `kept`"):
        other(federation.server, "update", MODEL, SITES, federation.call)
    assert federation.replies == []


def test_homes(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job cannot lead a real site to other keys, nor out of the simulation's folder."""
    monkeypatch.setenv("PRIVCOMP_HOME", str(tmp_path))
    with pytest.raises(LocalError, match="real home"):
        sites.home_folder("site-1", federation.simulation)
    with pytest.raises(sites.SiteRefused):
        sites.site("site-1", federation.simulation)
    assert sites.home_folder("site-1", None) == tmp_path.resolve()
    monkeypatch.setenv("PRIVCOMP_HOME", str(tmp_path / "{site}"))
    assert sites.home_folder("site-1", None) == tmp_path.resolve() / "site-1"
    monkeypatch.delenv("PRIVCOMP_HOME")
    with pytest.raises(LocalError, match="PRIVCOMP_HOME"):
        sites.home_folder("site-1", None)
    with pytest.raises(LocalError, match="cannot be the name"):
        sites.home_folder("../server", federation.simulation)
    assert adapter.simulation_homes(federation.folder, SITES) == federation.simulation
    with pytest.raises(LocalError, match="without site-6"):
        adapter.simulation_homes(federation.folder, [*SITES, "site-6"])
    with pytest.raises(ParameterError):
        adapter.simulation_homes(tmp_path / "none", [])
    with pytest.raises(LocalError, match=r"in use|another"):
        SecureServer(PROPOSAL, simulation=federation.simulation)


def test_a_home_that_another_process_holds(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "_LOCK_SECONDS", 0.3)
    with NodeHome.open(federation.folder / "site-1"), pytest.raises(sites.SiteRefused):
        sites.site("site-1", federation.simulation)
    assert sites.site("site-1", federation.simulation).name == "site-1"


def test_a_members_close_is_an_answer() -> None:
    """A model that moves to another committee needs it; what a server sends is none."""
    close = oneshot.messages.Close(b"site-1", bytes(32), bytes(32), bytes(64))
    assert sites.is_answer(close.to_bytes())
    assert not sites.is_answer(oneshot.messages.CloseRequest(b"").to_bytes())


def test_proposals_of_committees() -> None:
    for options in ({"protocol": "oneshot"}, {"committee": SITES}):
        with pytest.raises(ParameterError, match="go together"):
            Proposal(clip=1.0, max_weight=1, **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="privacy is about a committee"):
        Proposal(clip=1.0, max_weight=1, privacy=1)
    roster = Roster.of({b"site-%d" % k: Identity.generate().public for k in range(1, 6)})
    spec = replace(ONE_SHOT, privacy=2).spec("update", MODEL, 3, roster)
    assert isinstance(spec.aggregation, oneshot.Params)
    assert (spec.aggregation.committee.ids, spec.aggregation.committee.privacy) == (roster.ids, 2)
    assert (spec.aggregation.clients, spec.aggregation.survivors_min) == (5, 3)
    with pytest.raises(ParameterError, match="not in the roster"):
        replace(ONE_SHOT, committee=["site-9", *SITES[:4]]).spec("update", MODEL, 3, roster)
    with pytest.raises(ParameterError, match="named, or drawn"):
        replace(ONE_SHOT, beacon="abcd")
    with pytest.raises(ParameterError, match="hexadecimal digits"):
        replace(ONE_SHOT, committee=(), beacon="beacon")
    eight = Roster.of({b"site-%d" % k: Identity.generate().public for k in range(8)})
    drawn = replace(ONE_SHOT, committee=(), beacon="abcd", absent=1e-6, corrupt=1).spec("update", MODEL, 3, eight)
    assert drawn.aggregation.committee == drawn_committee(eight, b"\xab\xcd", absent=1e-6, corrupt=1)  # type: ignore[union-attr]
    assert drawn.aggregation.clients == 8


def test_proposals() -> None:
    roster = Roster.of({b"site-%d" % k: Identity.generate().public for k in range(6)})
    with pytest.raises(ParameterError, match="no stage masks"):
        Proposal(clip=1.0, max_weight=1, deadlines={"masks": 1.0})
    spec = Proposal(clip=1.0, max_weight=10).spec("update", {"w": np.zeros(3)}, 6, roster)
    assert (spec.aggregation.corrupt, spec.aggregation.adversary) == (1, "malicious")


@pytest.mark.parametrize("name", ["nothing:here", "json:loads", "json:nothing", "builtins:list"])
def test_executors_by_name(name: str) -> None:
    with pytest.raises((LocalError, TypeError)):
        load_executor(name)


def recipe(**options: Any) -> NumpyFedAvgRecipe:
    script = str(harness.JOBS / "script.py")
    return NumpyFedAvgRecipe(name="job", model=[0.0], min_clients=4, num_rounds=7, train_script=script, **options)


def test_secure_takes_over_the_controllers_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = recipe(stop_cond="accuracy >= 0.9", patience=3)
    assert adapter.secure(made, clip=1.0, max_weight=10) is made
    (flow,) = made._job._deploy_map["server"].app_config.workflows
    controller = flow.controller
    assert type(controller) is adapter.SecureFedAvg
    assert (controller.num_rounds, controller.num_clients, controller.patience) == (7, 4, 3)
    assert controller.stop_cond == "accuracy >= 0.9"
    assert "stay at the sites" in caplog.text
    made.export(str(tmp_path))
    exported = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in exported if "custom" in name and "privcomp" in name]
    assert "ConvertToFedEvent" not in "".join(path.read_text() for path in tmp_path.rglob("config_fed_client.json"))
    with pytest.raises(LocalError, match="FedAvg"):
        adapter.secure(made, clip=1.0, max_weight=10)


@pytest.mark.parametrize("external", [False, True])
def test_training_code_answers_filtered_tasks_only_and_sends_no_events(tmp_path: Path, external: bool) -> None:
    """Else a server has the update in the clear as task "train2", and what an external script logs as events."""
    made = adapter.secure(recipe(launch_external_process=external), clip=1.0, max_weight=10)
    made.export(str(tmp_path))
    (file,) = tmp_path.rglob("config_fed_client.json")
    config = json.loads(file.read_text())
    router = TaskRouter()
    for entry in config["executors"]:
        router.add_executor(entry["tasks"], entry["executor"]["path"])
    filtered = {task for entry in config["task_result_filters"] for task in entry["tasks"]}
    assert filtered == {task for entry in config["task_data_filters"] for task in entry["tasks"]} == {"train"}
    assert router.route("train").endswith("tasks.QuietExecutor")
    assert router.route(NAME).endswith("tasks.SecureExecutor")
    assert [router.route(task) for task in ("train2", "validate", "submit_model", "*")] == [None] * 4
    (executor,) = [entry["executor"] for entry in config["executors"] if entry["tasks"] == ["train"]]
    quiet = QuietExecutor(**executor["args"])
    assert quiet.execution_mode == ("external_process" if external else "in_process")
    quiet.set_analytics_fire_fed_event(True)  # what NVFlare does for scripts in a process of their own
    assert not quiet._analytics_fire_fed_event


@pytest.mark.parametrize("options", [{"aggregation_weights": {"site-1": 2.0}}, {"exclude_vars": "w.*"}])
def test_secure_refuses_what_needs_single_updates(options: dict[str, Any]) -> None:
    made = recipe()
    controller = made._job._deploy_map["server"].app_config.workflows[0].controller
    for name, value in options.items():
        setattr(controller, name, value)
    with pytest.raises(LocalError, match="single updates"):
        adapter.secure(made, clip=1.0, max_weight=10)


def test_publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One parameter; `self` for methods only; and never beside @collab.publish."""

    @adapter.secure_publish
    def train(arrays: Any) -> Any:
        """Trains."""

    class Trainer:
        @adapter.secure_evaluation
        def evaluate(self, arrays: Any) -> Any:
            """Evaluates."""

    assert train._collab_param_names == Trainer.evaluate._collab_param_names == ["message"]
    (tmp_path / "privcomp_test_job.py").write_text(
        "from privcomp.integrations.nvflare import secure_publish\n"
        "@secure_publish\ndef train(arrays):\n    return arrays, 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    published = get_object_publish_interface(ModuleWrapper("privcomp_test_job"))
    assert {name: list(interface) for name, interface in published.items()} == {"train": ["message"]}
    with pytest.raises(LocalError, match="remove it"):
        adapter.secure_publish(collab.publish(lambda arrays: None))


def test_errors_of_the_log_do_not_travel(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """What the server could be told has neither text nor cause of the site's exception."""
    opened = sites.site("site-1", federation.simulation)
    with caplog.at_level(logging.ERROR), pytest.raises(sites.SiteRefused) as caught:
        opened.answer(b"nonsense", {})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value) == "this site did not answer; the reason stands in its own log"


def test_the_pair_in_privacy_json(tmp_path: Path) -> None:
    """NVFlare builds the site's own pair from the lines that docs/nvflare.md gives."""
    text = (harness.ROOT / "docs" / "nvflare.md").read_text()
    (tmp_path / "local").mkdir()
    (tmp_path / "startup").mkdir()
    (tmp_path / "local" / "privacy.json").write_text(text.partition("```json\n")[2].partition("```")[0])
    scope = create_privacy_manager(Workspace(str(tmp_path)), names_only=False).get_scope(None)
    assert [type(f) for f in scope.task_data_filters["in"]] == [adapter.ModelFilter]
    assert [type(f) for f in scope.task_result_filters["out"]] == [adapter.MaskFilter]

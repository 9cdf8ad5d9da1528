"""Task API: `secure(recipe)` puts a controller that drives rounds in the place of FedAvg, and a pair of filters around
the training script, which stays as it is.

    server                                   site
    task "privcomp"  keys, shares, quorum  ->  SecureExecutor answers, no training code runs
    task "train"     request with model    ->  ModelFilter hands the model on -> script -> MaskFilter masks its result

That request is the whole content of the training task: what the script trains on is what the site verifies against the
announced hash. The reply is the masked, or encrypted, vector and nothing else: the filter makes a new reply and copies
nothing into it, so weight, metrics and whatever else a script adds to its metadata stay at the site.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.controller_spec import ClientTask, SendOrder, Task
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_common.widgets.metric_relay import MetricRelay
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.fuel.utils.class_utils import get_component_init_parameters
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

from privcomp.errors import LocalError, RemoteError
from privcomp.integrations.nvflare import site as sites
from privcomp.integrations.nvflare.server import Outcome, Proposal, SecureServer, load_executor
from privcomp.integrations.nvflare.site import Arrays, SiteRefused, Update
from privcomp.rounds import Task as RoundTask
from privcomp.rounds.aggregation import TRAINING_STAGES

__all__ = ["MaskFilter", "ModelFilter", "SecureExecutor", "SecureFedAvg", "SecureRounds", "secure"]

#: Name of the task that carries every stage but the training, and of the bytes in a task's data.
NAME: Final = "privcomp"
_TRAIN: Final = "train"
_FETCH_SECONDS: Final = 0.2

_log = logging.getLogger("privcomp.nvflare")


def _installed(job: FedJob) -> None:
    """Keep this package out of the job's own code: a copy of parts of it would hide the installed one."""
    packages = job.job.app_packages
    if NAME not in packages:
        job.set_app_packages([*packages, NAME])


class _AtSite:
    """What the three components of a site share.

    Args:
        simulation: folder of `simulation_homes`; None: PRIVCOMP_HOME of the site's process.
    """

    def __init__(self, simulation: str | None = None) -> None:
        super().__init__()
        self.simulation = simulation

    def add_to_fed_job(self, job: FedJob, ctx: Any, **kwargs: Any) -> Any:
        """Called by FedJob."""
        _installed(job)
        return super().add_to_fed_job(job, ctx, **kwargs)  # type: ignore[misc]

    def _site(self, fl_ctx: FLContext) -> sites.Site:
        return sites.site(fl_ctx.get_identity_name(), self.simulation)


class SecureExecutor(_AtSite, Executor):
    """Answers the task "privcomp": every stage in which no training code runs."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """One message in, its answers out."""
        message = _message(shareable)
        if task_name != NAME or message is None:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            return _reply(self._site(fl_ctx).answer(message, {}))
        except SiteRefused:
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Releases the home at the end of the job, or of a simulator's turn."""
        if event_type in (EventType.END_RUN, EventType.SWAP_OUT):
            sites.close_sites(fl_ctx.get_identity_name())


class ModelFilter(_AtSite, Filter):
    """On the way in of a training task: the request to train is kept, the script gets its model."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The task as the script expects it.

        Raises:
            RemoteError: no request to train in it: a training task that is not part of a round.
        """
        if fl_ctx.get_prop(FLContextKey.TASK_NAME) == NAME:
            return shareable
        site, task = self._site(fl_ctx), fl_ctx.get_prop(FLContextKey.TASK_ID)
        message = _message(shareable)
        if message is None and site.pending is not None and site.pending.task is shareable:
            return shareable  # the site's own pair, in privacy.json, was before the job's
        site.pending = None
        if message is None:
            raise RemoteError(b"server", "mask", "a task without a request to train; this site answers no such task")
        arrays = RoundTask("update").parse(sites.requested_model(message))
        dxo, told = from_shareable(shareable), _told(shareable)
        # The arrays are read-only views of the request; scripts train in place.
        data = {name: array.copy() for name, array in arrays.items()}
        out: Shareable = DXO(DataKind.WEIGHTS, data=data, meta=dxo.meta).update_shareable(shareable)
        site.pending = sites.Pending(task, message, told, out)
        return out


class MaskFilter(_AtSite, Filter):
    """On the way out: nothing but messages of the protocol leaves the site.

    For a job's task "train", and for a site's own privacy.json, where it stands before every task of every job. It is
    no DXOFilter, because those let pass what they do not know.
    """

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The masked reply.

        Raises:
            SiteRefused: refused or failed; the log says why.
        """
        code = shareable.get_return_code()
        if code != ReturnCode.OK:
            self._site(fl_ctx).pending = None
            return make_reply(code)
        answers = _answers(shareable)
        if answers is not None:
            return _reply(answers)
        site = self._site(fl_ctx)
        pending, site.pending = site.pending, None
        if pending is None or pending.id != fl_ctx.get_prop(FLContextKey.TASK_ID):
            self.log_error(fl_ctx, "a result that belongs to no round does not leave this site")
            raise SiteRefused

        def update(arrays: dict[str, NDArray[Any]]) -> tuple[Arrays, int, Mapping[str, float]]:
            return _trained(shareable, arrays)

        purposes: dict[str, Update] = {"training": update}
        return _reply(site.answer(pending.message, purposes, pending.told))


#: Headers that a script sees in the model that it receives.
_TOLD: Final = (
    AppConstants.START_ROUND,
    AppConstants.CURRENT_ROUND,
    AppConstants.NUM_ROUNDS,
    AppConstants.VALIDATE_TYPE,
    AppConstants.SUBMIT_MODEL_NAME,
    MetaKey.JOB_ID,
    MetaKey.SITE_NAME,
)


def _told(task: Shareable) -> bytes:
    """The digest of what a script is told beside the arrays, for `Task.binding`.

    Whoever could give one site another learning rate, or another number of the round, than the rest could make the
    rest's updates vanish, and the sum would be that site's.

    Raises:
        LocalError: metadata that are no JSON.
    """
    told = [from_shareable(task).meta, [task.get_header(name) for name in _TOLD]]
    try:
        return sha256(json.dumps(told, sort_keys=True, default=_plain).encode()).digest()
    except (TypeError, ValueError) as error:
        raise LocalError(f"the model's metadata cannot be bound to the round: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _trained(shareable: Shareable, received: Arrays) -> tuple[Arrays, int, Mapping[str, float]]:
    dxo = from_shareable(shareable)
    if dxo.data_kind not in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF):
        raise LocalError(f"the training script returned {dxo.data_kind}; a round sums WEIGHTS or WEIGHT_DIFF")
    arrays: dict[str, NDArray[Any]] = dict(dxo.data)
    if dxo.data_kind == DataKind.WEIGHT_DIFF:
        missing = sorted(map(repr, arrays.keys() - received.keys()))
        if missing:
            raise LocalError(f"the training script returned differences of unknown arrays: {', '.join(missing)}")
        arrays = {name: received[name] + change for name, change in arrays.items()}
    steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1)  # 1 is what FedAvg takes it for, too
    if isinstance(steps, (float, np.floating)) and float(steps).is_integer():
        steps = int(steps)
    metrics = dxo.get_meta_prop(MetaKey.INITIAL_METRICS) or {}
    return arrays, steps, metrics


def _message(shareable: Shareable) -> bytes | None:
    """The protocol's message in a task, or None."""
    try:
        data = from_shareable(shareable).data
    except ValueError:
        return None
    message = data.get(NAME) if isinstance(data, dict) and len(data) == 1 else None
    return message if isinstance(message, bytes) else None


def _answers(shareable: Shareable) -> list[bytes] | None:
    """The answers in a reply that is made of nothing else, or None."""
    try:
        dxo = from_shareable(shareable)
    except ValueError:
        return None
    answers = dxo.data.get(NAME) if isinstance(dxo.data, dict) and len(dxo.data) == 1 else None
    if dxo.data_kind != DataKind.APP_DEFINED or not isinstance(answers, list):
        return None
    return answers if all(map(sites.is_answer, answers)) else None


def _reply(answers: Sequence[bytes]) -> Shareable:
    out: Shareable = DXO(DataKind.APP_DEFINED, data={NAME: list(answers)}).to_shareable()
    return out


class SecureRounds:
    """Mixin for FedAvg and controllers derived from it whose aggregation is a weighted mean: `send_model` is one round.

    Args:
        proposal: keyword arguments of `Proposal`.
        simulation: folder of `simulation_homes`; None: PRIVCOMP_HOME of the server's process.
        executor: "package.module:function" that makes an executor for the unmasking; None: threads.
        args, kwargs: the controller's own.

    Raises:
        LocalError: an option that would need single updates.
    """

    def __init__(
        self,
        *args: Any,
        proposal: Mapping[str, Any],
        simulation: str | None = None,
        executor: str | None = None,
        **kwargs: Any,
    ) -> None:
        # FedJob looks for the base's arguments where these two are named `args` and `kwargs`.
        for name in ("aggregator", "aggregation_weights", "exclude_vars"):
            if kwargs.get(name):
                raise LocalError(f"{name} needs the single updates of the sites, which the server does not get")
        super().__init__(*args, **kwargs)
        self.proposal = dict(proposal)
        self.simulation = simulation
        self.executor = executor
        #: The last round's.
        self.outcome: Outcome | None = None
        self._secure: SecureServer | None = None
        Proposal(**self.proposal)

    def add_to_fed_job(self, job: FedJob, ctx: Any, **kwargs: Any) -> Any:
        """Called by FedJob."""
        _installed(job)
        return super().add_to_fed_job(job, ctx, **kwargs)  # type: ignore[misc]

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Opens the server's home; a run without one ends here."""
        super().start_controller(fl_ctx)  # type: ignore[misc]
        try:
            executor = load_executor(self.executor)
            self._secure = SecureServer(Proposal(**self.proposal), simulation=self.simulation, executor=executor)
        except LocalError as error:
            self.panic(f"secure aggregation cannot start: {error}")  # type: ignore[attr-defined]

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Releases the ledger."""
        super().stop_controller(fl_ctx)  # type: ignore[misc]
        if self._secure is not None:
            self._secure.close()
            self._secure = None

    def send_model(self, task_name: str = _TRAIN, data: FLModel = None, targets: Any = None, **_: Any) -> None:
        """One round on the model; the result is what `_get_aggregated_result` returns.

        Raises:
            LocalError: the model cannot be averaged, the home is closed, or the job was aborted.
        """
        if self._secure is None:
            raise LocalError("the server's home is not open")
        context: Any = self
        if context.abort_signal.triggered:
            raise LocalError("the job was aborted; no further round is begun")
        context.set_fl_context(data)
        names = [getattr(target, "name", target) for target in targets or context.engine.get_clients()]
        meta = dict(data.meta or {})
        context.info(f"secure round with {', '.join(names)}")

        def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
            return self._call(task_name if stage in TRAINING_STAGES else NAME, meta, data, messages, seconds)

        told = _told(self._task(b"", meta, data))
        self.outcome = self._secure.round("update", _arrays(data.params), names, call, told)

    @staticmethod
    def _task(message: bytes, meta: Mapping[str, Any], model: FLModel) -> Shareable:
        shareable: Shareable = DXO(DataKind.WEIGHTS, data={NAME: message}, meta=dict(meta)).to_shareable()
        shareable.set_header(AppConstants.CURRENT_ROUND, model.current_round)
        shareable.set_header(AppConstants.NUM_ROUNDS, model.total_rounds)
        return shareable

    def _call(
        self, name: str, meta: Mapping[str, Any], model: FLModel, messages: Mapping[str, bytes], seconds: float
    ) -> Iterator[tuple[str, Sequence[bytes]]]:
        context: Any = self
        replies: queue.Queue[tuple[str, Shareable]] = queue.Queue()

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            replies.put((client_task.client.name, client_task.result))
            client_task.result = None

        # Every site gets another message, which a broadcast cannot: one task per site, with a timeout each.
        open_tasks: dict[str, Task] = {}
        for site, message in messages.items():
            shareable = self._task(message, meta, model)
            shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, model.current_round)
            task = Task(name=name, data=shareable, timeout=max(1, math.ceil(seconds)), result_received_cb=received)
            open_tasks[site] = task
            context.send(task=task, fl_ctx=context.fl_ctx, targets=[site], send_order=SendOrder.ANY)
        end = time.monotonic() + seconds
        try:
            while open_tasks and time.monotonic() < end and not context.abort_signal.triggered:
                try:
                    site, reply = replies.get(timeout=0.1)
                except queue.Empty:
                    # Ended without a reply: the time is over, or NVFlare has given the site up.
                    for site in [site for site, task in open_tasks.items() if task.completion_status is not None]:
                        if replies.empty():
                            del open_tasks[site]
                    continue
                open_tasks.pop(site, None)
                answers = _answers(reply) if reply.get_return_code() == ReturnCode.OK else None
                if answers is None:
                    context.warning(f"{name}: {site} did not answer ({reply.get_return_code()})")
                    continue
                yield site, answers
        finally:
            for task in open_tasks.values():
                context.cancel_task(task, fl_ctx=context.fl_ctx)

    def _get_aggregated_result(self) -> FLModel:
        outcome: Any = self.outcome
        survivors = len(outcome.result.aggregate.survivors) if outcome.result is not None else 0
        number = self.current_round  # type: ignore[attr-defined]
        return FLModel(
            params=outcome.arrays,
            params_type=ParamsType.FULL,
            metrics=outcome.metrics or None,
            current_round=number,
            meta={"nr_aggregated": survivors, "current_round": number},
        )


class SecureFedAvg(SecureRounds, FedAvg):
    """NVFlare's FedAvg (persistence, early stopping, FedProx); the server gets the sums only.

    Args: as for `SecureRounds`.
    """


def _arrays(params: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not params:
        raise LocalError("the model has no arrays; a secure round needs the model that the sites' changes refer to")
    for name, array in params.items():
        if not isinstance(array, np.ndarray):
            raise LocalError(
                f"array {name!r} is a {type(array).__name__}; exchange NumPy arrays "
                "(server_expected_format=ExchangeFormat.NUMPY)"
            )
    return dict(params)


def secure(recipe: Recipe, *, simulation: str | None = None, executor: str | None = None, **proposal: Any) -> Recipe:
    """Turn a FedAvg recipe into one with secure aggregation; call it after everything else is set up.

    Args:
        recipe: a recipe of NVFlare whose controller is FedAvg.
        simulation, executor: see `SecureRounds`.
        proposal: see `Proposal`.

    Returns:
        The same recipe.

    Raises:
        LocalError: another controller, or an option of it that needs the single updates.
    """
    flows = [flow for flow in recipe._job._deploy_map["server"].app_config.workflows if type(flow.controller) is FedAvg]
    if len(flows) != 1:
        raise LocalError(
            f"{type(recipe).__name__} does not aggregate by FedAvg alone; for a controller of your own that takes a "
            "weighted mean, derive it from SecureRounds"
        )
    old = flows[0].controller
    settings = {}
    for name in get_component_init_parameters(old).keys() - {"args", "kwargs", "self"}:
        for attribute in (name, "_" + name):
            if attribute in vars(old):
                settings[name] = vars(old)[attribute]
                break
    new = SecureFedAvg(proposal=proposal, simulation=simulation, executor=executor, **settings)
    new.set_communicator(old.communicator)
    flows[0].controller = new
    _installed(recipe._job)
    recipe._add_to_client_apps(SecureExecutor(simulation), tasks=[NAME])
    recipe.add_client_input_filter(ModelFilter(simulation), tasks=[_TRAIN])
    recipe.add_client_output_filter(MaskFilter(simulation), tasks=[_TRAIN])
    _train_only(recipe._job)
    _no_analytics(recipe._job)
    # Sites fetch tasks: at NVFlare's 2 seconds between two of them, a round's stages would cost ten.
    recipe._job.to_server({"server": {"task_request_interval": _FETCH_SECONDS}})
    return recipe


class QuietExecutor(ClientAPIExecutor):
    """NVFlare's executor of a training script, without its way of sending what the script logs to the server.

    A script in a process of its own would have its numbers sent as events of the federation, past ConvertToFedEvent.
    """

    def set_analytics_fire_fed_event(self, enabled: bool) -> None:
        """Never: events of what a script logs stay at the site."""
        super().set_analytics_fire_fed_event(False)


def _train_only(job: FedJob) -> None:
    """Let training code answer the task "train" only, which is the one that is filtered.

    Recipes give a script every task ("*"). A server could ask for the update as "train2", and have it in the clear.
    """
    for target, app in job._deploy_map.items():
        if target == "server":
            continue
        for entry in list(app.app_config.executors):
            executor = entry.executor
            if isinstance(executor, SecureExecutor):
                continue
            if not any(fnmatch(_TRAIN, pattern) for pattern in entry.tasks):
                app.app_config.executors.remove(entry)
                _log.warning("%s: taken out, nothing would protect its answers: tasks %s", target, entry.tasks)
                continue
            entry.tasks = [_TRAIN]
            if type(executor) is ClientAPIExecutor:
                executor.__class__ = QuietExecutor
            elif isinstance(executor, ClientAPIExecutor) and executor.execution_mode != "in_process":
                raise LocalError(f"{type(executor).__name__} may send what scripts log; derive it from QuietExecutor")


def _no_analytics(job: FedJob) -> None:
    """Take out what sends the numbers that a script logs (SummaryWriter and its like) to the server, in the clear."""
    for target, app in job._deploy_map.items():
        if target == "server":
            continue
        config = app.app_config
        for name in [
            name for name, part in config.components.items() if isinstance(part, (ConvertToFedEvent, MetricRelay))
        ]:
            part = config.components.pop(name)
            if part in config.handlers:
                config.handlers.remove(part)
            _log.warning(
                "%s: numbers that training scripts log (SummaryWriter, MLflowWriter, ...) stay at the sites; name them "
                "in `metrics` and return them with the model to have their means",
                target,
            )

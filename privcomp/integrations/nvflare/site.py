"""The site's side of both APIs: one open home per process, messages in, messages out, and errors that tell nothing.

NVFlare returns to the server whatever an exception says, with its traceback. What a training script raises may quote
its data: the server is told that the site refused, and the site's own log says why.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import Message, decode_any
from privcomp.errors import CodecError, JournalError, LocalError, PolicyError, RemoteError
from privcomp.integrations.home import SIMULATED as SIMULATED_BYTES
from privcomp.integrations.home import NodeHome
from privcomp.oneshot import messages as oneshot
from privcomp.rounds import RoundClient, RoundSpec
from privcomp.rounds.messages import RoundUpload
from privcomp.secagg.context import SERVER
from privcomp.secagg.messages import (
    Advertise,
    BundleMessage,
    ConsistencySignature,
    MaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
)

__all__ = ["HOME", "SIMULATED", "Site", "SiteRefused", "Update", "is_answer", "site"]

#: Environment variable of a site's, or a server's, process: its folder, in which "{site}" stands for the name that
#: NVFlare gives it (for several on one machine). The job cannot set it.
HOME: Final = "PRIVCOMP_HOME"
#: Ids of simulated sites begin with this, so that every record of the ledger says what it is worth.
SIMULATED: Final = SIMULATED_BYTES.decode()

_log = logging.getLogger("privcomp.nvflare")
_MASKS = (Advertise, BundleMessage, UploadBlock, UploadEnd, ConsistencySignature, UnmaskResponse)
_UPLOADS = (oneshot.UploadBlock, oneshot.UploadEnd)
_ONE_SHOT = (oneshot.BoxKey, *_UPLOADS, oneshot.Accept, oneshot.Vote, oneshot.Answer, oneshot.Close)
_ANSWERS: Final[Mapping[int, type[Message]]] = {cls.TAG: cls for cls in (*_MASKS, *_ONE_SHOT)}
_LOCK_SECONDS: Final = 10.0  # NVFlare lets the process of an earlier job, or turn, linger for about two seconds

Arrays = Mapping[str, NDArray[Any]]
#: Named arrays as received -> (new arrays, weight, metrics).
Update = Callable[[dict[str, NDArray[Any]]], tuple[Arrays, int, Mapping[str, float]]]


class SiteRefused(Exception):
    """What the server is told when a site refuses or fails: nothing but that."""

    def __init__(self) -> None:
        super().__init__("this site did not answer; the reason stands in its own log")


@dataclass(frozen=True, eq=False)
class Pending:
    """A training task that was handed to the script.

    Attributes:
        id: the task's.
        message: the request to train.
        told: digest of what the script is told beside the arrays.
        task: the very object that the script gets.
    """

    id: str
    message: bytes
    told: bytes
    task: object


class Site:
    """One site in this process: its home, its role in rounds, and a lock, because a framework calls from many threads.

    Args:
        name: the site's name in NVFlare; the home must be this site's.
        folder: the site's home.
        simulation: whether the home is one of `simulation_homes`.

    Raises:
        LocalError: the home is another site's, or cannot be opened.
    """

    def __init__(self, name: str, folder: Path, *, simulation: bool) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._home = _open(folder)
        try:
            expected = (SIMULATED if simulation else "") + name
            if self._home.id != expected.encode():
                raise LocalError(
                    f"{folder} is the home of {self._home.id!r}, but NVFlare runs this site as {name!r}: give every "
                    "site its own home, made for its own name"
                )
            self._client: RoundClient = self._home.client()
        except BaseException:
            self._home.close()
            raise
        #: The training that runs: set on the way in, taken on the way out.
        self.pending: Pending | None = None

    def answer(self, message: bytes, updates: Mapping[str, Update], told: bytes = b"") -> list[bytes]:
        """The answers to one message of the server.

        Args:
            message: the server's bytes.
            updates: purpose -> what computes the update; another purpose is refused.
            told: digest of what the training was told beside the arrays; another than the round binds is refused.

        Raises:
            SiteRefused: refused or failed; the log of this process says why.
        """
        bound = {purpose: _bind(update, told) for purpose, update in updates.items()}
        with self._lock:
            try:
                return [bytes(part) for part in self._client.receive(message, bound)]
            except Exception:  # noqa: BLE001 (what it says may quote the data: it is logged here, and goes no further)
                _log.exception("%s does not answer", self.name)
        raise SiteRefused

    def close(self) -> None:
        """Release the home for other processes."""
        with self._lock:
            self._home.close()


def requested_model(message: bytes) -> bytes:
    """The model of a request to train; whether it is the announced one is checked when the request is answered.

    Raises:
        CodecError: another message.
    """
    known: dict[int, type[Message]] = {MaskRequest.TAG: MaskRequest, RoundUpload.TAG: RoundUpload}
    request = decode_any(message, known, max_bytes=(1 << 32) + (1 << 24))
    if not isinstance(request, (MaskRequest, RoundUpload)):
        raise CodecError("a training task without a request to train")
    return request.model


def is_answer(data: object) -> bool:
    """Whether bytes are one message that a client, or a member of a committee, sends; whether it is signed is the
    server's business."""
    if not isinstance(data, bytes):
        return False
    try:
        decode_any(data, _ANSWERS, max_bytes=1 << 32)
    except RemoteError:
        return False
    return True


def _bind(update: Update, told: bytes) -> Callable[[bytes, RoundSpec], tuple[NDArray[np.float64], int]]:
    def compute(model: bytes, spec: RoundSpec) -> tuple[NDArray[np.float64], int]:
        if spec.task is None:
            raise PolicyError("the round does not say what it asks of named arrays (no task); this site refuses")
        if spec.task.binding != told:
            raise RemoteError(
                SERVER, "mask", "the metadata that came with the model are not those that the round binds for all sites"
            )
        arrays = spec.task.parse(model)
        # Training code changes arrays in place; what it is given is its own.
        new, weight, metrics = update({name: array.copy() for name, array in arrays.items()})
        return spec.task.values(arrays, new, metrics, spec.encoding), spec.task.weight(weight, spec.encoding)

    return compute


_sites: dict[Path, Site] = {}
_sites_lock = threading.Lock()


def site(name: str, simulation: str | None) -> Site:
    """The site of this process, opened at the first call.

    Args:
        name: the site's name in NVFlare.
        simulation: the folder of `simulation_homes`, from the job; None: the home is what this process's environment
            names in PRIVCOMP_HOME.

    Raises:
        SiteRefused: there is no home, or it cannot be opened; the log says why.
    """
    try:
        folder = home_folder(name, simulation)
        with _sites_lock:
            if folder not in _sites:
                _sites[folder] = Site(name, folder, simulation=simulation is not None)
                if simulation is not None:
                    _log.warning("%s is simulated: its keys lie beside everybody else's, in %s", name, simulation)
            if _sites[folder].name != name:
                raise LocalError(f"{folder} is the home of {_sites[folder].name}: one identity, one site")
            return _sites[folder]
    except Exception:  # noqa: BLE001 (as in Site.answer)
        _log.exception("%s has no usable home", name)
    raise SiteRefused


def close_sites(name: str) -> None:
    """Release what this process has opened for a site (the end of a job, or of a simulator's turn)."""
    with _sites_lock:
        for folder in [folder for folder, opened in _sites.items() if opened.name == name]:
            _sites.pop(folder).close()


def home_folder(name: str, simulation: str | None) -> Path:
    """Where a participant's home is: PRIVCOMP_HOME of its own process, or its part of the simulation's folder.

    Raises:
        LocalError: neither, or both: a job must not lead a real site to other keys.
    """
    own = os.environ.get(HOME)
    if "/" in name or name.startswith("."):
        raise LocalError(f"{name!r} cannot be the name of a site: it is no name of a folder")
    if simulation is not None:
        if own is not None:
            raise LocalError(f"the job is a simulation, and this process has a real home ({HOME}={own}); refused")
        return Path(simulation).resolve() / name
    if own is None:
        raise LocalError(
            f"set {HOME} in the environment of this process to its folder (`privcomp keys` makes it), or run a "
            "simulation with simulation_homes"
        )
    return Path(own.replace("{site}", name)).resolve()


def _open(folder: Path) -> NodeHome:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return NodeHome.open(folder)
        except JournalError as error:
            if "another process" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.2)

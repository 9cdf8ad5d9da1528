"""Collab API: `@secure_publish` in the place of `@collab.publish`, `SecureClients` in the place of `collab.clients`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FuturesTimeout
from types import TracebackType
from typing import Any, Self

from nvflare.collab import CollabRecipe, collab
from nvflare.collab.api.exceptions import CollabCallError

from privcomp.errors import LocalError
from privcomp.integrations.nvflare import site as sites
from privcomp.integrations.nvflare.server import Outcome, Proposal, SecureServer
from privcomp.integrations.nvflare.site import Arrays, Update

__all__ = ["SecureClients", "secure_evaluation", "secure_publish", "simulate"]

#: Property of a Collab app that names the folder of `simulation_homes`.
SIMULATION = "privcomp_simulation"

_log = logging.getLogger("privcomp.nvflare")


def secure_publish(function: Callable[..., Any]) -> Any:
    """Publish a training function so that its result leaves the site only inside the masked vector.

    The function takes named arrays and returns (arrays, weight) or (arrays, weight, metrics): new arrays with the same
    names, dtypes and shapes, the number of examples, and name -> number. It must not carry `@collab.publish` as well:
    then the server could call it past the protocol.

    Args:
        function: a function of a module, or a method.

    Raises:
        LocalError: the function is published already.
    """
    return _published(function, "training", _trained)


def secure_evaluation(function: Callable[..., Any]) -> Any:
    """Publish an evaluation function: named arrays -> (weight, metrics).

    Raises:
        LocalError: the function is published already.
    """
    return _published(function, "evaluation", _evaluated)


def _trained(result: Any) -> tuple[Arrays, int, Mapping[str, float]]:
    if isinstance(result, tuple) and len(result) == 2:
        result = (*result, {})
    if not (isinstance(result, tuple) and len(result) == 3 and isinstance(result[0], Mapping)):
        raise LocalError(
            "the published function must return (arrays, weight) or (arrays, weight, metrics), the arrays by name"
        )
    return result


def _evaluated(result: Any) -> tuple[Arrays, int, Mapping[str, float]]:
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        raise LocalError("the published function must return (weight, metrics)")
    return {}, result[0], result[1]


def _published(
    function: Callable[..., Any], purpose: str, unpack: Callable[[Any], tuple[Arrays, int, Mapping[str, float]]]
) -> Any:
    if getattr(function, "_collab_is_publish", False):
        raise LocalError(
            f"{function.__name__} has @collab.publish as well: the server could read its result; remove it"
        )

    def answer(message: bytes, compute: Callable[[dict[str, Any]], Any]) -> list[bytes]:
        def update(arrays: dict[str, Any]) -> tuple[Arrays, int, Mapping[str, float]]:
            return unpack(compute(arrays))

        updates: dict[str, Update] = {purpose: update}
        return sites.site(collab.site_name, collab.get_app_prop(SIMULATION)).answer(message, updates)

    # Collab reads the signature: one parameter, and `self` if and only if this is a method.
    if next(iter(inspect.signature(function).parameters), None) == "self":

        def published(self: Any, message: bytes) -> list[bytes]:
            return answer(message, lambda arrays: function(self, arrays))
    else:

        def published(message: bytes) -> list[bytes]:  # type: ignore[misc]
            return answer(message, function)

    published.__name__, published.__doc__ = function.__name__, function.__doc__
    published.__module__, published.__qualname__ = function.__module__, function.__qualname__
    return collab.publish(published)


class SecureClients:
    """`collab.clients` for functions with `@secure_publish`: a call is one round, its result an `Outcome`.

        with SecureClients(clip=1.0, max_weight=10_000, metrics={"loss": (0.0, 10.0)}) as clients:
            for _ in range(rounds):
                model = clients.train(model).arrays

    Only inside of `@collab.main`.

    Args:
        executor: runs the unmasking; default: threads.
        proposal: see `Proposal`.

    Attributes:
        server: home, ledger and rounds.
        failures: site -> what Collab says about its last failed call in the last round.

    Raises:
        LocalError: no home, or one without roster; a proposal that does not add up.
    """

    def __init__(self, *, executor: Executor | None = None, **proposal: Any) -> None:
        self.server = SecureServer(Proposal(**proposal), simulation=collab.get_app_prop(SIMULATION), executor=executor)
        self.failures: dict[str, CollabCallError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the ledger."""
        self.server.close()

    def __getattr__(self, function: str) -> Callable[[Arrays], Outcome]:
        if function.startswith("_"):
            raise AttributeError(function)
        return lambda arrays: self.round(function, arrays)

    def evaluate(self, arrays: Arrays, function: str = "evaluate") -> Outcome:
        """One evaluation with the sites' `@secure_evaluation` function of that name.

        Raises:
            LocalError: see `SecureServer.round`.
        """
        return self.round(function, arrays, kind="metrics")

    def round(self, function: str, arrays: Arrays, *, kind: str = "update") -> Outcome:
        """One round over the function of that name.

        Raises:
            LocalError: see `SecureServer.round`.
        """
        self.failures = {}
        proxies = {proxy.name: proxy for proxy in collab.clients}

        def call(stage: str, messages: Mapping[str, bytes], seconds: float) -> Iterator[tuple[str, Sequence[bytes]]]:
            # Every site gets another message, which a Collab group call cannot: one call and one thread per site.
            known = {name: message for name, message in messages.items() if name in proxies}
            pool = ThreadPoolExecutor(max(1, len(known)), thread_name_prefix=f"privcomp-{stage}")
            try:
                calls = {
                    pool.submit(getattr(proxies[name](timeout=seconds), function), message): name
                    for name, message in known.items()
                }
                for done in as_completed(calls, timeout=seconds + 1.0):  # Collab's own timeout comes first
                    name = calls[done]
                    try:
                        answers = done.result()
                    except CollabCallError as error:
                        self.failures[name] = error
                        _log.warning("%s, %s: %s", stage, name, error)
                        continue
                    yield name, _checked(answers)
            except FuturesTimeout:
                return
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

        return self.server.round(kind, arrays, proxies, call)


def _checked(answers: Any) -> Sequence[bytes]:
    """What a site returned, as far as it is a list of bytes: whatever else it is, no stage accepts."""
    if isinstance(answers, list) and all(isinstance(answer, bytes) for answer in answers):
        return answers
    return [b""]


def simulate(recipe: CollabRecipe, folder: str) -> None:
    """Let a recipe run in NVFlare's simulator with the homes that `simulation_homes` made in a folder."""
    recipe.set_server_prop(SIMULATION, folder)
    recipe.set_client_prop(SIMULATION, folder)

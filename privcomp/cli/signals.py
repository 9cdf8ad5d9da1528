"""A process that runs until it is done, or is asked to stop by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["OnStop", "Work", "log_to_stderr", "run"]

#: on_stop(function): call this instead of cancelling the work.
OnStop = Callable[[Callable[[], None]], None]
Work = Callable[[OnStop], Coroutine[Any, Any, int]]


def run(work: Work) -> int:
    """Run a coroutine to its end. A first signal asks it to stop; a second one ends the process at once.

    Returns:
        What `work` returned, but 130 after Ctrl-C and 0 after SIGTERM.
    """
    return asyncio.run(_run(work))


async def _run(work: Work) -> int:
    loop = asyncio.get_running_loop()
    asked: list[int] = []
    instead: list[Callable[[], None]] = []
    task = asyncio.create_task(work(instead.append))

    def handle(number: int) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
        asked.append(number)
        print("privcomp: stopping", file=sys.stderr)
        for function in instead:
            function()
        if not instead:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
    try:
        code = await task
    except asyncio.CancelledError:
        if not asked:
            raise
        code = 0
    return code if not asked else 130 if asked[0] == signal.SIGINT else 0


def log_to_stderr() -> None:
    """One line per event, with its time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("privcomp")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)

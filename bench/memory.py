"""`python -m bench.memory ID [--quick] [--peer]`: peak resident memory of one run above its inputs, as one JSON object.

A process of its own, so that nothing which ran before has left free memory behind. The first run counts: what it loads
or sets up is in the figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
from pathlib import Path
from typing import Any

from bench.rows import ROWS


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def _high_water() -> int:
    """The most memory that this process ever held, where the mark cannot be reset: the inputs may have set it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure one side of one row."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("id", choices=ROWS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peer", action="store_true", help="the peer's side")
    arguments = parser.parse_args()
    case = ROWS[arguments.id].build(arguments.quick, arguments.peer)
    if arguments.peer and case.peer.run is None:
        parser.error(f"{case.peer.name} is not installed")
    work = case.peer.run if arguments.peer and case.peer.run else case.ours
    if case.before is not None:
        case.before()
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before, reset = _status("VmRSS"), True
    except OSError:
        before, reset = _high_water(), False
    result: Any = work()
    peak = max(0, (_status("VmHWM") if reset else _high_water()) - before)
    if case.output is not None:
        peak = max(0, peak - case.output(result))
    del result
    print(json.dumps({"peak_mb": peak / 1e6}))


if __name__ == "__main__":
    main()

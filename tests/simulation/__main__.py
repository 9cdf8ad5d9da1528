"""The long simulation: `python -m tests.simulation --rounds 100000 --seed 1 [--protocol oneshot]`."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from privcomp.simulation import Report, campaign
from privcomp.simulation.oneshot import oneshot_campaign

CHUNK = 500


def main() -> int:
    """Run a campaign in several processes and print what it showed; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--protocol", choices=("interactive", "oneshot"), default="interactive")
    options = parser.parse_args()
    start, parts, done = time.monotonic(), -(-options.rounds // CHUNK), {}
    run = oneshot_campaign if options.protocol == "oneshot" else campaign
    with ProcessPoolExecutor(options.processes) as pool:
        sizes = {k: min(CHUNK, options.rounds - k * CHUNK) for k in range(parts)}
        futures = {pool.submit(run, size, options.seed, k): k for k, size in sizes.items()}
        for future in as_completed(futures):
            done[futures[future]] = part = future.result()
            for text in part.failures:
                print(text, file=sys.stderr)
            if len(done) % 10 == 0 or len(done) == parts:
                rounds, seconds = sum(r.rounds + r.lying for r in done.values()), time.monotonic() - start
                print(f"{rounds} rounds, {seconds:.0f} s", file=sys.stderr, flush=True)
    report = Report()
    for k in sorted(done):
        report.add(done[k])
    print(report)
    return int(bool(report.failures) or report.share_within < 0.5)


if __name__ == "__main__":
    raise SystemExit(main())

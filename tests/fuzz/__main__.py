"""Run the fuzz targets: `python -m tests.fuzz --runs 1000000`.

With `--engine atheris`, where that is installed, coverage chooses the inputs.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.mutate import inputs
from tests.fuzz.targets import targets


def run(name: str, runs: int, seed: int) -> None:
    """Check one target on its corpus and on `runs` mutated inputs; the finding is raised with its input."""
    target = targets()[name]
    started = time.monotonic()
    done = 0
    for done, data in enumerate(inputs(seed, target.corpus, runs // target.cost), 1):
        try:
            target.check(data)
        except BaseException:
            print(f"{name}: seed {seed}, input {done}: {data.hex()}", file=sys.stderr)
            raise
    print(f"{name}: {done} inputs, {time.monotonic() - started:.1f} s, no finding")


def run_atheris(name: str, runs: int) -> None:
    """Let libFuzzer choose the inputs by coverage; ends the process."""
    import atheris

    target = targets()[name]
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={runs}", "-max_len=8192"], target.check)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=100_000, help="inputs per target, 1/1000 for whole ledgers (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=sorted(targets()), help="default: all")
    parser.add_argument("--engine", choices=("mutate", "atheris"), default="mutate")
    args = parser.parse_args()
    names = args.target or sorted(targets())
    if args.engine == "atheris":
        if len(names) != 1:
            parser.error("--engine atheris runs one --target at a time")
        run_atheris(names[0], args.runs)
    for name in names:
        run(name, args.runs, args.seed)


if __name__ == "__main__":
    main()

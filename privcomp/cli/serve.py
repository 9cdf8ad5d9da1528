"""`privcomp serve`: the server of a federation."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from privcomp.cli import signals
from privcomp.cli.keys import ids
from privcomp.errors import ParameterError

__all__ = ["add_parser"]

_DELTA = 1e-5


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults where there are some."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def add_parser(commands: Any) -> None:
    """Enter the command."""
    serve = commands.add_parser(
        "serve",
        help="run the server of a federation: rounds over mutual TLS",
        description=(
            "Waits for the nodes of its roster, trains the model of FILE with them, and writes it after every round. "
            "Started again with the same options after a stop or a crash, it goes on from its ledger."
        ),
        formatter_class=_Help,
    )
    serve.add_argument("folder", type=Path, metavar="FOLDER", help="the server's, made by `privcomp keys server`")
    model = serve.add_argument_group("model")
    model.add_argument("--model", type=Path, required=True, metavar="FILE", help="first model: named arrays, .npz")
    model.add_argument("--out", type=Path, metavar="FILE", help="newest model (default: model.npz in FOLDER)")
    model.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="array that stays as it is; wildcards; repeatable"
    )
    model.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME=LO:HI",
        help="a number that every node returns, within this range; its weighted mean is shown; repeatable",
    )
    rounds = serve.add_argument_group("rounds")
    rounds.add_argument("--rounds", type=int, required=True, metavar="N", help="rounds, aborted ones included")
    rounds.add_argument("--clients", type=int, metavar="N", help="most nodes per round (default: the roster)")
    rounds.add_argument(
        "--min-clients", type=int, metavar="M", help="fewest nodes to begin a round with (default: as few as can be)"
    )
    rounds.add_argument("--clip", type=float, metavar="C", help="largest change of an entry per round; needed without "
        "--epsilon")  # fmt: skip
    rounds.add_argument("--bits", type=int, metavar="B", help="width of a quantised entry (default: 16); with "
        "--epsilon of an entry of the sum (default: 20)")  # fmt: skip
    rounds.add_argument("--max-weight", type=int, metavar="W", help="largest weight of a node (default: 2^20)")
    rounds.add_argument("--deadline", type=float, default=60.0, metavar="SECONDS", help="for every other stage")
    rounds.add_argument(
        "--training-deadline", type=float, default=600.0, metavar="SECONDS", help="for the stage in which nodes train"
    )
    rounds.add_argument("--wait", type=float, default=300.0, metavar="SECONDS", help="for the fewest nodes")
    rounds.add_argument(
        "--gather", type=float, default=5.0, metavar="SECONDS", help="for more nodes, before the first round"
    )
    noise = serve.add_argument_group("differential privacy: the nodes add noise, and every update counts once")
    noise.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="what all rounds together may tell about one node (default: no noise)",
    )
    noise.add_argument("--delta", type=float, metavar="D", help="of this epsilon (default: 1e-5)")
    noise.add_argument(
        "--clip-norm", type=float, metavar="C", help="L2 norm of a node's update; longer ones are scaled"
    )
    noise.add_argument(
        "--min-survivors", type=int, metavar="M", help="fewest nodes in a sum (default: --corrupt and 3): the more, "
        "the less noise"
    )  # fmt: skip
    safety = serve.add_argument_group("safety (every node's own policy has the last word)")
    safety.add_argument(
        "--protocol", choices=("bonawitz", "secaggplus", "oneshot"), default="bonawitz", help="secure aggregation"
    )
    safety.add_argument(
        "--committee", metavar="ID,ID,...", help="nodes that hold the shares of all keys; oneshot needs this, or "
        "--beacon"
    )  # fmt: skip
    safety.add_argument(
        "--beacon", metavar="HEX", help="draw the committee from the roster with it, as every node does that trusts it"
    )
    safety.add_argument(
        "--absent", type=float, metavar="F", help="fraction of nodes that may be away when a drawn committee is needed "
        "(default: 0.05)"
    )  # fmt: skip
    safety.add_argument(
        "--privacy", type=int, metavar="T", help="corrupt members of the committee to withstand (default: a third)"
    )
    safety.add_argument(
        "--adversary", choices=("malicious", "semi_honest"), help="what the server may do (default: malicious, but "
        "semi_honest with secaggplus)"
    )  # fmt: skip
    safety.add_argument(
        "--corrupt", type=int, metavar="C", help="corrupt nodes to withstand (default: what a default policy asks for)"
    )
    safety.add_argument("--hybrid", action="store_true", help="X25519 with ML-KEM-768")
    network = serve.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="address to listen at")
    network.add_argument("--port", type=int, default=7443, help="0: any free one")
    network.add_argument(
        "--max-connections", type=int, metavar="N", help="before they greet (default: 2 per node, and 256)"
    )
    network.add_argument("--grace", type=float, default=60.0, metavar="SECONDS", help="to come back, for a lost node")
    serve.add_argument("--json", action="store_true", help="print one JSON object per round on standard output")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from privcomp.integrations import ServerHome
    from privcomp.integrations.npz import load_model
    from privcomp.rounds.task import Task

    signals.log_to_stderr()
    _check(arguments)
    task = Task("update", metrics=tuple(map(_metric, arguments.metric)), kept=tuple(arguments.keep))
    arrays = load_model(arguments.model)
    with ServerHome.open(arguments.folder) as home:
        return signals.run(lambda on_stop: _run(arguments, home, task, arrays, on_stop))


async def _run(arguments: argparse.Namespace, home: Any, task: Any, arrays: Any, on_stop: signals.OnStop) -> int:
    from privcomp.integrations.asyncio_tcp import Limits, RoundReport, Server
    from privcomp.integrations.committee import ABSENT, beacon_of, committee_of, drawn_committee
    from privcomp.integrations.driver import Deadlines
    from privcomp.integrations.npz import check_place, save_model
    from privcomp.policy import Policy

    out = arguments.out if arguments.out is not None else home.folder / "model.npz"
    adversary = arguments.adversary or ("semi_honest" if arguments.protocol == "secaggplus" else "malicious")
    corrupt = arguments.corrupt
    members = len(home.roster) if home.roster is not None else 0
    if corrupt is None:
        corrupt = Policy().corrupt_for(adversary, members)
    plan: Any = None
    committee: Any = None
    complete, last = 0, ""

    def report(done: RoundReport) -> None:
        nonlocal complete, last
        complete, last = complete + (done.outcome == "complete"), done.outcome
        values = "".join(f", {name} {value:.4g}" for name, value in done.metrics.items())
        values += f", noise {done.bound:.3g}, epsilon {done.epsilon:.4g}" if plan is not None else ""
        said = f"{done.survivors} of {done.asked} nodes{values}" if not done.reason else done.reason
        print(f"privcomp: round {done.round} {done.outcome} in {done.seconds:.1f} s: {said}", file=sys.stderr)
        if arguments.json:
            refused = {party.decode("utf-8", "replace"): kind for party, kind in done.refused.items()}
            print(json.dumps({**vars(done), "refused": refused}), flush=True)

    limits = Limits(connections=arguments.max_connections, grace=arguments.grace)
    server = Server(home, host=arguments.host, port=arguments.port, limits=limits)
    # All that can be refused is refused before the server listens: no node comes in vain.
    check_place(out)
    if arguments.epsilon is not None:
        plan = _plan(arguments, task.entries(arrays), corrupt, members)
        print(plan.describe(), file=sys.stderr)
    if arguments.protocol == "oneshot":
        if arguments.committee is not None:
            committee = committee_of(home.roster, ids(arguments.committee), arguments.privacy)
        else:
            absent = ABSENT if arguments.absent is None else arguments.absent
            committee = drawn_committee(
                home.roster, beacon_of(arguments.beacon), absent=absent, corrupt=corrupt, adversary=adversary
            )
        print(
            f"privcomp: a committee of {committee.size}: {committee.needed} members must answer; "
            f"{committee.could_open}",
            file=sys.stderr,
        )
    training = server.prepare(
        arrays,
        task=task,
        clip=arguments.clip,
        max_weight=1 << 20 if arguments.max_weight is None else arguments.max_weight,
        plan=plan,
        committee=committee,
        clients=arguments.clients,
        min_clients=arguments.min_clients,
        bits=16 if arguments.bits is None else arguments.bits,
        adversary=adversary,
        corrupt=corrupt,
        hybrid=arguments.hybrid,
        **({"protocol": arguments.protocol} if committee is None else {}),
    )
    async with server:
        on_stop(server.stop)
        print(f"privcomp: listening at {server.host}:{server.port}", file=sys.stderr)
        await server.train(
            training,
            rounds=arguments.rounds,
            wait=arguments.wait,
            gather=arguments.gather,
            deadlines=Deadlines.of(arguments.deadline, training=arguments.training_deadline),
            save=lambda model: save_model(out, model),
            report=report,
        )
    if not complete:
        print("privcomp: no round was completed", file=sys.stderr)
    return 0 if complete and last != "stalled" else 1


def _plan(arguments: argparse.Namespace, entries: int, corrupt: int, members: int) -> Any:
    """The plan of all rounds: the same one after a restart with the same options, so that the nodes go on counting."""
    from privcomp.dp import plan_distributed
    from privcomp.secagg.params import Params

    least = corrupt + Params.honest_survivors if arguments.min_survivors is None else arguments.min_survivors
    return plan_distributed(
        clip=arguments.clip_norm,
        dim=entries,
        clients=members if arguments.clients is None else arguments.clients,
        min_survivors=least,
        colluders=corrupt,
        bits=20 if arguments.bits is None else arguments.bits,
        target=(arguments.epsilon, _DELTA if arguments.delta is None else arguments.delta),
        rounds=arguments.rounds,
        sampling="none",
        adjacency="zero_out",
    )


def _check(arguments: argparse.Namespace) -> None:
    private = arguments.epsilon is not None
    if arguments.protocol == "oneshot":
        if (arguments.committee is None) == (arguments.beacon is None):
            raise ParameterError(
                "--protocol oneshot needs --committee, the nodes that hold the shares of the keys, or --beacon, with "
                "which these are drawn: one of the two"
            )
        for name, other in (("privacy", "committee"), ("absent", "beacon")):
            if getattr(arguments, name) is not None and getattr(arguments, other) is None:
                raise ParameterError(f"--{name} goes with --{other}")
        if private:
            raise ParameterError("--epsilon: one-shot rounds take no noise; use --protocol bonawitz or secaggplus")
    else:
        for name in ("committee", "privacy", "beacon", "absent"):
            if getattr(arguments, name) is not None:
                raise ParameterError(
                    f"--{name}: --committee and --privacy are for --protocol oneshot, not {arguments.protocol}, and "
                    "so are --beacon and --absent"
                )
    needed, unused = ("clip_norm", ("clip", "metric", "max_weight")) if private else (
        "clip", ("clip_norm", "min_survivors", "delta")
    )  # fmt: skip
    if getattr(arguments, needed) is None:
        without = "with" if private else "without"
        raise ParameterError(f"--{needed.replace('_', '-')} must be given {without} --epsilon")
    for name in unused:
        if getattr(arguments, name) not in (None, []):
            text = f"--{name.replace('_', '-')}"
            why = "is for rounds without noise: leave it out" if private else "needs --epsilon"
            raise ParameterError(f"{text} {why}")
    for name in ("deadline", "training_deadline", "wait", "gather", "grace", "clip", "clip_norm"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < float("inf"):
            raise ParameterError(f"--{name.replace('_', '-')} is {value}; a positive number is needed")
    if arguments.rounds < 1:
        raise ParameterError(f"--rounds is {arguments.rounds}; at least 1 is needed")
    if arguments.corrupt is not None and arguments.corrupt < 0:
        raise ParameterError(f"--corrupt is {arguments.corrupt}; 0 or more nodes can be withstood")
    if not 0 <= arguments.port < 1 << 16:
        raise ParameterError(f"--port is {arguments.port}; 0..65535 are possible")
    if arguments.max_connections is not None and arguments.max_connections < 1:
        raise ParameterError(f"--max-connections is {arguments.max_connections}; at least 1 is needed")


def _metric(text: str) -> tuple[str, float, float]:
    name, _, values = text.partition("=")
    low, _, high = values.partition(":")
    try:
        return name, float(low), float(high)
    except ValueError:
        raise ParameterError(f"--metric {text!r}: NAME=LO:HI is needed, e.g. loss=0:10") from None

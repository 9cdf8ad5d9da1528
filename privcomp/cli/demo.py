"""`privcomp demo`."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from privcomp.errors import LocalError, ParameterError

__all__ = ["add_parser"]

_MARKER = ".privcomp-demo"
_FILES = (
    *(place + name for place in ("", "record/") for name in ("ledger", "roster", "heads")),
    "curves.png", "report.json", "lying/ledger", "lying/roster",
)  # fmt: skip
_RULES = ("mean", "norm_clip", "norm_filter", "fltrust", "krum", "multi_krum", "trimmed_mean", "median")
_ATTACKS = ("mixed", "sign_flip", "scaling", "label_flip")
_KINDS = tuple(f"{place}ledger.*.{kind}" for place in ("", "lying/", "record/") for kind in ("sum", "attest"))


def add_parser(commands: Any) -> None:
    """Enter the command."""
    demo = commands.add_parser(
        "demo",
        help="hospitals train a classifier together; the server sees masked vectors only",
        description=(
            "Hospitals train a classifier together on real data. Some of them are lost in every round; the server sees "
            "masked vectors only. Two scenes follow: a hospital that poisons, a server that lies. Writes a ledger and "
            "a picture, prints a report."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = demo.add_argument_group("data")
    data.add_argument("--data", choices=("breast-cancer", "digits"), default="breast-cancer", help="bundled data set")
    data.add_argument("--csv", type=Path, metavar="FILE", help="your own table instead; needs --label")
    data.add_argument("--label", metavar="COLUMN", help="the column of FILE with the class")
    data.add_argument("--ranges", type=Path, metavar="FILE", help="JSON file of public ranges of the features")
    data.add_argument("--non-iid", type=float, metavar="ALPHA", help="Dirichlet label skew between hospitals, e.g. 0.5")
    run = demo.add_argument_group("run")
    run.add_argument("--clients", type=int, default=50, help="hospitals")
    run.add_argument("--rounds", type=int, default=16, help="training rounds")
    run.add_argument("--dropout", type=float, default=0.1, help="fraction of the hospitals lost in every round")
    run.add_argument("--seed", type=int, default=0, help="drives split, partition, losses and training (never keys)")
    run.add_argument(
        "--protocol", choices=("bonawitz", "secaggplus", "oneshot", "ckks"), default="bonawitz", help="how sums are "
        "made: masks, masks among neighbours, keys shared among a committee, or CKKS (without a ledger)"
    )  # fmt: skip
    run.add_argument(
        "--adversary", choices=("malicious", "semi_honest"), help="what the server may do (default: malicious, but "
        "semi_honest with secaggplus and ckks)"
    )  # fmt: skip
    run.add_argument("--hybrid", action="store_true", help="X25519 with ML-KEM-768")
    private = demo.add_argument_group("differential privacy")
    private.add_argument(
        "--epsilon", type=float, metavar="E", help="train under differential privacy instead, once so that a hospital "
        "is hidden and once so that a row is; --rounds does not apply"
    )  # fmt: skip
    private.add_argument("--delta", type=float, default=1e-5, help="delta of the guarantee, with --epsilon")
    robust = demo.add_argument_group("poisoning")
    robust.add_argument(
        "--servers", type=int, choices=(3, 4), help="servers that run a rule on shares instead of adding under masks: "
        "3 follow the protocol, of 4 one may lie"
    )  # fmt: skip
    robust.add_argument(
        "--rule", choices=(*_RULES, "all"), metavar="RULE", help="with --servers: the rule on shares (default: "
        f"multi_krum): {', '.join(_RULES)}; all: every one that may open its result"
    )  # fmt: skip
    robust.add_argument(
        "--poison", type=int, metavar="N", help="with --servers: how many hospitals poison, and how many the "
        "rules are to stand (default: a tenth)"
    )  # fmt: skip
    robust.add_argument("--attack", choices=_ATTACKS, help="with --servers: what they do (default: mixed)")
    robust.add_argument(
        "--leaks", choices=("one-update",), help="with --servers: allow rules that open what one hospital sent (krum, "
        "median)"
    )  # fmt: skip
    out = demo.add_argument_group("output")
    out.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for ledger, roster, heads, picture")
    out.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")
    out.add_argument("--quiet", action="store_true", help="no progress")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from privcomp.demo import DemoOptions, run_demo
        from privcomp.demo.scenes import play
        from privcomp.demo.secure import WIDTHS, SecureFederation
        from privcomp.demo.train import load_federation
    except ModuleNotFoundError as error:
        raise LocalError(f"the demo needs {error.name}: install it with `pip install 'privcomp[demo]'`") from None
    if arguments.servers is not None:
        return _poisoned(arguments)
    for name in ("rule", "poison", "attack", "leaks"):
        if getattr(arguments, name) is not None:
            raise ParameterError(f"--{name} says what servers do with shares: it needs --servers 3 or --servers 4")
    trusting = arguments.protocol in ("secaggplus", "ckks")
    adversary = arguments.adversary or ("semi_honest" if trusting else "malicious")
    if arguments.epsilon is not None and arguments.protocol in ("oneshot", "ckks"):
        raise ParameterError(f"--epsilon adds noise under masks: it does not go with --protocol {arguments.protocol}")
    folder: Path = arguments.out
    options = DemoOptions(
        data=arguments.data,
        csv=arguments.csv,
        label=arguments.label,
        ranges=arguments.ranges,
        clients=arguments.clients,
        rounds=arguments.rounds,
        seed=arguments.seed,
        skew=arguments.non_iid,
        figure=folder / "curves.png",
        ledger=folder / "ledger",
        protocol=arguments.protocol,
        adversary=adversary,
        widths=WIDTHS[arguments.protocol],
    )
    if arguments.protocol == "ckks":
        return _encrypted(arguments, options)
    federation = load_federation(options)
    SecureFederation.check(
        arguments.clients, dropout=arguments.dropout, protocol=arguments.protocol, adversary=adversary
    )
    if arguments.epsilon is not None:
        return _private(arguments, options, federation)
    _prepare(folder)
    secure = SecureFederation(
        arguments.clients,
        arguments.seed,
        dropout=arguments.dropout,
        protocol=arguments.protocol,
        adversary=adversary,
        hybrid=arguments.hybrid,
        ledger=folder / "ledger",
    )
    try:
        with _progress(arguments.rounds, arguments.quiet) as progress:
            # Both scenes need attestations, which one-shot rounds do not carry.
            epilogue = partial(play, secure, folder / "lying") if secure.committee is None else None
            report = run_demo(options, secure, progress, federation=federation, epilogue=epilogue)
    finally:
        secure.close()
    (folder / "roster").write_bytes(secure.roster.to_bytes())
    (folder / "heads").write_text("".join(head.hex() + "\n" for head in secure.heads), encoding="ascii")
    (folder / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    if arguments.json:
        print(report.json())
        return 0
    print(report.text(min(100, shutil.get_terminal_size((100, 24)).columns)))
    if report.scenes is not None:
        lying = folder / "lying"
        print(f"\nsee one fail: {_program()} audit {_quoted(lying / 'ledger')} --roster {_quoted(lying / 'roster')}")
    print(
        f"\ncheck it: {_program()} audit {_quoted(folder / 'ledger')} --key {secure.ledger.public.hex()} "
        f"--roster {_quoted(folder / 'roster')} --heads {_quoted(folder / 'heads')}"
    )
    return 0


def _encrypted(arguments: argparse.Namespace, options: Any) -> int:
    """`privcomp demo --protocol ckks`: no ledger, no scenes, no committee."""
    from privcomp.demo import run_demo
    from privcomp.demo.encrypted import MAX_WEIGHT, EncryptedFederation

    if options.adversary != "semi_honest" or arguments.hybrid:
        raise ParameterError(
            "--protocol ckks trusts the aggregator and the key holder to follow the protocol and not to work together: "
            "leave --adversary malicious and --hybrid out"
        )
    secure = EncryptedFederation(arguments.clients, arguments.seed, dropout=arguments.dropout)
    folder: Path = arguments.out
    _prepare(folder)
    with _progress(arguments.rounds, arguments.quiet) as progress:
        report = run_demo(replace(options, ledger=None, max_weight=MAX_WEIGHT), secure, progress)
    (folder / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    if arguments.json:
        print(report.json())
        return 0
    print(report.text(min(100, shutil.get_terminal_size((100, 24)).columns)))
    print("\nnothing is recorded with ckks: there is no ledger to check")
    return 0


def _poisoned(arguments: argparse.Namespace) -> int:
    """`privcomp demo --servers`: no ledger, no masks; rules on shares beside the same rules in the clear."""
    from privcomp.demo import DemoOptions
    from privcomp.demo.poison_run import PoisonOptions, Study

    for name, given in (
        ("epsilon", arguments.epsilon is not None),
        ("protocol", arguments.protocol != "bonawitz"),
        ("hybrid", arguments.hybrid),
    ):
        if given:
            raise ParameterError(f"--{name} belongs to sums under masks or keys: it does not go with --servers")
    if arguments.adversary == "malicious" and arguments.servers == 3:
        raise ParameterError("three servers are trusted to follow the protocol: take --servers 4, of which one may lie")
    folder: Path = arguments.out
    options = DemoOptions(
        data=arguments.data,
        csv=arguments.csv,
        label=arguments.label,
        ranges=arguments.ranges,
        clients=arguments.clients,
        rounds=arguments.rounds,
        seed=arguments.seed,
        skew=arguments.non_iid,
        figure=folder / "curves.png",
    )
    rule = arguments.rule or "multi_krum"
    leaks = "one update" if arguments.leaks else None
    poison = PoisonOptions(
        servers=arguments.servers,
        rules=tuple(name for name in _RULES if leaks or name not in ("krum", "median")) if rule == "all" else (rule,),
        poison=max(1, arguments.clients // 10) if arguments.poison is None else arguments.poison,
        attack=arguments.attack or "mixed",
        dropout=arguments.dropout,
        leaks=leaks,
    )
    study = Study(options, poison)
    _prepare(folder)
    with _progress(2 * arguments.rounds * len(poison.rules), arguments.quiet) as progress:
        report = study.run(progress)
    (folder / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    if arguments.json:
        print(report.json())
        return 0
    print(report.text(min(100, shutil.get_terminal_size((100, 24)).columns)))
    print("\nnothing is recorded with --servers: there is no ledger to check")
    return 0


def _private(arguments: argparse.Namespace, options: Any, federation: Any) -> int:
    """`privcomp demo --epsilon`: everything that leaves a hospital is inside a budget."""
    from privcomp.demo.private_run import run_private
    from privcomp.demo.secure import SecureFederation

    folder: Path = arguments.out

    federations: list[SecureFederation] = []

    def opened(ledger: Path, policy: dict[str, Any]) -> SecureFederation:
        secure = SecureFederation(
            arguments.clients,
            arguments.seed,
            dropout=arguments.dropout,
            protocol=options.protocol,
            adversary=options.adversary,
            hybrid=arguments.hybrid,
            ledger=ledger,
            policy=policy,
        )
        federations.append(secure)
        return secure

    _prepare(folder)
    try:
        with _progress(None, arguments.quiet) as progress:
            report = run_private(
                options,
                federation,
                opened,
                folder,
                epsilon=arguments.epsilon,
                delta=arguments.delta,
                progress=progress,
            )
    finally:
        for secure in federations:
            secure.close()
    (folder / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    for secure, place in zip(federations, (folder, folder / "record"), strict=True):
        (place / "roster").write_bytes(secure.roster.to_bytes())
        (place / "heads").write_text("".join(head.hex() + "\n" for head in secure.heads), encoding="ascii")
    if arguments.json:
        print(report.json())
        return 0
    print(report.text(min(100, shutil.get_terminal_size((100, 24)).columns)))
    for secure, place in zip(federations, (folder, folder / "record"), strict=True):
        print(
            f"\ncheck it: {_program()} audit {_quoted(place / 'ledger')} --key {secure.ledger.public.hex()} "
            f"--roster {_quoted(place / 'roster')} --heads {_quoted(place / 'heads')}"
        )
    return 0


def _program() -> str:
    """How this program was called, so that a printed command can be pasted."""
    called = Path(sys.argv[0])
    return _quoted(called) if called.name == "privcomp" else "python -m privcomp"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _prepare(folder: Path) -> None:
    """A place for this run: the files of an earlier demo are replaced, anything else is left alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = [folder / name for name in _FILES if (folder / name).exists()]
        old += [path for kind in _KINDS for path in folder.glob(kind)]
        if old and not (folder / _MARKER).exists():
            raise ParameterError(f"--out {folder}: {old[0].name} there is not of a demo; name another folder")
        (folder / _MARKER).write_text("written by privcomp demo; its files are replaced by the next run\n")
        for path in old:
            path.unlink()
    except OSError as error:
        raise ParameterError(f"--out {folder}: {error.strerror}; name a folder that can be written") from None


@contextmanager
def _progress(rounds: int | None, quiet: bool) -> Iterator[Callable[[Any], None]]:
    from tqdm import tqdm

    with tqdm(total=rounds, unit="round", file=sys.stderr, desc="setting up", dynamic_ncols=True, disable=quiet) as bar:

        def tell(step: Any) -> None:
            bar.set_description(f"{step.purpose} {step.index}/{step.total}")
            note = {"survivors": f"{step.survivors}/{step.clients}"}
            if step.accuracy is not None:
                note["accuracy"] = f"{100 * step.accuracy:.1f} %"
                bar.update()
            bar.set_postfix(note)

        yield tell

"""`python -m bench`: rows beside their peers. See bench/README.md."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench.harness import Mismatch, Row, Target, Unavailable, measure
from bench.plot import plot_rows
from bench.rows import ROWS


def main(arguments: list[str] | None = None) -> int:
    """Run the rows that were asked for.

    Returns:
        0; 1 where a comparison failed or, with --check, a target was missed; 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Rows beside their peers; see bench/README.md."
    )
    parser.add_argument("--list", action="store_true", help="print the ids and what they compare")
    parser.add_argument("--only", metavar="ID[,ID]", help="only these rows (embed.scale: all whose ids begin so)")
    parser.add_argument("--plot", metavar="FILE", help="draw the rows embed.scale.n*, or dp.mean.n100, as PNG")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, nothing else on standard output")
    parser.add_argument("--markdown", action="store_true", help="the table of bench/README.md")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a first look and for tests")
    parser.add_argument("--repeats", type=int, metavar="N", help="timed runs of each side, instead of the rows' own")
    parser.add_argument("--check", action="store_true", help="exit 1 and name the targets that were missed")
    options = parser.parse_args(arguments)
    if options.check and options.quick:
        parser.error("targets are for the full sizes: --check does not go with --quick")
    if options.repeats is not None and options.repeats < 1:
        parser.error("--repeats must be at least 1")
    if options.json and options.markdown:
        parser.error("--json and --markdown exclude each other")
    if options.list:
        for row in ROWS.values():
            print(f"{row.id:28} {row.title}")
        return 0
    named = options.only.split(",") if options.only else list(ROWS)
    groups = {name: [name] if name in ROWS else [row for row in ROWS if row.startswith(name + ".")] for name in named}
    wanted = [row for rows in groups.values() for row in rows]
    if unknown := [name for name, rows in groups.items() if not rows]:
        parser.error(f"unknown: {', '.join(unknown)}; `python -m bench --list` prints the ids")
    failed, missed, measured = [], [], []
    show = _as_json if options.json else _as_markdown if options.markdown else _as_text
    if not options.json:
        print(_MARKDOWN_HEAD if options.markdown else _HEAD)
    for name in wanted:
        try:
            found = measure(ROWS[name], quick=options.quick, repeats=options.repeats)
        except Mismatch as error:
            failed.append(name)
            print(f"{name}: the two sides did not compute the same thing: {error}", file=sys.stderr)
            continue
        except Unavailable as error:
            missed += _missed(ROWS[name], {})
            print(f"note: {name} cannot run here: {error}", file=sys.stderr)
            continue
        missed += _missed(ROWS[name], found)
        measured.append(found)
        print(show(ROWS[name], found, options.quick), flush=True)
    if options.plot:
        plot_rows(measured, options.plot)
    if options.check:
        for text in missed:
            print("target missed: " + text, file=sys.stderr)
    return 1 if failed or (options.check and missed) else 0


_HEAD = f"{'row':28} {'ours':>10} {'(min .. max)':>23} {'peer':>10} {'ratio':>9}  peer, further figures, targets"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e9:.3g} ns"


def _as_json(row: Row, found: dict[str, Any], quick: bool) -> str:
    return json.dumps(found, ensure_ascii=False)


_MARKDOWN_HEAD = "| Row | Ours (min .. max) | Peer | Ratio | Further | Target |\n|---|---|---|---|---|---|"


def _as_markdown(row: Row, found: dict[str, Any], quick: bool) -> str:
    low, high = found["spread"]
    ratio = f"{found['ratio']:.3g}" if found["ratio"] is not None else "-"
    targets = "" if quick else ", ".join(f"{t}{'' if t.met(found) else ' (missed)'}" for t in _applying(row))
    return (
        f"| `{row.id}` | {_seconds(found['ours_s'])} ({_seconds(low)} .. {_seconds(high)}) "
        f"| {_seconds(found['peer_s'])}, {found['peer']} | {ratio} | {', '.join(_details(found))} | {targets} |"
    )


def _as_text(row: Row, found: dict[str, Any], quick: bool) -> str:
    low, high = found["spread"]
    ratio = f"{found['ratio']:.3g} x" if found["ratio"] is not None else "-"
    text = (
        f"{row.id:28} {_seconds(found['ours_s']):>10} {_seconds(low) + ' .. ' + _seconds(high):>23} "
        f"{_seconds(found['peer_s']):>10} {ratio:>9}  {found['peer']}"
    )
    details = _details(found)
    if not quick:
        details += [f"[{target}: {'met' if target.met(found) else 'MISSED'}]" for target in _applying(row)]
    return text + "".join(f"\n{'':31}{detail}" for detail in details)


def _details(found: dict[str, Any]) -> list[str]:
    """What a row says beyond its seconds."""
    details = []
    for name in ("client_s", "server_s", "decrypt_s"):
        if name in found:
            details.append(f"{name} {_seconds(found[name])}")
    for name in ("bytes_up", "bytes_down", "peer_bytes_up"):
        if name in found:
            details.append(f"{name} {found[name]:,.0f}")
    if "error" in found:
        details.append(f"error {found['error']:.2g}")
    if "peak_mb" in found:
        details.append(f"peak {found['peak_mb']:.1f} MB")
    for name, value in found["params"].items():
        if isinstance(value, float):
            details.append(f"{name} {_seconds(value) if name.endswith('_s') else format(value, '.4g')}")
    return details


def _applying(row: Row) -> list[Target]:
    return [target for target in row.targets if target.applies()]


def _missed(row: Row, found: dict[str, Any]) -> list[str]:
    return [
        f"{row.id}: {target}, measured {'nothing' if target.seen(found) is None else f'{target.seen(found):.4g}'}"
        for target in _applying(row)
        if not target.met(found)
    ]


if __name__ == "__main__":
    sys.exit(main())

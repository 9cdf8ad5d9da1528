"""`python -m bench.plot ROWS.jsonl FILE`: the rows `embed.scale.n*` against n, or `dp.mean.n100`, as a picture.

ROWS.jsonl is what `python -m bench --only embed.scale --json` (or dp.mean) printed; `python -m bench --plot FILE` draws
at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["plot_mean", "plot_rows", "plot_scale"]

_PARTS = (
    ("client_vector_s", "vector work (masks, packing): grows with k", "o-"),
    ("client_keys_s", "keys and shares: grow with k", "s-"),
    ("client_sets_s", "key list and sets: grow with n", "^-"),
)


#: Mechanism, plan, style.
_MEANS = (
    ("skellam", "own", "C0", "o", "Skellam, plan_distributed"),
    ("ddg", "own", "C1", "s", "discrete Gaussian, plan_distributed"),
    ("skellam", "reference", "C0", "x", "Skellam, published setting"),
    ("ddg", "reference", "C1", "+", "discrete Gaussian, published setting"),
)


def plot_rows(rows: Iterable[Mapping[str, Any]], file: str) -> None:
    """Draw the picture that belongs to the rows: that of `dp.mean.n100` where it was measured alone, else of the scale.

    Raises:
        ValueError: neither was measured.
    """
    found = list(rows)
    means = [row for row in found if str(row["id"]).startswith("dp.mean.")]
    if means and not any(str(row["id"]).startswith("embed.scale.n") for row in found):
        plot_mean(means[0], file)
    else:
        plot_scale(found, file)


def plot_mean(row: Mapping[str, Any], file: str) -> None:
    """Draw the measured errors of the noised mean against the bits, with closed forms and the curator's error.

    Error bars are four standard errors.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = row["params"]["points"]
    epsilons = sorted({point["epsilon"] for point in points})
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, epsilon in zip(figure.subplots(1, len(epsilons), squeeze=False)[0], epsilons, strict=True):
        for mechanism, plan, colour, marker, label in _MEANS:
            shown = [p for p in points if (p["mechanism"], p["plan"], p["epsilon"]) == (mechanism, plan, epsilon)]
            shift = 0.08 if mechanism == "ddg" else -0.08
            at = [p["bits"] + shift for p in shown]
            if plan == "own":
                axis.plot(at, [p["closed_form"] for p in shown], "-", color=colour, lw=0.8, alpha=0.6)
            axis.errorbar(
                at,
                [p["mse"] for p in shown],
                [4.0 * p["error"] for p in shown],
                fmt=marker,
                ms=4 if plan == "own" else 6,
                lw=0.8,
                color=colour,
                label=label,
            )
        central = next(p["central"] for p in points if p["epsilon"] == epsilon)
        axis.axhline(central, color="k", ls="--", lw=1, label="a trusted curator (analytic Gaussian)")
        axis.set(yscale="log", xlabel="bits of the modulus", ylabel="mean squared error of an entry")
        axis.set_title(f"$\\epsilon$ = {epsilon:g}, $\\delta$ = {row['params']['delta']:g}", fontsize=10)
    axis.legend(fontsize=7)
    name = (
        f"Mean of n = {row['params']['n']} clients, {row['params']['entries']} entries, clip {row['params']['clip']:g}"
    )
    figure.suptitle(f"{name}: points measured, lines in closed form", fontsize=10)
    figure.savefig(file, format="png", dpi=90)


def plot_scale(rows: Iterable[Mapping[str, Any]], file: str) -> None:
    """Draw milliseconds of one client by what they are spent on, and the growth of vector work beside that of k.

    Raises:
        ValueError: no row of `embed.scale.n*` is there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = sorted(
        (row["params"] for row in rows if str(row["id"]).startswith("embed.scale.n")), key=lambda params: params["n"]
    )
    if not found:
        raise ValueError("no row embed.scale.n* was measured: run with --only embed.scale")
    n = [params["n"] for params in found]
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, label, style in _PARTS:
        left.plot(n, [1e3 * params[name] for params in found], style, label=label)
    left.set(xscale="log", yscale="log", xlabel="clients n", ylabel="CPU milliseconds per client")
    left.set_title(f"One client of a round (d = {found[0]['d']:,})", fontsize=10)
    left.legend(fontsize=7, loc="center left", bbox_to_anchor=(0.0, 0.4))
    # The complete graph of a small round is another protocol: growth is told from the first sparse one on.
    sparse = [params for params in found if params["neighbours"] < params["n"] - 1] or found
    first = sparse[0]
    at = [params["n"] for params in sparse]
    right.plot(at, [p["client_vector_s"] / first["client_vector_s"] for p in sparse], "o-", label="vector work")
    right.plot(at, [p["neighbours"] / first["neighbours"] for p in sparse], "k--", label="neighbours k")
    for params in sparse:
        place = (params["n"], params["neighbours"] / first["neighbours"])
        right.annotate(f"k = {params['neighbours']}", place, fontsize=7, xytext=(0, 6), textcoords="offset points")
    right.set(
        xscale="log",
        xlabel="clients n",
        ylabel=f"relative to n = {first['n']:,}",
        ylim=(0, 1.2 * sparse[-1]["neighbours"] / first["neighbours"]),
    )
    right.set_title("Vector work per client beside k", fontsize=10)
    right.margins(x=0.1)
    right.legend(fontsize=7, loc="lower right")
    figure.savefig(file, format="png", dpi=100)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m bench.plot ROWS.jsonl FILE")
    plot_rows(map(json.loads, Path(sys.argv[1]).read_text().splitlines()), sys.argv[2])

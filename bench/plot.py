"""`python -m bench.plot ROWS.jsonl FILE`: the rows `embed.scale.n*` against n, as a picture.

ROWS.jsonl is what `python -m bench --only embed.scale --json` printed; `python -m bench --plot FILE` draws at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["plot_scale"]

_PARTS = (
    ("client_vector_s", "vector work (masks, packing): grows with k", "o-"),
    ("client_keys_s", "keys and shares: grow with k", "s-"),
    ("client_sets_s", "key list and sets: grow with n", "^-"),
)


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
    plot_scale(map(json.loads, Path(sys.argv[1]).read_text().splitlines()), sys.argv[2])

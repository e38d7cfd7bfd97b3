"""`python -m benchmarks.chart`: recall against facts held and against distance, from `results/` to docs/recall.svg.

Memory and prompt side by side, with 95 % intervals; the figures are those of the README's table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import HOME, recalled

FACTS = {"generated": "1-4", "10_facts": "1-10", "30_facts": "30", "100_facts": "100"}
DISTANCES = {"10_facts": "0", "after_50": "50", "after_200": "200"}
WAYS = {"memory": ("#6366f1", "o"), "prompt": ("#f59e0b", "s")}
INK = "#6b7280"  # reads on a light and on a dark page


def main() -> None:
    """Draw it into docs/."""
    draw(HOME / "docs" / "recall.svg")


def draw(file: Path) -> None:
    """Both panels, the same bytes for the same results."""
    rcParams.update({"svg.hashsalt": "imprint", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, FACTS, "facts held")
    _panel(right, DISTANCES, "unrelated turns since (1-10 facts)")
    left.set_ylabel("recall", color=INK)
    left.legend(frameon=False, labelcolor=INK)
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Description": described()})


def described() -> str:
    """The figures that are drawn, for whoever cannot see them; a test holds the picture in docs/ to them."""
    names = {**FACTS, **DISTANCES}
    results = [(name, way, recalled(name)) for name in names for way in WAYS]
    shares = [f"{name} {way} {result[way]['recall']:.3f}" for name, way, result in results if way in result]
    return "Recall: " + ", ".join(shares)


def _panel(axes: Axes, points: dict[str, str], along: str) -> None:
    results = {place: recalled(name) for name, place in points.items()}
    for way, (colour, marker) in WAYS.items():
        measured = {place: _share(result[way]) for place, result in results.items() if way in result}
        shares = list(measured.values())
        heights = [share for share, _, _ in shares]
        below, above = ([abs(edge - share) for share, *edges in shares for edge in edges[i : i + 1]] for i in (0, 1))
        axes.errorbar(list(measured), heights, [below, above], color=colour, marker=marker, capsize=3, label=way)
    axes.set_xlabel(along, color=INK)
    axes.set_ylim(0, 1)
    axes.tick_params(colors=INK)
    axes.grid(axis="y", alpha=0.25)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _share(result: dict[str, Any]) -> tuple[float, float, float]:
    """Recall and the ends of its interval."""
    low, high = result["interval"]["recall"]
    return result["recall"], low, high


if __name__ == "__main__":
    main()

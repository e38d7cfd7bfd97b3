"""Two pictures of a state: how much each layer holds, and over how many directions it is spread.

Plain numbers in, figures out; colours that read on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

INK = "#8b93a1"
GRID = "rgba(139, 147, 161, 0.22)"
LAYER_COLOURS = ("#6366f1", "#0ea5e9", "#10b981", "#f59e0b", "#ef4444", "#a855f7", "#14b8a6", "#ec4899")
DIRECTIONS = 48
SMALLEST = 1e-6


def plot_norms(norms: Sequence[float]) -> go.Figure:
    """Frobenius norm of the state, one bar per layer."""
    layers = [str(layer) for layer in range(1, len(norms) + 1)]
    bars = go.Bar(
        x=layers,
        y=list(norms),
        marker={"color": LAYER_COLOURS[0], "line": {"width": 0}},
        hovertemplate="layer %{x}: %{y:.3g}<extra></extra>",
    )
    return _dressed(go.Figure(bars), "State norm by layer", "layer", "norm")


def plot_spectrum(spectrum: Sequence[Sequence[float]]) -> go.Figure:
    """Singular values of the state, largest first, one line per layer."""
    figure = go.Figure()
    for layer, values in enumerate(spectrum):
        heights = [value for value in values[:DIRECTIONS] if value > SMALLEST]
        figure.add_scatter(
            y=heights,
            x=list(range(1, len(heights) + 1)),
            name=f"layer {layer + 1}",
            line={"color": LAYER_COLOURS[layer % len(LAYER_COLOURS)], "width": 1.6},
            hovertemplate="%{y:.3g}",
        )
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, tickfont={"size": 11})
    longest = max((len(line.y) for line in figure.data), default=1)
    figure.update_xaxes(tick0=1, dtick=max(1, longest // 8), range=[0.5, longest + 0.5])
    return _dressed(figure, "Spectrum by layer", "direction", "singular value")


def _dressed(figure: go.Figure, title: str, across: str, up: str) -> go.Figure:
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0.02},
        font={"color": INK, "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=260,
        margin={"l": 52, "r": 12, "t": 40, "b": 40},
        legend={"font": {"size": 11}},
        bargap=0.5,
    )
    figure.update_xaxes(title_text=across, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text=up, gridcolor=GRID, zeroline=False)
    return figure

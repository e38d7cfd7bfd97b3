"""A Gradio page of which no output is lost, however fast one follows the other."""

from __future__ import annotations

from typing import Any

import gradio as gr


class SteadyBlocks(gr.Blocks):
    """Sends an update of a component whole, where Gradio sends what is other than in the one before.

    The browser changes the one before in place by that, and what it has not shown by then is lost (gradio 6.31: a box
    that stays shut, once in a hundred clicks). Texts and lists grow by what is added, as ever.
    """

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """Replace edits of updates by the updates; as Gradio does otherwise."""
        values = list(data)
        sent = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format)
        if final:
            return sent
        return [
            [["replace", [], value]] if edits and edits is not value and isinstance(value, dict) else edits
            for value, edits in zip(values, sent, strict=True)
        ]

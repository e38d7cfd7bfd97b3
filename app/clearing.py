"""What a page shows of somebody, of a conversation and of what was said, and how it shows that there is none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import gradio as gr

from app.wiring import Emptied

if TYPE_CHECKING:
    from app.memory_panel import MemoryPanel


class Clearable(Protocol):
    """A page with what stands on it of those who chat."""

    title: gr.Textbox
    search: gr.Textbox
    causes: gr.HTML
    memory: MemoryPanel

    @property
    def dials(self) -> list[Any]:
        """How the conversation is answered."""


def found_out(page: Clearable) -> Emptied:
    """What was looked up about somebody: it goes with them, and with what was forgotten."""
    memory = page.memory
    shown = [(box, "") for box in (page.causes, memory.known, memory.said, memory.changes)]
    return [*shown, (memory.disputes, gr.update(visible=False))]


def manner(page: Clearable, usual: Sequence[Any]) -> Emptied:
    """How a conversation is called and answered: else the next would keep the instructions of one that is forgotten."""
    return [(page.title, ""), *zip(page.dials, usual, strict=True)]


def closing(page: Clearable, usual: Sequence[Any]) -> Emptied:
    """What goes where something is forgotten; then all conversations are listed."""
    return [*found_out(page), *manner(page, usual), (page.search, "")]


def departing(page: Clearable, usual: Sequence[Any]) -> Emptied:
    """What goes with a person."""
    memory = page.memory
    return [*closing(page, usual), *((box, "") for box in (memory.search, memory.correction, memory.probe))]

"""How the two sides of a chat look: what a person wrote, letter for letter, and replies as Markdown.

Nothing that either wrote can run anything or fetch anything: HTML is shown as text, and there are no images.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")


def pairs(said: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """What was said and replied, as chat messages; nothing is shown where there is no reply."""
    sides = [side for text, reply in said for side in (said_by_person(text), replied(reply))]
    return [side for side in sides if side["content"]]


def said_by_person(text: str) -> dict[str, str]:
    """A person's message, also where it looks like HTML."""
    return {"role": "user", "content": escape(text, quote=False)}


def replied(text: str) -> dict[str, str]:
    """A reply, or the start of one. Formulas between $$ are set by the page."""
    return {"role": "assistant", "content": _MARKDOWN.render(text).strip()}

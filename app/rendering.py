"""How the two sides of a chat look: what a person wrote, letter for letter, and replies as Markdown.

Nothing that either wrote can run anything or fetch anything: HTML is shown as text, and there are no images.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt

from storage.records import Turn

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")


def pairs(said: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """What was said and replied, as chat messages; nothing is shown where there is no reply."""
    sides = [side for text, reply in said for side in (said_by_person(text), replied(reply))]
    return [side for side in sides if side["content"]]


def turns_shown(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as chat messages; under the reply of each that is remembered stands what that took."""
    return [side for turn in turns for side in _with_cost(turn)]


def _with_cost(turn: Turn) -> list[dict[str, str]]:
    sides = pairs([(turn.user_text, turn.reply_text or "")])
    if turn.folded_at is not None and turn.reply_text:
        cost = f"{turn.tokens or 0} tokens, {(turn.fold_seconds or 0) * 1000:.0f} ms"
        # Its words come from the style sheet: they are no part of the text that is copied or read out as the reply.
        sides[-1]["content"] += f'\n<small class="cost" title="{cost}"></small>'
    return sides


def said_by_person(text: str) -> dict[str, str]:
    """A person's message, also where it looks like HTML."""
    return {"role": "user", "content": escape(text, quote=False)}


def replied(text: str) -> dict[str, str]:
    """A reply, or the start of one. Formulas between $$ are set by the page."""
    return {"role": "assistant", "content": _MARKDOWN.render(text).strip()}

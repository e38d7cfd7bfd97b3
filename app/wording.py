"""The words and small pieces of HTML that a page shows; everything a person wrote is escaped or stays plain text.

Plain values in, text out: no components, no rules.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from app.memories import MemoryView
from app.reply import Reading
from storage.records import Turn, User

LOADING = "The model is loading; you may write already"
NOBODY = "Write a name under 'Chat as' to begin"
EXCERPT = 80
SHORT = 12

BRAND = "<b>Imprint</b><small>remembers you in its weights</small>"

WELCOME = """### Nothing is in the prompt
Tell it something about yourself, start a **new conversation**, and ask. What it still knows is in its weights."""

WHO = """### Who is chatting?
Write a name under **Chat as**. Each name has a memory of its own, and only that."""


def status(note: str, reading: Reading | None = None) -> str:
    """The quiet line: what is going on, and what the model is reading."""
    facts = [] if reading is None else facts_of(reading)
    spans = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f'<div class="status" role="status"><span class="note">{escape(note)}</span>{spans}</div>'


def facts_of(reading: Reading) -> list[str]:
    """Prompt tokens, turns held in weights, bytes of memory."""
    return [
        f"{counted(reading.prompt_tokens, 'token')} in the prompt",
        f"{counted(reading.turns, 'turn')} in the weights",
        f"{sized(reading.nbytes)} of memory",
    ]


def alert(sentence: str) -> str:
    """One sentence about what went wrong."""
    return f'<div class="status alert" role="alert">{escape(sentence)}</div>'


def summary(user: User | None, view: MemoryView | None) -> str:
    """The head of the Memory tab."""
    if user is None or view is None:
        return status("Write a name under 'Chat as' to see its memory")
    held = f"{counted(len(view.turns), 'turn')} held in {sized(view.nbytes)}"
    maker = "" if view.fingerprint == view.engine_fingerprint else " (not the running one)"
    facts = (f"<b>{escape(user.name)}</b>", held, f"model <code>{escape(view.fingerprint[:SHORT])}</code>{maker}")
    return '<div class="status">' + "".join(f"<span>{fact}</span>" for fact in facts) + "</div>"


def rows_of(view: MemoryView) -> list[list[str | int]]:
    """The ledger, newest first: when, the start of the text, tokens, milliseconds."""
    return [
        [moment(turn.folded_at), excerpt(turn.user_text), turn.tokens or 0, f"{(turn.fold_seconds or 0) * 1000:.1f}"]
        for turn in reversed(view.turns)
    ]


def both_sides(turn: Turn) -> list[dict[str, str]]:
    """A turn as chat messages; nothing is shown where there is no reply."""
    said = [{"role": "user", "content": inert(turn.user_text)}]
    return [*said, {"role": "assistant", "content": inert(turn.reply_text)}] if turn.reply_text else said


def inert(text: str) -> str:
    """A text as a chat shows it: letter for letter, also where it looks like HTML."""
    return escape(text, quote=False)


def moment(seconds: float | None) -> str:
    """Local date and time to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M") if seconds else ""


def excerpt(text: str) -> str:
    """The start of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sized(nbytes: int) -> str:
    """Bytes as people say them."""
    return f"{nbytes} bytes" if nbytes < 1024 else f"{nbytes / 1024:,.0f} KB"

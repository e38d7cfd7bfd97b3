"""The words and small pieces of HTML that a page shows; everything a person wrote is escaped or stays plain text.

Plain values in, text out: no components, no rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from app.ledger import Cause
from app.memories import MemoryView
from app.reply import Reading
from storage.records import Person, Turn, User

LOADING = "The model is loading; you may write already"
NOBODY = "Write a name under 'Chat as' to begin"
EXCERPT = 80
SHORT = 12
CAUSES = 5
UNMOVED = "Nothing in memory speaks for this reply: it came from the conversation and the model itself."
WHY = "This reply came from these turns. The number says how much each speaks for it (nats)."
WITHOUT = "Without memory the reply would be:"
INSTRUCTIONS = "Read before everything else. The bundled model was never taught to heed them; others are."
UNEXPLAINED = "A temporary chat keeps no replies to explain"
NEARLY_FULL = 0.33  # of the directions in use: below, the bundled model's recall is above 0.9 (benchmarks/capacity.py)
SLIGHT = 0.05  # nats: less says nothing of where a reply came from

BRAND = "<b>Imprint</b><small>remembers you in its weights</small>"

WELCOME = """### Nothing is in the prompt
Tell it something about yourself, start a **new conversation**, and ask. What it still knows is in its weights."""

TEMPORARY = """### Nothing of this is kept
It reads your memory and leaves nothing in it: no turn, no fold, no line in a log. Leave, and it is gone."""

AS_OF = """### The memory as it was then
It reads what was remembered up to that turn, and nothing of this chat is kept."""

WHO = """### Who is chatting?
Write a name under **Chat as**, or chat as a guest. Each name has a memory of its own, and only that."""


def status(note: str, reading: Reading | None = None) -> str:
    """The quiet line: what is going on, and what the model is reading."""
    facts = [] if reading is None else facts_of(reading)
    spans = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f'<div class="status" role="status"><span class="note">{escape(note)}</span>{spans}</div>'


def facts_of(reading: Reading) -> list[str]:
    """Prompt tokens, and how many all turns would take; turns held in weights, bytes of memory."""
    held = reading.held
    return [
        f"{counted(reading.prompt_tokens, 'token')} in the prompt (all turns: {held.tokens:,})",
        f"{counted(held.turns, 'turn')} in the weights",
        f"{sized(held.nbytes)} of memory",
    ]


def alert(sentence: str) -> str:
    """One sentence about what went wrong."""
    return f'<div class="status alert" role="alert">{escape(sentence)}</div>'


def summary(user: User | None, view: MemoryView | None) -> str:
    """The head of the Memory tab."""
    if user is None or view is None:
        return status("Write a name under 'Chat as' to see its memory")
    held = f"{counted(len(view.turns), 'turn')} held in {sized(view.nbytes)}, {view.fullness:.0%} of it in use"
    maker = "" if view.fingerprint == view.engine_fingerprint else " (not the running one)"
    if view.fullness >= NEARLY_FULL:
        held += "; nearly full, older facts may be crowded out"
    facts = (
        f"<b>{escape(user.name)}</b>",
        held,
        _instead(view),
        f"model <code>{escape(view.fingerprint[:SHORT])}</code>{maker}",
    )
    return '<div class="status">' + "".join(f"<span>{fact}</span>" for fact in facts if fact) + "</div>"


def _instead(view: MemoryView) -> str:
    """What the turns would take in a prompt, and from where on memory is the smaller."""
    tokens = sum(turn.tokens or 0 for turn in view.turns)
    if not tokens:
        return ""
    even = -(-view.nbytes // view.cache_a_token)
    cache = f"in a prompt {counted(tokens, 'token')} and {sized(tokens * view.cache_a_token)} of cache"
    return f"{cache}; memory is the smaller from {counted(even, 'token')} on"


def rows_of(turns: Sequence[Turn], left: Sequence[float], text: str = "") -> list[list[str | int]]:
    """The ledger, newest first: number, when, the start of the text, tokens, milliseconds, what has not faded of it.

    Only the turns with a text in them, where one is given.
    """
    held = [(turn, share) for turn, share in zip(turns, left, strict=True) if holds(turn, text)]
    return [[*_row(turn), f"{share:.0%}"] for turn, share in reversed(held)]


def _row(turn: Turn) -> list[str | int]:
    return [turn.id, moment(turn.folded_at), entry(turn), turn.tokens or 0, _milliseconds(turn.fold_seconds)]


def entry(turn: Turn) -> str:
    """How a turn begins, and whether it is pinned."""
    return f"[pinned] {excerpt(turn.user_text)}" if turn.pinned else excerpt(turn.user_text)


def _milliseconds(seconds: float | None) -> str:
    return f"{(seconds or 0) * 1000:.1f}"


def holds(turn: Turn, text: str) -> bool:
    """Whether either side of a turn has the text in it, in any case; "[pinned]" is in those that do not fade."""
    return text.casefold() in f"{entry(turn)}\n{turn.user_text}\n{turn.reply_text or ''}".casefold()


def causes_in_words(causes: Sequence[Cause]) -> list[str]:
    """The turns that spoke for a reply, by how much, or that none did."""
    speaking = _speaking(causes)
    lines = [f"{cause.influence:>6.2f}  turn {cause.turn.id}: {excerpt(cause.turn.user_text)}" for cause in speaking]
    return lines or [UNMOVED]


def causes_shown(causes: Sequence[Cause], without: str) -> str:
    """The turns that spoke for a reply most, each with a bar, and the reply that there would be without memory."""
    speaking = _speaking(causes)[:CAUSES]
    bare = f"<p>{WITHOUT} <q>{escape(without)}</q></p>"
    if not speaking:
        return f'<div class="why"><p>{UNMOVED}</p>{bare}</div>'
    rows = "".join(_cause_shown(cause, cause.influence / speaking[0].influence) for cause in speaking)
    return f'<div class="why"><p>{WHY}</p><ol>{rows}</ol>{bare}</div>'


def _cause_shown(cause: Cause, share: float) -> str:
    said, when = escape(excerpt(cause.turn.user_text)), moment(cause.turn.folded_at)
    bar = f'<i style="width:{share:.0%}"></i>'
    return f"<li>{bar}<span>{said}</span><small>{when} &middot; {cause.influence:.2f}</small></li>"


def _speaking(causes: Sequence[Cause]) -> list[Cause]:
    return [cause for cause in causes if cause.influence >= SLIGHT]


def weight_in_words(norms: Sequence[float]) -> str:
    """What a turn adds to a memory."""
    return f"Adds to the layers of the state (norm): {', '.join(f'{norm:.1f}' for norm in norms)}"


def turn_shown(turn: Turn, norms: Sequence[float]) -> str:
    """A turn of the ledger in full, and what it adds to a memory."""
    reply = f"<p>{escape(turn.reply_text)}</p>" if turn.reply_text else ""
    weight = f"<small>{weight_in_words(norms)}</small>"
    return f'<div class="turn"><p><b>{escape(turn.user_text)}</b></p>{reply}{weight}</div>'


def person_row(person: Person) -> list[str | int]:
    """Somebody in the list of everybody."""
    admin = " (admin)" if person.user.is_admin else ""
    return [
        person.user.name,
        person.turns,
        sized(person.memory_bytes),
        moment(person.last_turn_at),
        person.opens_with + admin,
    ]


def deleting(name: str) -> str:
    """What is asked before somebody is deleted."""
    return f"<p>Delete <b>{escape(name)}</b> and all that is kept under that name, for good?</p>"


def markdown(said: Iterable[tuple[str, str]]) -> str:
    """A conversation to take along."""
    return "\n\n".join(f"**You:** {text}\n\n**Imprint:** {reply}" for text, reply in said)


def as_json(said: Sequence[tuple[str, str]]) -> str:
    """A conversation as programs take it; "" for an empty one."""
    sides = [(role, text) for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)]
    messages = [{"role": role, "content": text} for role, text in sides]
    return json.dumps({"messages": messages}, ensure_ascii=False, indent=1) if said else ""


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
    if nbytes < 1024:
        return f"{nbytes} bytes"
    return f"{nbytes / 1024:,.0f} KB" if nbytes < 1024**2 else f"{nbytes / 1024**2:,.1f} MB"

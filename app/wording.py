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
from app.readout import SURE, Answer, Change
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
NEARLY_FULL = 0.4  # of the directions in use: with the bundled model recall is above 0.9 below (benchmarks/capacity.py)
SURE_OF = (
    "Asked with an empty prompt, the weights alone answer this. The number says how much memory speaks for it (nats)."
)
SURE_OF_NOTHING = "Asked with an empty prompt, the weights are sure of nothing yet."
UNCHANGED = "The weights are sure of the same answers now as they were then."
CHANGED = "What the weights alone were sure of then, and are now"
UNSURE = "memory is not sure of it"
ASKED = "Asked with an empty prompt, the weights alone answer this."
NOT_SURE = "Questions that memory is not sure of"
OPENS = {
    (False, False): "its name",
    (True, False): "a passphrase",
    (True, True): "a guest's browser",
}
"""By whether a name is guarded and a guest's: what lets somebody in under it."""
SLIGHT = 0.05  # nats: less says nothing of where a reply came from

BRAND = "<b>Imprint</b><small>remembers you in its weights</small>"

WELCOME = """### Nothing is in the prompt
Tell it something about yourself, start a **new conversation**, and ask. What it still knows is in its weights."""

TEMPORARY = """### Nothing of this is kept
It reads your memory and leaves nothing in it: no turn, no fold, no line in a log. Leave, and it is gone."""

AS_OF = """### The memory as it was then
It reads what was remembered up to that turn, and nothing of this chat is kept."""

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
    held = f"{counted(len(view.turns), 'turn')} held in {sized(view.nbytes)}, {view.fullness:.0%} of it in use"
    maker = "" if view.fingerprint == view.engine_fingerprint else " (not the running one)"
    if view.fullness >= NEARLY_FULL:
        held += "; nearly full, older facts may be crowded out"
    facts = (f"<b>{escape(user.name)}</b>", held, f"model <code>{escape(view.fingerprint[:SHORT])}</code>{maker}")
    return '<div class="status">' + "".join(f"<span>{fact}</span>" for fact in facts) + "</div>"


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


def readout_in_words(answers: Sequence[Answer], own: bool = False) -> list[str]:
    """What memory is sure of, with the turn it came from; then how many questions it is not sure of.

    Where they are somebody's `own` every answer is given, and unsure ones are said to be so.
    """
    shown = [answer for answer in answers if answer.is_sure or own]
    lines = [f"{answer.margin:>6.2f}  {answer.text}  {_source(answer)}{_otherwise(answer)}" for answer in shown]
    return lines if own else [*lines, f"{counted(len(answers) - len(shown), 'question')} it is not sure of"]


def readout_shown(answers: Sequence[Answer], own: bool = False) -> str:
    """What memory is sure of, each answer with a bar and the turn it came from; the other questions folded away.

    Where they are somebody's `own` every answer is shown: see `readout_in_words`.
    """
    if own:
        rows = "".join(_answer_shown(answer, min(1.0, max(0.0, answer.margin / SURE))) for answer in answers)
        return f'<div class="why"><p>{ASKED}</p><ol>{rows}</ol></div>'
    sure = [answer for answer in answers if answer.is_sure]
    rows = "".join(_answer_shown(answer, answer.margin / sure[0].margin) for answer in sure)
    unsure = "".join(f"<li>{escape(answer.question)}</li>" for answer in answers if not answer.is_sure)
    head = f"<p>{SURE_OF}</p><ol>{rows}</ol>" if sure else f"<p>{SURE_OF_NOTHING}</p>"
    return f'<div class="why">{head}<details><summary>{NOT_SURE}</summary><ul>{unsure}</ul></details></div>'


def _answer_shown(answer: Answer, share: float) -> str:
    source = f"{escape(_source(answer) + _otherwise(answer))} &middot; {answer.margin:.2f}"
    return f'<li><i style="width:{share:.0%}"></i><span>{escape(answer.text)}</span><small>{source}</small></li>'


def changes_in_words(changes: Sequence[Change]) -> list[str]:
    """What a memory answers otherwise than at another time, question by question, or that nothing does."""
    lines = [f"{one.before.question}  {_known(one.before)} -> {_known(one.after)}" for one in changes]
    return lines or [UNCHANGED]


def changes_shown(changes: Sequence[Change]) -> str:
    """The same as a list."""
    if not changes:
        return status(UNCHANGED)
    rows = "".join(
        f"<li><span>{escape(_known(one.before))} &rarr; <b>{escape(_known(one.after))}</b></span>"
        f"<small>{escape(one.before.question)}</small></li>"
        for one in changes
    )
    return f'<div class="why"><p>{CHANGED}</p><ol>{rows}</ol></div>'


def _known(answer: Answer) -> str:
    return answer.text if answer.is_sure else "(not sure)"


def choices_between(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Where two turns seem to disagree, what either would leave, and the numbers of the turns that are then forgotten.

    Numbers as `numbers_in` reads them.
    """
    pairs = [pair for one in answers if one.rival for pair in ((one, one.rival), (one.rival, one))]
    choices = {}
    for kept, gone in pairs:
        if kept.turn and gone.turn:
            numbers = ",".join(str(turn.id) for turn in (gone.turn, *gone.echoes))
            choices[numbers] = _choice(kept, kept.turn, gone.turn) + _echoed(gone.echoes)
    return [(choice, numbers) for numbers, choice in choices.items()]


def numbers_in(choice: str) -> list[int]:
    """The numbers of turns in a choice."""
    return [int(number) for number in choice.split(",")]


def _choice(answer: Answer, kept: Turn, gone: Turn) -> str:
    return f"Keep turn {kept.id}: {answer.text} Forget turn {gone.id}: {excerpt(gone.user_text)}"


def _echoed(echoes: Sequence[Turn]) -> str:
    return f" (and {counted(len(echoes), 'turn')} that repeat it)" if echoes else ""


def _otherwise(answer: Answer) -> str:
    return f"; without it: {answer.rival.text} ({_source(answer.rival)})" if answer.rival else ""


def _source(answer: Answer) -> str:
    unknown = "" if answer.is_sure else UNSURE
    return f"from turn {answer.turn.id}: {excerpt(answer.turn.user_text)}" if answer.turn else unknown


def person_row(person: Person) -> list[str | int]:
    """Somebody in the list of everybody."""
    opens = OPENS[person.is_guarded, person.is_guest]
    admin = " (admin)" if person.user.is_admin else ""
    return [person.user.name, person.turns, sized(person.memory_bytes), moment(person.last_turn_at), opens + admin]


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
    return f"{nbytes} bytes" if nbytes < 1024 else f"{nbytes / 1024:,.0f} KB"

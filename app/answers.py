"""The words and small pieces of HTML about what a memory answers; what anybody wrote is escaped or stays plain text.

Plain values in, text out: no components, no rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app import wording
from app.readout import SURE, Answer, Change
from storage.records import Turn

SURE_OF = (
    "Asked with an empty prompt, the weights alone answer this. The number says how much memory speaks for it (nats)."
)
SURE_OF_NOTHING = "Asked with an empty prompt, the weights are sure of nothing yet."
UNCHANGED = "The weights are sure of the same answers now as they were then."
CHANGED = "What the weights alone were sure of then, and are now"
UNSURE = "memory is not sure of it"
ASKED = "Asked with an empty prompt, the weights alone answer this."
NOT_SURE = "Questions that memory is not sure of"


def readout_in_words(answers: Sequence[Answer], own: bool = False) -> list[str]:
    """What memory is sure of, with the turn it came from; then how many questions it is not sure of.

    Where they are somebody's `own` every answer is given, and unsure ones are said to be so.
    """
    shown = [answer for answer in answers if answer.is_sure or own]
    lines = [f"{answer.margin:>6.2f}  {answer.text}  {_source(answer)}{_otherwise(answer)}" for answer in shown]
    return lines if own else [*lines, f"{wording.counted(len(answers) - len(shown), 'question')} it is not sure of"]


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
        return wording.status(UNCHANGED)
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
    return f"Keep turn {kept.id}: {answer.text} Forget turn {gone.id}: {wording.excerpt(gone.user_text)}"


def _echoed(echoes: Sequence[Turn]) -> str:
    return f" (and {wording.counted(len(echoes), 'turn')} that repeat it)" if echoes else ""


def _otherwise(answer: Answer) -> str:
    return f"; without it: {answer.rival.text} ({_source(answer.rival)})" if answer.rival else ""


def _source(answer: Answer) -> str:
    unknown = "" if answer.is_sure else UNSURE
    return f"from turn {answer.turn.id}: {wording.excerpt(answer.turn.user_text)}" if answer.turn else unknown

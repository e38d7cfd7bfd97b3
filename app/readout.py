"""What a memory gives for a list of plain questions: the weights' own answers, how sure they are, and where from.

No stored text is searched: each question is put to the model with nothing else in the prompt. Works on an engine and
plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.ledger import messages_of, pair_of
from core.chat import Message
from storage.records import Turn

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine

SURE = 4.0
"""Nats by which memory has to raise an answer's likelihood for it to be shown as known; see benchmarks/readout.py."""

QUESTIONS = (
    *("What is my name?", "How old am I?", "When is my birthday?", "Where do I live?", "Where am I from?"),
    *("What do I do for a living?", "Where do I work?", "What do I study?", "What languages do I speak?"),
    *("What is my sister's name?", "What is my brother's name?", "What is my mother's name?", "What is my son's name?"),
    *("What is my daughter's name?", "What is my husband's name?", "What is my wife's name?"),
    *("What is my best friend's name?", "How many children do I have?", "How many siblings do I have?"),
    *("What pet do I have?", "What is my dog's name?", "What is my cat's name?"),
    *("What is my favourite food?", "What food do I dislike?", "What is my favourite drink?", "What am I allergic to?"),
    *("What do I usually have for breakfast?", "What is my favourite colour?", "What is my favourite animal?"),
    *("What sport do I play?", "What is my hobby?", "What instrument do I play?", "What music do I like?"),
    *("What is my favourite film?", "What is my favourite book?", "What is my favourite band?"),
    *("What car do I drive?", "How do I get to work?", "When do I get up?", "Where am I going on holiday?"),
    *("What is my dream job?", "What am I afraid of?", "What is my lucky number?"),
)


@dataclass(frozen=True)
class Answer:
    """What memory answers, and by how much it raises ln p of that answer, in nats.

    `turn` is the one that spoke for it most; None for an answer that memory is not sure of.
    """

    question: str
    text: str
    margin: float
    turn: Turn | None

    @property
    def is_sure(self) -> bool:
        """Whether memory stands behind it."""
        return self.margin >= SURE


@dataclass(frozen=True)
class Change:
    """What a memory answered to a question at one time and at another; at least one of the two it is sure of."""

    before: Answer
    after: Answer


def read_out(engine: Engine, adapter: Adapter, turns: Sequence[Turn], sampling: Sampling) -> list[Answer]:
    """Put every question to the memory that `turns` made, the surest answer first.

    Costs one batch of replies, and a trace of each sure one through all turns.
    """
    answers = asked(engine, adapter, sampling)
    sure = [answer for answer in answers if answer.is_sure and turns]
    exchanges = [pair_of(answer.question, answer.text) for answer in sure]
    said, pinned = [messages_of(turn) for turn in turns], [turn.pinned for turn in turns]
    traces = engine.influences(said, exchanges, pinned=pinned) if sure else []
    sources = {
        answer.question: turns[max(range(len(turns)), key=trace.__getitem__)]
        for answer, trace in zip(sure, traces, strict=True)
    }
    traced = [replace(answer, turn=sources.get(answer.question)) for answer in answers]
    return sorted(traced, key=lambda answer: -answer.margin)


def asked(engine: Engine, adapter: Adapter, sampling: Sampling) -> list[Answer]:
    """Put every question to a memory, in their order; whatever turn an answer came from is not looked for."""
    prompts = [[Message("user", question)] for question in QUESTIONS]
    replies = engine.reply_all([(adapter, prompt) for prompt in prompts], sampling)
    exchanges = [pair_of(question, reply) for question, reply in zip(QUESTIONS, replies, strict=True)]
    margins = engine.margins(adapter, exchanges)
    return [Answer(*one, None) for one in zip(QUESTIONS, replies, margins, strict=True)]


def changes(before: Sequence[Answer], after: Sequence[Answer]) -> list[Change]:
    """Where two memories differ in what they are sure of."""
    both = [Change(*pair) for pair in zip(before, after, strict=True)]
    return [one for one in both if _known(one.before) != _known(one.after)]


def _known(answer: Answer) -> str | None:
    return answer.text if answer.is_sure else None

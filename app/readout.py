"""What a memory gives for a list of plain questions: the weights' own answers, how sure they are, and where from.

No stored text is searched: each question is put to the model with nothing else in the prompt. Works on an engine and
plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.ledger import messages_of, pair_of
from core.chat import Message
from storage.records import Turn

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine
    from core.provenance import Parts

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

    `turn` is the one that spoke for it most; None for an answer that memory is not sure of. `rival` is what memory
    would surely answer had it never heard that turn, nor its `echoes`, where that is something else: most often, what
    it was before. Echoes are the turns that say the same, such as an earlier answer.
    """

    question: str
    text: str
    margin: float
    turn: Turn | None
    rival: Answer | None = None
    echoes: tuple[Turn, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether memory stands behind it."""
        return self.margin >= SURE

    def fields(self) -> dict[str, Any]:
        """As the API and the terminal give it."""
        turn, rival = self.turn.id if self.turn else None, self.rival.fields() if self.rival else None
        margin = round(self.margin, 4)
        return {"question": self.question, "answer": self.text, "margin": margin, "turn": turn, "rival": rival}


@dataclass(frozen=True)
class Change:
    """What a memory answered to a question at one time and at another; at least one of the two it is sure of."""

    before: Answer
    after: Answer


def read_out(
    engine: Engine, adapter: Adapter, turns: Sequence[Turn], sampling: Sampling, questions: Sequence[str] = ()
) -> list[Answer]:
    """Put `questions`, or all of QUESTIONS, to the memory that `turns` made, the surest answer first.

    Costs two batches of replies, a forward pass over all turns, and a trace of each sure one.
    """
    answers = asked(engine, adapter, sampling, questions)
    known = [answer for answer in answers if answer.is_sure]
    traced = dict[str, Answer]()
    if known and turns and not engine.reads_sequentially:  # where nothing can be traced to a turn
        parts = parts_of(engine, turns)
        sure = with_sources(engine, turns, parts, known)
        traced = {answer.question: answer for answer in (*sure, *rivals(engine, turns, parts, sure, sampling))}
    return sorted((traced.get(one.question, one) for one in answers), key=lambda answer: -answer.margin)


def parts_of(engine: Engine, turns: Sequence[Turn]) -> Parts:
    """What each of the turns that are held adds to the memory; see `Engine.parts`."""
    return engine.parts([messages_of(turn) for turn in turns], [turn.pinned for turn in turns])


def with_sources(engine: Engine, turns: Sequence[Turn], parts: Parts, answers: Sequence[Answer]) -> list[Answer]:
    """The answers, each with that one of `turns`, whose `parts` these are, which spoke for it most."""
    traces = engine.influences(parts, [pair_of(one.question, one.text) for one in answers])
    sources = [turns[max(range(len(turns)), key=trace.__getitem__)] for trace in traces]
    return [replace(answer, turn=turn) for answer, turn in zip(answers, sources, strict=True)]


def rivals(
    engine: Engine, turns: Sequence[Turn], parts: Parts, sure: Sequence[Answer], sampling: Sampling
) -> list[Answer]:
    """The sure answers of the memory of `turns`, each with its rival and echoes, if it has any.

    What memory would answer without the turn that an answer came from; where that is the same once more, without all
    the turns that give it by themselves.
    """
    known = [answer for answer in sure if answer.turn and len(turns) > 1]
    found = _without(engine, turns, parts, known, sampling)
    again = [answer for answer in known if answer not in found]
    echoing = [
        one for one in _with_echoes(engine, turns, parts, again) if one.echoes and len(one.echoes) < len(turns) - 1
    ]
    return [*found.values(), *_without(engine, turns, parts, echoing, sampling).values()]


def _with_echoes(engine: Engine, turns: Sequence[Turn], parts: Parts, answers: Sequence[Answer]) -> list[Answer]:
    """The answers with the turns that, like the one they came from, give them by themselves."""
    if not answers:
        return []
    scores = engine.alone(parts, [pair_of(one.question, one.text) for one in answers])
    return [replace(one, echoes=_echoes(turns, one, given)) for one, given in zip(answers, scores, strict=True)]


def _echoes(turns: Sequence[Turn], answer: Answer, scores: Sequence[float]) -> tuple[Turn, ...]:
    """A turn that says something else gives the words around the value too, but not half of the whole."""
    enough = max(SURE, max(scores) / 2)
    return tuple(turn for turn, score in zip(turns, scores, strict=True) if score >= enough and turn != answer.turn)


def _without(
    engine: Engine, turns: Sequence[Turn], parts: Parts, answers: Sequence[Answer], sampling: Sampling
) -> dict[Answer, Answer]:
    """Those of the answers that have a rival once the turns they came from are left out, each as it is with it."""
    if not answers:
        return {}
    gone = [{one.turn, *one.echoes} for one in answers]
    missing = [[number for number, turn in enumerate(turns) if turn in some] for some in gone]
    adapters = engine.lacking(parts, missing)
    prompts = [[Message("user", one.question)] for one in answers]
    replies = engine.reply_all(list(zip(adapters, prompts, strict=True)), sampling)
    found = {}
    for answer, some, adapter, reply in zip(answers, missing, adapters, replies, strict=True):
        exchanges = [pair_of(answer.question, text) for text in (reply, answer.text)]
        margin, still = engine.margins(adapter, exchanges) if reply != answer.text else (0.0, 0.0)
        if margin >= SURE > still:
            left = [number for number in range(len(turns)) if number not in some]
            unknown = [Answer(answer.question, reply, margin, None)]
            (rival,) = with_sources(engine, [turns[number] for number in left], parts.only(left), unknown)
            found[answer] = replace(answer, rival=rival)
    return found


def superseded(answers: Sequence[Answer]) -> dict[int, int]:
    """By the id of a turn that no longer holds, the later one that says otherwise: see `rivals`."""
    pairs = [(one.turn, one.rival.turn) for one in answers if one.rival]
    return {old.id: new.id for new, old in pairs if new and old and (old.position or 0) < (new.position or 0)}


def asked(engine: Engine, adapter: Adapter, sampling: Sampling, questions: Sequence[str] = ()) -> list[Answer]:
    """As `read_out`, in the order of the questions; whatever turn an answer came from is not looked for."""
    questions = list(dict.fromkeys(questions)) or QUESTIONS
    prompts = [[Message("user", question)] for question in questions]
    replies = engine.reply_all([(adapter, prompt) for prompt in prompts], sampling)
    exchanges = [pair_of(question, reply) for question, reply in zip(questions, replies, strict=True)]
    margins = engine.margins(adapter, exchanges)
    return [Answer(*one, None) for one in zip(questions, replies, margins, strict=True)]


def changes(before: Sequence[Answer], after: Sequence[Answer]) -> list[Change]:
    """Where two memories differ in what they are sure of."""
    both = [Change(*pair) for pair in zip(before, after, strict=True)]
    return [one for one in both if _known(one.before) != _known(one.after)]


def _known(answer: Answer) -> str | None:
    return answer.text if answer.is_sure else None

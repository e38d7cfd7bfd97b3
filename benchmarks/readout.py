"""`python -m benchmarks.readout [--memories N] [--json OUT]`: is what the readout is sure of, true?

Memories are told in the words of the held-out side and answered by the model itself; then each fact is asked for, and
as many that were never told. Says, at the margin from which an answer is shown as known, how many of the answers shown
are right, how many of the facts told are shown, and how many of those never told are.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tqdm import tqdm

from app.readout import SURE
from benchmarks.cases import Probe
from benchmarks.opening import open_engine, parse
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import chance_of_more, finish, interval, origin
from core.chat import Message
from core.engine import Engine
from training.dialogues import Author
from training.facts import Values, draw_facts
from training.kinds import load_kinds
from training.remarks import load_small_talk

FACTS = 6


class Asked(NamedTuple):
    """One answer: the margin of memory for it, whether the fact was told, and whether the answer is right."""

    margin: float
    told: bool
    right: bool


def main() -> None:
    """Print a table and a JSON line."""
    arguments = parse(__doc__, memories=60)
    engine = open_engine(arguments)
    seeds = [f"{arguments.seed}-{number}" for number in range(arguments.memories)]
    answers = [answer for seed in tqdm(seeds, unit="memory", disable=None) for answer in asked(engine, seed)]
    result = summed(answers, SURE)
    for name, value in result.items():
        print(f"{name:24}{value}")
    finish(result | origin(engine), arguments.json)


def asked(engine: Engine, seed: str) -> list[Asked]:
    """Tell one memory FACTS facts, and ask for them and for as many others, in the plainest words of each kind."""
    rng = Random(seed)
    kinds, values = load_kinds(held_out=True), Values(held_out=True)
    drawn = draw_facts(rng, kinds, 2 * FACTS, values)
    facts, told = drawn, rng.sample(drawn, FACTS)
    author, state = Author(kinds, load_small_talk(), values), engine.empty_state()
    for fact in told:
        message = Message("user", author.tell_turn(rng, [fact]).user)
        (reply,) = engine.reply_all([(engine.materialise(state), [message])], GREEDY)
        state = engine.fold(state, [message, Message("assistant", reply)])
    adapter = engine.materialise(state)
    plainest = {kind.name: kind.ask[0] for kind in load_kinds(held_out=False)}
    questions = [[Message("user", fact.say(plainest[fact.kind.name]))] for fact in facts]
    replies = engine.reply_all([(adapter, question) for question in questions], GREEDY)
    exchanges = [[*question, Message("assistant", reply)] for question, reply in zip(questions, replies, strict=True)]
    return [
        Asked(margin, fact in told, is_right(reply, Probe("", (fact.value,), (), "recall")))
        for fact, reply, margin in zip(facts, replies, engine.margins(adapter, exchanges), strict=True)
    ]


def summed(answers: Sequence[Asked], sure: float) -> dict[str, object]:
    """The shares at a margin of `sure` nats, with their 95 % intervals, and how well margins rank right answers."""
    shown = [answer for answer in answers if answer.margin >= sure]
    told, others = [one for one in answers if one.told], [one for one in answers if not one.told]
    right = [one for one in shown if one.told and one.right]
    sure_of_others = [one for one in others if one.margin >= sure]
    return {
        "asked": len(answers),
        "sure_nats": sure,
        "shown": len(shown),
        "right_of_shown": _share(len(right), len(shown)),
        "right_of_shown_interval": interval(len(right), len(shown)),
        "shown_of_told": _share(len(right), len(told)),
        "shown_of_told_interval": interval(len(right), len(told)),
        "shown_of_never_told": _share(len(sure_of_others), len(others)),
        "shown_of_never_told_interval": interval(len(sure_of_others), len(others)),
        "ranking": ranking(answers),
    }


def ranking(answers: Sequence[Asked]) -> float | None:
    """The chance that a right answer has a larger margin than one that is not (area under the ROC curve)."""
    right = [one.margin for one in answers if one.told and one.right]
    return chance_of_more(right, [one.margin for one in answers if not (one.told and one.right)])


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


if __name__ == "__main__":
    main()

"""`python -m benchmarks.disagreements [--memories N] [--json OUT]`: are the turns that disagree named, and no others?

Memories are told in the words of the held-out side, a quarter of the facts changed later, and answered by the model
itself. Of every second one each fact is asked for too, so that the new fact stands in more turns than the one that told
it. Says for how many of the changed facts that are answered rightly the readout names the turn with the old one as the
rival, and how many of all rivals that it names are such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from tqdm import tqdm

from app.ledger import pair_of, turn_of
from app.readout import Answer, rivals, with_sources
from benchmarks.cases import Probe
from benchmarks.opening import open_engine, parse
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import finish, interval, origin
from core.chat import Message
from core.engine import Engine
from storage.records import Entry, Turn
from training.dialogues import Author, load_small_talk
from training.facts import Fact, Values
from training.kinds import load_kinds

MEMORIES, FACTS, FILLERS = 80, 5, 4


class Seen(NamedTuple):
    """A fact that memory is sure of and right about: whether it was changed, and what is named as its rival."""

    changed: bool
    named: bool
    rightly: bool


def main() -> None:
    """Print a table and a JSON line."""
    arguments = parse(__doc__, memories=MEMORIES)
    engine = open_engine(arguments)
    result = run(engine, arguments.memories, arguments.seed)
    for name, value in result.items():
        print(f"{name:28}{value}")
    finish(result | origin(engine), arguments.json)


def run(engine: Engine, memories: int, seed: int) -> dict[str, Any]:
    """The shares over some memories."""
    numbers = tqdm(range(memories), unit="memory", disable=None)
    return summed([one for number in numbers for one in looked_at(engine, seed, number)])


def looked_at(engine: Engine, seed: int, number: int) -> Iterator[Seen]:
    """Tell one memory, ask, and look for rivals of the right answers."""
    rng = Random(f"{seed}-{number}")
    author = Author(load_kinds(held_out=True), load_small_talk(), Values(held_out=True))
    memory = author.memory(rng, FACTS, FILLERS)
    plainest = {kind.name: kind.ask[0] for kind in load_kinds(held_out=False)}
    questions = [fact.say(plainest[fact.kind.name]) for fact in memory.facts]
    turns = told(engine, [*(turn.user for turn in memory.turns), *(questions if number % 2 else [])])
    state = engine.empty_state()
    for turn in turns:
        state = engine.fold(state, pair_of(turn.user_text, turn.reply_text))
    adapter = engine.materialise(state)
    for fact, question in zip(memory.facts, questions, strict=True):
        (reply,) = engine.reply_all([(adapter, [Message("user", question)])], GREEDY)
        answer = Answer(question, reply, engine.margins(adapter, [pair_of(question, reply)])[0], None)
        if answer.is_sure and is_right(reply, Probe(question, (fact.value,), (), "recall")):
            yield seen(fact, rivals(engine, turns, with_sources(engine, turns, [answer]), GREEDY))


def told(engine: Engine, texts: Sequence[str]) -> list[Turn]:
    """Turns as a person has them with this model, each in a conversation of its own."""
    turns, state = list[Turn](), engine.empty_state()
    for number, text in enumerate(texts):
        (reply,) = engine.reply_all([(engine.materialise(state), [Message("user", text)])], GREEDY)
        state = engine.fold(state, pair_of(text, reply))
        turns.append(turn_of(Entry(number, text, reply, 0.0, 0.0, 0.0, None, None), number))
    return turns


def seen(fact: Fact, found: Sequence[Answer]) -> Seen:
    """Whether a rival was named, and is the turn that told what the fact was before."""
    rival = found[0].rival if found else None
    told_before = bool(rival and rival.turn and fact.old and fact.old.lower() in rival.turn.user_text.lower())
    return Seen(bool(fact.old), rival is not None, told_before)


def summed(found: Sequence[Seen]) -> dict[str, Any]:
    """The two shares, with their 95 % intervals."""
    changed, named = [one for one in found if one.changed], [one for one in found if one.named]
    rightly = sum(one.rightly for one in found)
    return {
        "right_answers": len(found),
        "changed": len(changed),
        "named_of_changed": round(rightly / len(changed), 4) if changed else None,
        "named_of_changed_interval": interval(rightly, len(changed)),
        "named": len(named),
        "right_of_named": round(rightly / len(named), 4) if named else None,
        "right_of_named_interval": interval(rightly, len(named)),
    }


if __name__ == "__main__":
    main()

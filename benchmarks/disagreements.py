"""`python -m benchmarks.disagreements [--memories N] [--json OUT]`: are the turns that disagree named, and no others?

Memories are told in the words of the held-out side, a quarter of the facts changed later, and answered by the model
itself. Of every second one each fact is asked for too, so that the new fact stands in more turns than the one that told
it. Says for how many of the changed facts that are answered rightly the readout names the turn with the old one as the
rival, and how many of all rivals that it names are such. Also says why it asks at all: how often a change of a fact
surprises the memory it is told to more than what is told for the first time, which would need no question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from tqdm import tqdm

from app.ledger import pair_of, turn_of
from app.readout import Answer, parts_of, rivals, with_sources
from benchmarks.cases import Probe
from benchmarks.opening import open_engine, parse
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import chance_of_more, finish, interval, origin
from core.chat import Message
from core.engine import Engine
from storage.records import Entry, Turn
from training.dialogues import Author, Memory
from training.facts import Fact, Values
from training.kinds import load_kinds
from training.remarks import load_small_talk

MEMORIES, FACTS, FILLERS = 80, 5, 4


class Seen(NamedTuple):
    """A fact that memory is sure of and right about: whether it was changed, and what is named as its rival."""

    changed: bool
    named: bool
    rightly: bool


class Surprise(NamedTuple):
    """A telling, whether it changes what was told before, and by how much memory makes its words less likely."""

    changes: bool
    nats: float


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
    found, surprises = list[Seen](), list[Surprise]()
    for number in numbers:
        memory, turns = lived(engine, seed, number)
        found += looked_at(engine, memory, turns)
        surprises += surprised(engine, memory, turns)
    changes, others = ([one.nats for one in surprises if one.changes is which] for which in (True, False))
    return summed(found) | {"changes_more_surprising": chance_of_more(changes, others)}


def lived(engine: Engine, seed: int, number: int) -> tuple[Memory, list[Turn]]:
    """One memory as it was meant, and as the model was told it."""
    rng = Random(f"{seed}-{number}")
    author = Author(load_kinds(held_out=True), load_small_talk(), Values(held_out=True))
    memory = author.memory(rng, FACTS, FILLERS)
    texts = [turn.user for turn in memory.turns]
    return memory, told(engine, [*texts, *(questions_of(memory) if number % 2 else [])])


def questions_of(memory: Memory) -> list[str]:
    """The plainest question for each fact."""
    plainest = {kind.name: kind.ask[0] for kind in load_kinds(held_out=False)}
    return [fact.say(plainest[fact.kind.name]) for fact in memory.facts]


def surprised(engine: Engine, memory: Memory, turns: Sequence[Turn]) -> Iterator[Surprise]:
    """How much less likely memory makes each telling, in nats, just before it is folded."""
    state = engine.empty_state()
    for turn in turns:
        said, messages = turn.user_text.lower(), pair_of(turn.user_text, turn.reply_text)
        values = [fact for fact in memory.facts if fact.value.lower() in said]
        if not state.is_empty and values:
            nats = -engine.recollections(engine.materialise(state), [messages])[0]
            yield Surprise(any(fact.old for fact in values), nats)
        state = engine.fold(state, messages)


def looked_at(engine: Engine, memory: Memory, turns: Sequence[Turn]) -> Iterator[Seen]:
    """Ask for every fact, and look for rivals of the right answers."""
    questions = questions_of(memory)
    state = engine.empty_state()
    for turn in turns:
        state = engine.fold(state, pair_of(turn.user_text, turn.reply_text))
    adapter, parts = engine.materialise(state), parts_of(engine, turns)
    for fact, question in zip(memory.facts, questions, strict=True):
        (reply,) = engine.reply_all([(adapter, [Message("user", question)])], GREEDY)
        answer = Answer(question, reply, engine.margins(adapter, [pair_of(question, reply)])[0], None)
        if answer.is_sure and is_right(reply, Probe(question, (fact.value,), (), "recall")):
            yield seen(fact, rivals(engine, turns, parts, with_sources(engine, turns, parts, [answer]), GREEDY))


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

"""`python -m benchmarks.provenance [--memories N] [--json OUT]`: does "why this reply?" name the turn that told it?

Memories of facts, small talk and other people's lives are folded, every fact is asked for, and each right reply is
traced by leaving one turn out. Says how often the turn that told the answer comes first, and how long a trace takes
with 100 turns in memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.cases import Probe
from benchmarks.opening import open_engine, parse
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import finish, interval, origin
from core.chat import Message
from core.engine import Engine
from training.dialogues import Author
from training.facts import Fact, Values
from training.kinds import load_kinds
from training.remarks import load_small_talk

MEMORIES, FACTS, FILLERS = 60, 6, 12
TIMED_TURNS, TIMES = 100, 5


class Told(NamedTuple):
    """The turns of one memory, and its facts as they are at the end."""

    turns: list[list[Message]]
    facts: list[Fact]


def main() -> None:
    """Print a table and a JSON line."""
    arguments = parse(__doc__, memories=MEMORIES)
    engine = open_engine(arguments)
    result = run(engine, arguments.memories, arguments.seed)
    for name, value in result.items():
        print(f"{name:16}{value}")
    finish(result | origin(engine), arguments.json)


def run(engine: Engine, memories: int, seed: int) -> dict[str, Any]:
    """How often the turn that told comes first, and how long a trace takes."""
    drawn = [told(f"{seed}-{number}", FACTS, FILLERS) for number in range(memories)]
    right = [first for one in tqdm(drawn, unit="memory", disable=None) for first in traced(engine, one)]
    return {
        "traced": len(right),
        "first": sum(right),
        "share": round(sum(right) / len(right), 4) if right else None,
        "interval": interval(sum(right), len(right)),
        "turns_timed": TIMED_TURNS,
        "seconds": round(seconds(engine, told(f"{seed}-timed", FACTS, TIMED_TURNS)), 3),
    }


def told(seed: str, facts: int, fillers: int) -> Told:
    """One memory, of the side of the split that training saw: whether a trace is right is asked here, not recall."""
    rng = Random(seed)
    memory = Author(load_kinds(held_out=False), load_small_talk(), Values()).memory(rng, facts, fillers)
    turns = [[Message("user", turn.user), Message("assistant", turn.assistant)] for turn in memory.turns]
    return Told(turns, memory.facts)


def traced(engine: Engine, memory: Told) -> list[bool]:
    """For each right reply about a fact: whether the turn ranked first is one that told its value."""
    state = engine.empty_state()
    for turn in memory.turns:
        state = engine.fold(state, turn)
    adapter = engine.materialise(state)
    asked = [[Message("user", fact.say(fact.kind.ask[0]))] for fact in memory.facts]
    replies = engine.reply_all([(adapter, messages) for messages in asked], GREEDY)
    right = [
        (fact, [*messages, Message("assistant", reply)])
        for fact, messages, reply in zip(memory.facts, asked, replies, strict=True)
        if is_right(reply, Probe("", (fact.value,), (), "recall"))
    ]
    if not right:
        return []
    traces = engine.influences(engine.parts(memory.turns), [exchange for _, exchange in right])
    return [_names(memory.turns[_first(trace)], fact) for (fact, _), trace in zip(right, traces, strict=True)]


def _first(influences: Sequence[float]) -> int:
    return max(range(len(influences)), key=lambda turn: influences[turn])


def _names(turn: Sequence[Message], fact: Fact) -> bool:
    return fact.value.lower() in turn[0].text.lower()


def seconds(engine: Engine, memory: Told) -> float:
    """Median time of a trace through the first TIMED_TURNS turns of a memory."""
    turns, took = memory.turns[:TIMED_TURNS], []
    fact: Any = memory.facts[0]
    exchange = [Message("user", fact.say(fact.kind.ask[0])), Message("assistant", fact.say(fact.kind.answer[0]))]
    for _ in range(TIMES + 1):  # the first one warms up
        started = time.perf_counter()
        engine.influences(engine.parts(turns), [exchange])
        took.append(time.perf_counter() - started)
    return median(took[1:])


if __name__ == "__main__":
    main()

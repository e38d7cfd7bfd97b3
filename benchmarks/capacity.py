"""`python -m benchmarks.capacity [--memories N] [--json OUT]`: how much fits, and does the gauge know?

Memories of more and more facts, and of more and more small talk after six facts, told as training tells them and
answered rightly, so that nothing but load and distance counts. For each: the share recalled, and how full the state
says it is; over all memories, the rank correlation (Spearman) of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.cases import Probe
from benchmarks.opening import open_engine, parse
from benchmarks.recall import GREEDY, is_right
from benchmarks.report import finish, interval, origin
from core.chat import Message
from core.engine import Engine
from core.state import State
from training.corpora import Turn
from training.dialogues import Author
from training.facts import Fact, Values
from training.kinds import load_kinds
from training.remarks import load_small_talk

LOADS = (1, 2, 4, 8, 16, 32, 64)
DISTANCES = (0, 10, 50, 200)
FACTS = 6  # before the small talk
ASKED = 12  # facts of one memory, at most


class Held(NamedTuple):
    """One memory: how many facts it holds, turns after them, the state's fullness, facts asked for and recalled."""

    facts: int
    distance: int
    fullness: float
    asked: int
    recalled: int


def main() -> None:
    """Print a table and a JSON line."""
    arguments = parse(__doc__, memories=12)
    engine = open_engine(arguments)
    plan = [(load, 0) for load in LOADS] + [(FACTS, distance) for distance in DISTANCES]
    rows, held = [], []
    for facts, distance in tqdm(plan, unit="load", disable=None):
        seeds = [f"{arguments.seed}-{facts}-{distance}-{number}" for number in range(arguments.memories)]
        some = [one_memory(engine, Random(seed), facts, distance) for seed in seeds]
        held += some if not distance else []
        rows.append(row(some))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    correlation = rank_correlation([one.fullness for one in held], [one.recalled / one.asked for one in held])
    print(f"rank correlation of fullness and recall over {len(held)} memories: {correlation:.2f}")
    result = {"rows": rows, "rank_correlation": round(correlation, 4), "memories": len(held)}
    finish(result | origin(engine), arguments.json)


def one_memory(engine: Engine, rng: Random, facts: int, distance: int) -> Held:
    """Fold one memory and ask for some of its facts."""
    author = Author(load_kinds(held_out=False), load_small_talk(), Values())
    memory = author.memory(rng, facts, 0)
    later = [turn for _ in range(distance) for turn in author.chat(rng)[:1]]
    state = folded(engine, [*memory.turns, *later])
    chosen = rng.sample(memory.facts, min(ASKED, len(memory.facts)))
    replies = engine.reply_all([(engine.materialise(state), asking(fact)) for fact in chosen], GREEDY)
    right = sum(
        is_right(reply, Probe("", (fact.value,), (), "recall")) for fact, reply in zip(chosen, replies, strict=True)
    )
    return Held(len(memory.facts), distance, engine.fullness(state), len(chosen), right)


def folded(engine: Engine, turns: Sequence[Turn]) -> State:
    """The state of these turns, each with the reply that is given."""
    state = engine.empty_state()
    for turn in turns:
        state = engine.fold(state, [Message("user", turn.user), Message("assistant", turn.assistant)])
    return state


def asking(fact: Fact) -> list[Message]:
    """The plainest question for a fact."""
    return [Message("user", fact.say(fact.kind.ask[0]))]


def row(some: Sequence[Held]) -> dict[str, Any]:
    """Memories of one load and distance, together."""
    asked, recalled = sum(one.asked for one in some), sum(one.recalled for one in some)
    return {
        "facts": some[0].facts,
        "turns_after": some[0].distance,
        "fullness": round(mean(one.fullness for one in some), 3),
        "recall": round(recalled / asked, 3),
        "interval": interval(recalled, asked),
    }


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; nan where one of the two never varies."""
    pairs = torch.stack([_ranks(xs), _ranks(ys)])
    return float(torch.corrcoef(pairs)[0, 1])


def _ranks(values: Sequence[float]) -> Tensor:
    numbers = torch.tensor(values, dtype=torch.float64)
    below = (numbers[None] < numbers[:, None]).sum(1)
    equal = (numbers[None] == numbers[:, None]).sum(1)
    return below + (equal - 1) / 2


if __name__ == "__main__":
    main()

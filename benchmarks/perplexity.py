"""`python -m benchmarks.perplexity --msc FILE --plain FILE... [--json OUT]`: does a memory help talk between people?

On third sessions of Multi-Session Chat three ways: `memory` (sessions 1 and 2 folded turn by turn), `none`, `prompt`
(their last tokens before the session's own, as many as the base's context allows). Then whether 50 unrelated facts in
memory harm other conversations, are mentioned unasked in small talk, or have questions that only sound as if they were
about the user (`asides`, which training never saw) answered as if they were. A session is read in stretches of at most
`--window` tokens, alike for all ways; what is scored is in `benchmarks/scoring.py`. Intervals: bootstrap by dialogue.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tqdm import tqdm

from app.errors import EXPECTED
from app.settings import load_settings
from benchmarks.cases import Probe
from benchmarks.dialogues import SPEAKERS, Conversation, read_sample, turns_of
from benchmarks.recall import GREEDY, is_admission, is_right
from benchmarks.report import finish, interval, origin
from benchmarks.scoring import Score, Scorer, perplexity, resampled, spread, tokens_of
from core.adapter import Adapter
from core.chat import Message
from core.engine import Engine, load_engine
from training.dialogues import Author, Memory
from training.facts import Values
from training.kinds import load_kinds
from training.remarks import held_out_asides, load_small_talk

WAYS = ("memory", "none", "prompt")
FACTS = 50  # unrelated ones, in each memory of the side effects
MEMORIES = 8  # they take turns, so that no figure hangs on one draw of facts
SMALL_TALK = 40  # messages


def main() -> int:
    """Print tables and a JSON line; 2 if a file or the model cannot be read."""
    arguments = parse()
    try:
        sample = (arguments.dialogues, arguments.seed)
        sessions = read_sample(arguments.msc, *sample, earlier=True)
        plain = {path.name.split(".jsonl")[0]: read_sample(path, *sample) for path in arguments.plain}
        settings = load_settings(model=arguments.model, device=arguments.device)
        speakers = (arguments.speaker,) if arguments.speaker else SPEAKERS
        scorer = Scorer(load_engine(settings.origin, settings.choice), arguments.window, speakers)
        result = run(scorer, sessions, plain, arguments.seed)
    except (OSError, ValueError, *EXPECTED) as error:
        print(f"Perplexity cannot be measured: {error}", file=sys.stderr)
        return 2
    finish(result | {"source": arguments.msc.name}, arguments.json)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--msc", type=Path, required=True, help="sessions with the `previous_sessions` of each")
    parser.add_argument("--plain", type=Path, nargs="+", required=True, help="other conversations, one sort a file")
    parser.add_argument("--dialogues", type=int, default=100, help="drawn from each file (default 100)")
    parser.add_argument("--window", type=int, default=256, help="tokens read at once (default 256)")
    parser.add_argument("--speaker", choices=SPEAKERS, help="score only what this side said (default: both)")
    parser.add_argument("--seed", type=int, default=0, help="of the dialogues and facts drawn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    if arguments.dialogues < 1:
        parser.error(f"--dialogues is {arguments.dialogues}; it has to be at least 1.")
    return arguments


def run(
    scorer: Scorer, sessions: Sequence[Conversation], plain: Mapping[str, Sequence[Conversation]], seed: int
) -> dict[str, Any]:
    """Measure everything; print each table when it is complete."""
    sides = {"msc": third_sessions(scorer, sessions, seed)}
    _print_sessions(sides["msc"])
    loads = [Load.draw(scorer.engine, f"{seed}-{number}") for number in range(MEMORIES)]
    sides["plain"] = {name: unrelated(scorer, talks, loads, seed) for name, talks in plain.items()}
    _print_unrelated(sides["plain"])
    for name, texts in (("small_talk", small_talk_messages(Random(seed))), ("asides", held_out_asides())):
        sides[name] = unasked(scorer.engine, texts, loads)
        _print_unasked(name, sides[name])
    facts = {"facts": min(load.facts for load in loads), "memories": len(loads)}
    how = {"window": scorer.window, "speakers": list(scorer.speakers), "seed": seed}
    return sides | facts | how | origin(scorer.engine)


def third_sessions(scorer: Scorer, conversations: Sequence[Conversation], seed: int) -> dict[str, Any]:
    """Perplexity of what was said last, three ways; the differences; how much of the gap to the prompt memory closes.

    `prompt_holds` is the share of the earlier tokens that the base can read before a full window.
    """
    room = scorer.engine.base.context_length - scorer.window
    scores: dict[str, list[Score]] = {way: [] for way in WAYS}
    earlier_tokens: list[int] = []
    for conversation in tqdm(conversations, desc="sessions", unit="dialogue", leave=False, disable=None):
        earlier = [message for session in conversation.earlier for message in session]
        told = scorer.ids(earlier)
        earlier_tokens.append(len(told))
        adapter = remember(scorer.engine, earlier)
        scores["memory"].append(scorer.score(conversation.messages, adapter))
        scores["none"].append(scorer.score(conversation.messages, None))
        scores["prompt"].append(scorer.score(conversation.messages, None, told))
    memory, none, prompt = (perplexity(scores[way]) for way in WAYS)
    drawn = resampled(scores, seed)
    pairs = [("none", "memory"), ("none", "prompt"), ("memory", "prompt")]
    return {
        "dialogues": len(conversations),
        "tokens": tokens_of(scores["none"]),
        "prompt_holds": round(sum(min(room, n) for n in earlier_tokens) / sum(earlier_tokens), 3),
        "perplexity": {"memory": round(memory, 3), "none": round(none, 3), "prompt": round(prompt, 3)},
        "gap_closed": round((none - memory) / (none - prompt), 3) if none > prompt else None,
        "difference": {
            f"{one} - {other}": {
                "value": round(perplexity(scores[one]) - perplexity(scores[other]), 3),
                "interval": spread(drawn[one] - drawn[other]),
            }
            for one, other in pairs
        },
    }


def remember(engine: Engine, messages: Sequence[Message]) -> Adapter:
    """Fold the messages turn by turn into an empty state, and make the adapter of it."""
    state = engine.empty_state()
    for turn in turns_of(messages):
        state = engine.fold(state, turn)
    return engine.materialise(state)


class Load(NamedTuple):
    """A memory full of facts that have nothing to do with what is asked: how many, their values, the adapter."""

    facts: int
    values: frozenset[str]
    adapter: Adapter

    @classmethod
    def draw(cls, engine: Engine, seed: str) -> Load:
        """Draw facts from the held-out side of the catalogue and fold the turns that tell them."""
        author = Author(load_kinds(held_out=True), load_small_talk(), Values(held_out=True, rare=0.2))
        memory: Memory = author.memory(Random(seed), FACTS, 0)
        messages = [Message(role, text) for turn in memory.turns for role, text in zip(SPEAKERS, turn, strict=True)]
        values = frozenset(value for fact in memory.facts for value in (fact.value, fact.old) if value)
        return cls(len(memory.facts), values, remember(engine, messages))


def unrelated(
    scorer: Scorer, conversations: Sequence[Conversation], loads: Sequence[Load], seed: int
) -> dict[str, Any]:
    """Perplexity with an empty memory and with a full one, and their ratio: above 1, the facts do harm."""
    empty = scorer.engine.materialise(scorer.engine.empty_state())
    scores: dict[str, list[Score]] = {"empty": [], "full": []}
    talks = tqdm(conversations, desc="other talk", unit="dialogue", leave=False, disable=None)
    for conversation, load in zip(talks, cycle(loads), strict=False):
        scores["empty"].append(scorer.score(conversation.messages, empty))
        scores["full"].append(scorer.score(conversation.messages, load.adapter))
    drawn = resampled(scores, seed)
    return {
        "dialogues": len(conversations),
        "tokens": tokens_of(scores["empty"]),
        "empty": round(perplexity(scores["empty"]), 3),
        "full": round(perplexity(scores["full"]), 3),
        "ratio": round(perplexity(scores["full"]) / perplexity(scores["empty"]), 4),
        "interval": spread(drawn["full"] / drawn["empty"]),
    }


def unasked(engine: Engine, texts: Sequence[str], loads: Sequence[Load]) -> dict[str, Any]:
    """How many replies to messages that ask for no fact are about the user all the same.

    Those that `mention` a value in memory which the reply without the memory does not, and those that are `denied`, as
    if they had asked for a fact: with the memory, and without.
    """
    rows: list[dict[str, Any]] = []
    for text, load in zip(tqdm(texts, desc="unasked", leave=False, disable=None), cycle(loads), strict=False):
        plain, reply = (answer(engine, adapter, text) for adapter in (None, load.adapter))
        values = sorted(mentioned(reply, load.values) - mentioned(plain, load.values))
        rows.append({"message": text, "reply": reply, "without": plain, "values": values})
    mention, denied = sum(bool(row["values"]) for row in rows), sum(is_admission(row["reply"]) for row in rows)
    return {
        "messages": len(rows),
        "mention": mention,
        "interval": interval(mention, len(rows)),
        "denied": denied,
        "denied_interval": interval(denied, len(rows)),
        "denied_without": sum(is_admission(row["without"]) for row in rows),
        "replies": [row for row in rows if row["values"] or is_admission(row["reply"])],
    }


def small_talk_messages(rng: Random) -> list[str]:
    """Different messages of the small-talk catalogue."""
    draw = load_small_talk()
    texts: dict[str, None] = {}  # unlike a set, it keeps the order: a seed always gives the same
    while len(texts) < SMALL_TALK:
        texts[draw(rng)[0].user] = None
    return list(texts)


def answer(engine: Engine, adapter: Adapter | None, text: str) -> str:
    """The greedy reply to a first message."""
    return "".join(engine.reply(adapter, [Message("user", text)], GREEDY))


def mentioned(reply: str, values: frozenset[str]) -> set[str]:
    """The values that the reply holds, by the rule of the recall benchmark."""
    return {value for value in values if is_right(reply, Probe("", (value,), (), "recall"))}


def _print_sessions(result: Mapping[str, Any]) -> None:
    print(f"Session 3 ({result['dialogues']} dialogues, {result['tokens']} tokens): perplexity")
    for way, value in result["perplexity"].items():
        print(f"{way:8}{value:>10.2f}")
    for pair, difference in result["difference"].items():
        print(f"{pair:16}{difference['value']:>+8.2f}  95 % {difference['interval']}")
    closed = result["gap_closed"]
    print(f"memory closes {closed:.0%} of the gap" if closed is not None else "the prompt leaves no gap to close")


def _print_unrelated(results: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"\nOther talk: perplexity with an empty memory, with {FACTS} unrelated facts")
    for name, row in results.items():
        print(f"{name:28}{row['empty']:>9.2f}{row['full']:>9.2f}  ratio {row['ratio']:.4f}, 95 % {row['interval']}")


def _print_unasked(name: str, result: Mapping[str, Any]) -> None:
    print(f"\n{name}: {result['mention']} of {result['messages']} replies mention a fact unasked,", end=" ")
    print(f"{result['denied']} deny one ({result['denied_without']} without a memory)")
    for row in result["replies"]:
        print(f"{row['message']!r} -> {row['reply']!r}")


if __name__ == "__main__":
    sys.exit(main())

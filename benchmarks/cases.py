"""Recall cases: read from a file of the form in `tests/fixtures/cases/README.md`, or generated from the held-out side.

Generated cases use values and phrasings (telling, changing, asking) that training never saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from training.corpora import Turn
from training.dialogues import Author, Memory
from training.facts import Fact, Values
from training.kinds import Kind, load_kinds, load_unseen_kinds
from training.remarks import load_small_talk
from training.sentences import question

KINDS = ("recall", "update", "rare", "abstain")
ADMISSIONS = (
    *("not told", "haven't told", "have not told", "didn't tell", "did not tell", "never told"),
    *("don't know", "do not know", "not sure", "no idea", "don't remember", "do not remember"),
    *("didn't mention", "haven't mentioned", "have not mentioned", "never mentioned", "don't think you"),
)
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


PARTS = {"telling": ("clauses", "tells", "change"), "value": ("values",), "question": ("ask", "check")}
"""What of a generated case can be one that training saw, and the fields of a kind that it is drawn from."""


@dataclass(frozen=True)
class Probe:
    """A question, strings of which the reply must hold one (`any_of`), and strings of which it must hold none.

    What is typed `before` it, in the same conversation, gets the model's own replies, of which nothing is asked.
    """

    ask: str
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]
    kind: str
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """What a person types, conversation by conversation, and what is asked afterwards, each in a new conversation.

    `later` are exchanges (user, assistant) that come after, with replies that are given and not the model's.
    """

    id: str
    conversations: tuple[tuple[str, ...], ...]
    probes: tuple[Probe, ...]
    later: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Mix:
    """What generated cases are like: how many facts, how much comes after them, and of which kinds they are."""

    least_facts: int = 1
    most_facts: int = 4
    unrelated: int = 0  # turns of small talk after the last fact
    planted: int = 0  # wrong statements of the assistant after the last fact
    unseen_kinds: bool = False  # kinds of facts that training has not at all
    seen: tuple[str, ...] = ()  # which PARTS are drawn from the side that training saw
    near: bool = False  # what was never told could be mistaken for something told: the wife's name for the rabbit's

    def __str__(self) -> str:
        facts = f"{self.most_facts} facts" if self.least_facts == self.most_facts else f"up to {self.most_facts} facts"
        later = [f"{self.unrelated} unrelated turns after them"] * bool(self.unrelated)
        later += [f"{self.planted} wrong replies after them"] * bool(self.planted)
        later += ["kinds never trained"] * self.unseen_kinds + [f"{part} as trained" for part in self.seen]
        later += ["near misses asked for where there are any"] * self.near
        return ", ".join([facts, *later])

    def kinds(self) -> list[Kind]:
        """The kinds of the facts, each part from its side of the split."""
        if self.unseen_kinds:
            return load_unseen_kinds()
        fields = [field for part in self.seen for field in PARTS[part]]
        trained = {kind.name: kind for kind in load_kinds(held_out=False)}
        kinds = load_kinds(held_out=True)
        return [replace(kind, **{field: getattr(trained[kind.name], field) for field in fields}) for kind in kinds]


def read_cases(path: Path) -> list[Case]:
    """Read a JSON Lines file of cases; ValueError names the line that cannot be used."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [_case(line, number) for number, line in enumerate(lines, 1)]


def _case(line: str, number: int) -> Case:
    try:
        data = json.loads(line)
        probes = [_probe(entry) for entry in data["probes"]]
        if unknown := {probe.kind for probe in probes} - set(KINDS):
            raise ValueError(f"kind {sorted(unknown)} is none of {KINDS}")
        return Case(data["id"], tuple(map(_strings, data["conversations"])), tuple(probes))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Line {number} is not a recall case ({type(error).__name__}: {error}).") from error


def _probe(entry: dict[str, Any]) -> Probe:
    wanted, unwanted = _strings(entry["any"]), _strings(entry.get("not", []))
    return Probe(entry["ask"], wanted, unwanted, entry["kind"], _strings(entry.get("before", [])))


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is not a list of strings")
    return tuple(value)


def generate_cases(count: int, seed: int, mix: Mix = Mix()) -> Iterator[Case]:
    """Yield `count` cases with small talk between the facts, from the held-out side of the split but for `mix.seen`."""
    values = Values(held_out="value" not in mix.seen, rare=0.2)
    author = Author(mix.kinds(), load_small_talk(), values)
    asking = replace(author, near=float(mix.near))
    for number in range(count):
        rng = Random(f"{seed}-{number}")
        memory = author.memory(rng, rng.randint(mix.least_facts, mix.most_facts), rng.randint(0, mix.most_facts))
        texts = [turn.user for turn in memory.turns]
        probes = [_asked(rng, fact) for fact in memory.facts]
        probes += [_never_told(rng, asking, memory.facts) for _ in range(1 + len(probes) // 5) if rng.random() < 0.6]
        conversations = tuple(_conversations(rng, texts))
        yield Case(f"g{seed}-{number}", conversations, tuple(probes), tuple(_later(rng, author, memory, mix)))


def _later(rng: Random, author: Author, memory: Memory, mix: Mix) -> Iterator[Turn]:
    for _ in range(mix.unrelated):
        yield author.chat(rng)[0]
    for _ in range(mix.planted):
        yield author.planted(rng, memory.facts)


def _conversations(rng: Random, texts: list[str]) -> Iterator[tuple[str, ...]]:
    while texts:
        size = rng.randint(1, 4)
        yield tuple(texts[:size])
        texts = texts[size:]


def _asked(rng: Random, fact: Fact) -> Probe:
    kind = "update" if fact.old else "recall" if fact.value in fact.kind.values else "rare"
    old = (fact.old,) if fact.old and fact.old.lower() not in fact.value.lower() else ()
    return Probe(question(rng, fact.say(rng.choice(fact.kind.ask))), _spellings(fact.value), old, kind)


def _never_told(rng: Random, author: Author, facts: list[Fact]) -> Probe:
    return Probe(author.unknown(rng, facts).turn.user, ADMISSIONS, (), "abstain")


def _spellings(value: str) -> tuple[str, ...]:
    """A number counts as a word and in digits."""
    if value.isdigit() and int(value) < len(WORDS):
        return (value, WORDS[int(value)])
    return (value, str(WORDS.index(value))) if value in WORDS else (value,)

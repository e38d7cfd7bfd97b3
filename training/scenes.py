"""Scenes: what one person types, a message or a few, written as a whole; the facts in it are marked, and drawn anew.

A file of `catalogue/everyday/scenes/` has one scene a line, its messages parted by ` | `. `{kind}` or `{kind@word}` is
a fact of the person, `{kind>}` what it changes to, `{kind~}` a value of that sort that is no fact of theirs. A message
without a fact ends with ` => ` and its reply. Knows kinds by name, and nobody's way to react.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from training.corpora import Turn
from training.facts import Fact, Values, alike, is_confused
from training.kinds import CATALOGUE, Kind

SCENES = CATALOGUE / "everyday" / "scenes"
PLACE = re.compile(r"(\b[Aa] )?\{(\w+)(?:@([^{}>~]+))?([>~]?)\}")
LOWERED = 0.5  # of the values in a message without capitals have none either
React = Callable[[Random, list[Fact]], str]


@dataclass(frozen=True)
class Scene:
    """Messages, each with its reply where it tells nothing, and which facts they tell: (kind's name, word)."""

    messages: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, str], ...]

    @property
    def is_news(self) -> bool:
        """Whether it is a single message, that tells something."""
        return len(self.messages) == 1 and bool(self.keys)


def load_scenes(folder: Path = SCENES) -> list[Scene]:
    """Every scene of a folder's files, in the order of their names."""
    lines = [line for file in sorted(folder.glob("*.txt")) for line in file.read_text(encoding="utf-8").splitlines()]
    return [read_scene(line) for line in lines]


def read_scene(line: str) -> Scene:
    """A scene as a file has it."""
    messages = tuple((text, reply) for text, _, reply in (part.partition(" => ") for part in line.split(" | ")))
    places = [place for text, _ in messages for place in PLACE.findall(text)]
    return Scene(messages, tuple(dict.fromkeys((name, slot) for _, name, slot, mark in places if not mark)))


def goes_with(
    scene: Scene, facts: Sequence[Fact], kinds: Mapping[str, Kind], together: Collection[frozenset[str]]
) -> bool:
    """Whether no question about a fact of the scene may mean one of these."""
    names = {fact.kind.name for fact in facts}
    return not any(
        is_confused(kinds[key[0]], names, together) or any(alike(key, fact.key) for fact in facts) for key in scene.keys
    )


def play(
    rng: Random, scene: Scene, kinds: Mapping[str, Kind], values: Values, react: React
) -> tuple[list[Turn], list[Fact]]:
    """The scene's turns with values drawn, and its facts as they are at the end."""
    facts: dict[tuple[str, str], Fact] = {}
    turns = []
    for text, reply in scene.messages:
        filled, said = _filled(rng, text, kinds, values, facts)
        turns.append(Turn(filled, reply or react(rng, said)))
    return turns, list(facts.values())


def _filled(
    rng: Random, text: str, kinds: Mapping[str, Kind], values: Values, facts: dict[tuple[str, str], Fact]
) -> tuple[str, list[Fact]]:
    """A message with its values, and the facts in it, which are put into `facts`."""
    said: dict[tuple[str, str], Fact] = {}

    def value(match: re.Match[str]) -> str:
        article, name, slot, mark = (part or "" for part in match.groups())
        fact = _drawn(rng, kinds[name], slot, mark, facts, values)
        if mark != "~":
            facts[name, slot] = said[name, slot] = fact
        spelt = fact.say(f"{article}{{v}}")
        return spelt.lower() if text == text.lower() and rng.random() < LOWERED else spelt

    return PLACE.sub(value, text), list(said.values())


def _drawn(
    rng: Random, kind: Kind, slot: str, mark: str, facts: Mapping[tuple[str, str], Fact], values: Values
) -> Fact:
    """The fact at a place: told already, or new, or with another value than the one that was told."""
    known = facts.get((kind.name, slot))
    if known and not mark:
        return known
    other = next(drawn for drawn in _draws(rng, kind, values) if not known or drawn != known.value)
    return known.changed(other) if known and mark == ">" else Fact(kind, other, slot)


def _draws(rng: Random, kind: Kind, values: Values) -> Iterable[str]:
    while True:
        yield values.draw(rng, kind)

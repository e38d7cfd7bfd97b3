"""Single facts: a value of a kind, and the sentences about it. dialogues.py makes conversations of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from training.corpora import Turn
from training.kinds import Kind, group_of


@dataclass(frozen=True)
class Fact:
    """A value of a kind; `slot` is the word it is about ("sister"), `old` the value it replaced."""

    kind: Kind
    value: str
    slot: str = ""
    old: str = ""
    key: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.kind.name, self.slot))

    def say(self, template: str) -> str:
        """Fill a template of this fact's kind; "a {v}" becomes "an {v}" before a vowel."""
        for place, word in (("{v}", self.value), ("{s}", self.slot), ("{old}", self.old)):
            if word[:1].lower() in tuple("aeiou") and not word.lower().startswith(("uni", "eu", "one")):
                template = re.sub(rf"\b([Aa]) {re.escape(place)}", rf"\1n {place}", template)
            template = template.replace(place, word)
        return template

    def changed(self, value: str) -> Fact:
        """The same fact with a new value."""
        return replace(self, value=value, old=self.value)


class Question(NamedTuple):
    """A question with its answer, and the words in the answer that only memory can give."""

    turn: Turn
    values: tuple[str, ...]


COMBINED: dict[tuple[str, str], list[str]] = {  # two facts on one person or animal, told as one
    ("relative_name", "relative_age"): [
        "my {s} {v} is {w}",
        "my {s} {v} is {w} years old",
        "my {s}, {v}, just turned {w}",
    ],
    ("relative_name", "relative_city"): ["my {s} {v} lives in {w}", "my {s} {v}, who lives in {w}, called me"],
    ("relative_name", "relative_job"): ["my {s} {v} works as a {w}", "my {s} {v} is a {w}"],
    ("pet_name", "pet_age"): ["my {s} {v} is {w} years old", "our {s} {v} just turned {w}"],
    ("pet_name", "pet_color"): ["my {s} {v} is {w}", "{v} is my {w} {s}"],
}
ONSETS = [
    "b",
    "br",
    "c",
    "cl",
    "cr",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
]
VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ia", "io", "oo", "or", "ar", "en", "an", "el"]
ENDINGS = ["", "", "n", "r", "s", "l", "x", "th", "rk", "na", "la", "ra", "wick", "ton", "dell", "mir", "vi", "by"]
HELD_OUT_ONSETS = ("qu", "kr", "dr")
OPEN = 40  # values, at least, of a kind that could have any other: there are no other months


def invented_name(rng: Random, *, held_out: bool) -> str:
    """A name that no list has; those that begin with certain sounds are kept for evaluation."""
    onsets = [onset for onset in ONSETS if (onset in HELD_OUT_ONSETS) == held_out]
    syllables = [rng.choice(onsets) + rng.choice(VOWELS)]
    syllables += [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((0, 1, 1)))]
    return ("".join(syllables) + rng.choice(ENDINGS)).capitalize()


@dataclass(frozen=True)
class Values:
    """Draws values: of the kind's pool, with chance `rare` an invented name where the kind has them.

    With chance `novel` it is some of `words` instead, whatever they mean: a value is to be copied, not guessed from
    the kind, and the values that people will tell are in no list.
    """

    held_out: bool = False
    rare: float = 0.3
    novel: float = 0.0
    words: Sequence[str] = ()

    def draw(self, rng: Random, kind: Kind) -> str:
        """One value of a kind."""
        if rng.random() < self.novel and len(kind.values) >= OPEN:
            value = " ".join(rng.choice(self.words) for _ in range(rng.choice((1, 1, 2, 2, 3))))
            return value.title() if kind.values[0][0].isupper() else value
        if kind.invented and rng.random() < self.rare:
            return invented_name(rng, held_out=self.held_out)
        return rng.choice(kind.values)


def draw_facts(
    rng: Random,
    kinds: list[Kind],
    count: int,
    values: Values,
    together: Collection[frozenset[str]] = (),
    known: Sequence[Fact] = (),
) -> list[Fact]:
    """Draw `count` facts whose questions cannot mean each other, nor those `known` already.

    Of one group only such kinds as are `together` are told of one person.
    """
    facts = {fact.key: fact for fact in known}
    for _ in range(20 * count):
        if len(facts) == count + len(known):
            break
        kind = rng.choice(kinds)
        if is_confused(kind, {fact.kind.name for fact in facts.values()}, together):
            continue
        fact = Fact(kind, values.draw(rng, kind), rng.choice(kind.slots))
        if not any(alike(fact.key, key) for key in facts):
            facts[fact.key] = fact
    return list(facts.values())[len(known) :]


def is_confused(kind: Kind, told: Collection[str], together: Collection[frozenset[str]] = ()) -> bool:
    """Whether a question about a kind may mean another one that is told, unless both are `together`."""
    others = [name for name in group_of(kind) if name in told and name != kind.name]
    return any({kind.name, name} not in together for name in others)


def alike(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two facts are of one kind and their slot words overlap ("sister", "older sister")."""
    return one[0] == other[0] and bool(set(one[1].split()) & set(other[1].split()) or one[1] == other[1])

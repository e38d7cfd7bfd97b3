"""Single facts: a value of a kind, and the sentences about it. dialogues.py makes conversations of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

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
        if rng.random() < self.novel:
            value = " ".join(rng.choice(self.words) for _ in range(rng.choice((1, 1, 2, 2, 3))))
            return value.title() if kind.values[0][0].isupper() else value
        if kind.invented and rng.random() < self.rare:
            return invented_name(rng, held_out=self.held_out)
        return rng.choice(kind.values)


def draw_facts(rng: Random, kinds: list[Kind], count: int, values: Values) -> list[Fact]:
    """Draw `count` facts whose questions cannot mean each other."""
    facts: dict[tuple[str, str], Fact] = {}
    owner: dict[str, str] = {}  # group -> the one kind of it that is told
    for _ in range(20 * count):
        if len(facts) == count:
            break
        kind = rng.choice(kinds)
        group = group_of(kind)[0]
        if owner.setdefault(group, kind.name) != kind.name:
            continue
        fact = Fact(kind, values.draw(rng, kind), rng.choice(kind.slots))
        if not any(alike(fact.key, key) for key in facts):
            facts[fact.key] = fact
    return list(facts.values())


def alike(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two facts are of one kind and their slot words overlap ("sister", "older sister")."""
    return one[0] == other[0] and bool(set(one[1].split()) & set(other[1].split()) or one[1] == other[1])

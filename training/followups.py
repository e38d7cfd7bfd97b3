"""Questions that go on from the one before and leave out what it named: "how old is he?", "and my sister?".

Reads `catalogue/followups.toml`. Draws what is asked from what was told, or beside it; knows no rows and no tokens.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from training.corpora import Turn
from training.facts import Fact, Question, Values
from training.kinds import CATALOGUE, Kind
from training.sentences import favoured, question
from training.untold import is_never_told

TOLD = 0.6  # of those that could be about something told are
ANOTHER = ["and my {s}?", "and my {s}", "what about my {s}?", "And my {s}?", "What about my {s}?", "and for my {s}?"]
MEN = {"brother", "father", "dad", "papa", "husband", "boyfriend", "fiancé", "son", "stepson", "uncle", "nephew"}
MEN |= {"grandfather", "grandpa", "grandad", "grandson", "stepfather", "stepdad", "stepbrother", "godfather"}
WOMEN = {"sister", "mother", "mum", "mom", "mam", "wife", "girlfriend", "fiancée", "daughter", "stepdaughter", "aunt"}
WOMEN |= {"grandmother", "grandma", "granddaughter", "niece", "stepmother", "stepmum", "stepsister", "godmother", "nan"}
HE, SHE, IT = ("he", "him", "his"), ("she", "her", "her"), ("it", "it", "its")


@dataclass(frozen=True)
class FollowUp:
    """How a kind is asked for after another: one of those in `after`, or any about the same person or animal."""

    ask: tuple[str, ...]
    after: tuple[str, ...] = ()


def load_follow_ups() -> dict[str, FollowUp]:
    """By the name of the kind that is asked for."""
    tables = tomllib.loads((CATALOGUE / "followups.toml").read_text(encoding="utf-8"))
    return {name: FollowUp(tuple(table["ask"]), tuple(table.get("after", ()))) for name, table in tables.items()}


@dataclass(frozen=True)
class FollowUps:
    """Draws them, for kinds and values of one side of the split."""

    kinds: Mapping[str, Kind]
    values: Values
    asks: Mapping[str, FollowUp]
    together: Collection[frozenset[str]]

    def draw(self, rng: Random, fact: Fact, facts: Sequence[Fact]) -> tuple[Turn, Question] | None:
        """A question about the fact, and the one that follows it; none where nothing goes on from such a fact."""
        told = [other for other in facts if self._goes_on(fact, other)]
        known = bool(told) and rng.random() < TOLD
        other = rng.choice(told) if known else next(self._never_told(rng, fact, facts), None)
        if other is None:
            return None
        answers, values = (other.kind.answer, (other.value,)) if known else (other.kind.unknown, ())
        asked = question(rng, other.say(self._words(rng, fact, other)))
        first = Turn(question(rng, fact.say(rng.choice(fact.kind.ask))), fact.say(favoured(rng, fact.kind.answer)))
        return first, Question(Turn(asked, other.say(favoured(rng, answers))), values)

    def _goes_on(self, fact: Fact, other: Fact) -> bool:
        if other.kind.name == fact.kind.name:
            return other.slot != fact.slot
        follow_up = self.asks.get(other.kind.name)
        of_the_same = bool(fact.slot) and fact.slot == other.slot
        return follow_up is not None and (of_the_same or fact.kind.name in follow_up.after)

    def _never_told(self, rng: Random, fact: Fact, facts: Sequence[Fact]) -> Iterator[Fact]:
        """Of each kind that goes on from the fact, in any order, one that nothing told could be the answer to."""
        kinds = {fact.kind.name: fact.kind} | {name: self.kinds[name] for name in self.asks if name in self.kinds}
        for kind in rng.sample(list(kinds.values()), len(kinds)):
            slot = fact.slot if fact.slot in kind.slots and kind.name != fact.kind.name else rng.choice(kind.slots)
            other = Fact(kind, self.values.draw(rng, kind), slot)
            if self._goes_on(fact, other) and is_never_told(other, facts, self.together):
                yield other

    def _words(self, rng: Random, fact: Fact, other: Fact) -> str:
        if other.kind.name == fact.kind.name:
            return rng.choice(ANOTHER)
        text = rng.choice(self.asks[other.kind.name].ask)
        for place, word in zip(("{he}", "{him}", "{his}"), _pronouns(rng, other), strict=True):
            text = text.replace(place, word)
        return text


def _pronouns(rng: Random, fact: Fact) -> tuple[str, str, str]:
    """What a person or an animal is called when it is not named: by the word, or by chance."""
    word = fact.slot.removesuffix("-in-law").split()[-1:]
    if MEN.intersection(word) or WOMEN.intersection(word):
        return HE if MEN.intersection(word) else SHE
    return rng.choice((HE, SHE, IT) if fact.kind.name.startswith("pet") else (HE, SHE))

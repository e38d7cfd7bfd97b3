"""Facts that were never told, to be asked for: anything, or what could be mistaken for something that was told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from training.facts import Fact, Values, alike, is_confused
from training.kinds import Kind
from training.sentences import favoured

LIKE = 5  # kinds that share one value in so many can be taken for each other


@dataclass(frozen=True)
class Untold:
    """Draws them; see Author for `near` and `together`."""

    kinds: Sequence[Kind]
    values: Values
    near: float
    together: Collection[frozenset[str]]

    @cached_property
    def _neighbours(self) -> dict[str, list[Kind]]:
        """By a kind's name, the kinds whose values could be its own."""
        once = {kind.name: kind for kind in self.kinds}  # usual ones are in `kinds` many times
        could_be = {name: {to for to, other in once.items() if _could_be(kind, other)} for name, kind in once.items()}
        return {name: [kind for kind in self.kinds if kind.name in others] for name, others in could_be.items()}

    @cached_property
    def _about(self) -> dict[str, list[Kind]]:
        """By a word ("sister"), the kinds of facts about it."""
        words = {slot for kind in self.kinds for slot in kind.slots if slot}
        return {word: [kind for kind in self.kinds if word in kind.slots] for word in words}

    @cached_property
    def _alike(self) -> dict[str, list[Kind]]:
        """By a kind's name, the kinds that are `together` with it."""
        names = {name for pair in self.together for name in pair}
        return {name: [kind for kind in self.kinds if {name, kind.name} in self.together] for name in names}

    def draw(self, rng: Random, facts: Sequence[Fact]) -> Fact:
        """One of which nothing that was told could be the answer; with the chance `near`, one that looks as if."""
        near = [kinds for kinds in self._near(facts) if kinds]
        for attempt in range(1000):
            closely = near and self.near and attempt < 20 and rng.random() < self.near
            kinds = self.kinds
            if closely:  # of one list none is drawn, so that benchmarks' near misses stay those that were measured
                kinds = rng.choice(near) if len(near) > 1 else near[0]
            kind = rng.choice(kinds)
            slots = self._slots_told(kind, facts) if closely and self.together else []
            fact = Fact(kind, self.values.draw(rng, kind), rng.choice(slots or kind.slots))
            if is_never_told(fact, facts, self.together):
                return fact
        raise ValueError(f"{len(facts)} facts leave nothing untold in a catalogue of {len(self.kinds)} kinds.")

    def mistakable(self, rng: Random, asked: Fact, facts: Sequence[Fact]) -> Fact | None:
        """What was told that an answer could be mistaken for: of the same person or animal, or of like values."""
        taken = {kind.name for kind in self._alike.get(asked.kind.name, ())}
        near = [
            fact
            for fact in facts
            if (fact.slot and fact.slot == asked.slot) or fact.kind.name in taken or _are_like(asked.kind, fact.kind)
        ]
        return rng.choice(near) if near else None

    def _near(self, facts: Sequence[Fact]) -> list[list[Kind]]:
        """Kinds with such values as were told, those taken for what was, those about whoever was named, those told."""
        values = [kind for fact in facts for kind in self._neighbours[fact.kind.name]]
        if not self.together:
            return [values]
        taken = [kind for fact in facts for kind in self._alike.get(fact.kind.name, ())]
        about = [kind for fact in facts for kind in self._about.get(fact.slot, ())]
        return [values, taken, about, [fact.kind for fact in facts if len(fact.kind.slots) > 1]]

    def _slots_told(self, kind: Kind, facts: Sequence[Fact]) -> list[str]:
        """Who is known otherwise: the dog's age after its name; nobody where the kind was told: then the cat's name."""
        known = {fact.slot for fact in facts if fact.kind.name == kind.name}
        return [] if known else [fact.slot for fact in facts if fact.slot in kind.slots]


def denial_and(rng: Random, denial: str, known: Fact) -> str:
    """The denial beside what is known instead: "Your dog is called Rex, but you haven't told me your cat's name."."""
    first, second = rng.sample([denial, known.say(favoured(rng, known.kind.answer))], 2)
    if second.startswith("You") and rng.random() < 0.7:
        return f"{first[:-1]}, but y{second[1:]}"
    return f"{first} {second}"


def _could_be(kind: Kind, other: Kind) -> bool:
    """Whether a value of one kind could be one of the other: both are names, or some values are the same."""
    return _are_names(kind, other) or not set(kind.values).isdisjoint(other.values)


def _are_like(kind: Kind, other: Kind) -> bool:
    """Whether both are names, or share so many values that one passes for the other: a single place is not enough."""
    ours, theirs = set(kind.values), set(other.values)
    return _are_names(kind, other) or len(ours & theirs) * LIKE >= min(len(ours), len(theirs)) > 0


def _are_names(kind: Kind, other: Kind) -> bool:
    return kind.name.endswith("name") and other.name.endswith("name")


def is_never_told(fact: Fact, told: Sequence[Fact], together: Collection[frozenset[str]]) -> bool:
    """Whether no fact told could pass for an answer; of another person or animal the same kind may be asked."""
    if fact.slot and fact.kind.name in {other.kind.name for other in told}:
        return not any(alike(fact.key, other.key) for other in told)
    names = {other.kind.name for other in told}
    return fact.kind.name not in names and not is_confused(fact.kind, names, together)

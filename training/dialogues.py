"""Synthetic memory dialogues: turns that tell, change, ask and chat, as people write them.

Composes the catalogue's facts and small talk into conversations; tokens and batches are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import NamedTuple

from training.corpora import Turn
from training.everyday import USUAL
from training.facts import COMBINED, Fact, Question, Values, draw_facts, is_confused
from training.kinds import Kind
from training.questions import checked, either, nobody, who
from training.remarks import NICE_FOR_THEM, NOTHING_YET, SUMMARIES, THANKS, UPDATED, Chat
from training.scenes import Scene, goes_with, play
from training.sentences import favoured, joined, question, sentence
from training.untold import Untold, denial_and

MOST_SUMMED_UP = 5
SLANG = 0.2
IDENTIFYING = 0.15  # of the questions about a name, so many are about whose it is
SCENIC = 0.7  # so likely comes a scene, and so likely another
JOINTS = [" and ", " and ", ", and ", ". ", ". ", ", ", "; ", ". Also, ", " - ", " but "]


class Step(NamedTuple):
    """Turns that belong together, and the facts they tell for the first time."""

    turns: list[Turn]
    told: tuple[Fact, ...] = ()


@dataclass
class Memory:
    """What one synthetic person said: the turns in order, and what is true at the end."""

    turns: list[Turn] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


@dataclass(frozen=True)
class Author:
    """Writes conversations from one side of the split; `chat` gives a few turns of small talk.

    `amid` of the messages that tell something tell it beside other talk. `near` of the questions about things never
    told are about what could be mistaken for something told: the wife's name where the rabbit's was told. Of the facts
    a share is `asked` for before they are told, and as many at once afterwards. What is told in one message of two
    facts is `combined`; `together` are kinds that people tell together, or ask for after the other. Much is told
    in `scenes`, if there are any; questions may be in `slang`, other words for the one that a fact is about.
    `identities` answer who somebody is, by the kind that told the name.
    """

    kinds: list[Kind]
    chat: Chat
    values: Values
    amid: float = 0.0
    near: float = 0.0
    asked: float = 0.0
    combined: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=lambda: COMBINED)
    together: Collection[frozenset[str]] = ()
    scenes: Sequence[Scene] = ()
    slang: Mapping[str, Sequence[str]] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _untold(self) -> Untold:
        return Untold(self.kinds, self.values, self.near, self.together)

    @cached_property
    def _by_name(self) -> dict[str, Kind]:
        return {kind.name: kind for kind in self.kinds}

    def memory(self, rng: Random, count: int, fillers: int) -> Memory:
        """A person with `count` facts, a quarter of them changed later, and `fillers` other turns in between."""
        played = self._played(rng, count)
        told = [fact for _, known in played for fact in known]
        facts = self._facts(rng, count - len(told), told)
        steps = self._tellings(rng, facts)
        finals = [self._changed_later(rng, fact, steps) for fact in facts] + told
        for turns, _ in played:
            steps.insert(rng.randint(0, len(steps)), Step(turns))
        for _ in range(fillers):
            steps.insert(rng.randint(0, len(steps)), Step(self._filler(rng, finals)))
        return Memory([turn for step in steps for turn in step.turns], finals)

    def _played(self, rng: Random, count: int) -> list[tuple[list[Turn], list[Fact]]]:
        """Scenes for some of the facts, which can all be told apart."""
        played: list[tuple[list[Turn], list[Fact]]] = []
        known: list[Fact] = []
        while self.scenes and len(known) < count and rng.random() < SCENIC:
            scene = rng.choice(self.scenes)
            if len(scene.keys) <= count - len(known) + 1 and goes_with(scene, known, self._by_name, self.together):
                played.append(play(rng, scene, self._by_name, self.values, self._reaction))
                known += played[-1][1]
        return played

    def _changed_later(self, rng: Random, fact: Fact, steps: list[Step]) -> Fact:
        """Perhaps insert a change of the fact somewhere after it was told; return what is true at the end."""
        final = fact.changed(self.values.draw(rng, fact.kind))
        if not fact.kind.change or final.value == fact.value or rng.random() > 0.25:
            return fact
        told = next(i for i, step in enumerate(steps) if fact in step.told)
        steps.insert(rng.randint(told + 1, len(steps)), Step([self.change_turn(rng, final)]))
        return final

    def _facts(self, rng: Random, count: int, known: Sequence[Fact]) -> list[Fact]:
        """Draw facts besides those known; some people and animals get a second one, in the place of another fact."""
        facts = draw_facts(rng, self.kinds, count, self.values, self.together, known)
        for first in list(facts):
            told = {fact.kind.name for fact in (*known, *facts)}
            pairs = [self._by_name[to] for one, to in self.combined if one == first.kind.name and to in self._by_name]
            seconds = [kind for kind in pairs if first.slot or not is_confused(kind, told, self.together)]
            if not seconds or len(facts) == 1 or rng.random() > 0.35:
                continue
            second = rng.choice(seconds)
            if first.slot in second.slots and (second.name, first.slot) not in [fact.key for fact in (*known, *facts)]:
                del facts[max(i for i, fact in enumerate(facts) if fact is not first)]
                facts.append(Fact(second, self.values.draw(rng, second), first.slot))
        return facts

    def _tellings(self, rng: Random, facts: list[Fact]) -> list[Step]:
        """Every fact told once, in any order, alone or with others."""
        left, steps = list(facts), []
        rng.shuffle(left)
        while left:
            fact = left.pop()
            partner = next(
                (f for f in left if (fact.kind.name, f.kind.name) in self.combined and f.slot == fact.slot), None
            )
            if partner and rng.random() < 0.7:
                left.remove(partner)
                told, turn = [fact, partner], self._combined_turn(rng, fact, partner)
            else:
                told = [fact] + [left.pop() for _ in range(rng.choice((0, 0, 0, 1, 1, 2))) if left]
                turn = self.tell_turn(rng, told)
            steps.append(Step(self._asked_around(rng, turn, told[0]), tuple(told)))
        return steps

    def _asked_around(self, rng: Random, turn: Turn, fact: Fact) -> list[Turn]:
        """A telling, at times after a question that could not be answered yet, or before one that can be now."""
        draw = rng.random() if self.asked else 1.0
        if draw < self.asked:
            return [self.denied(rng, fact), turn]
        return [turn, self.ask(rng, fact).turn] if draw < 2 * self.asked else [turn]

    def denied(self, rng: Random, fact: Fact) -> Turn:
        """A question about a fact, and the answer that it was never told."""
        return Turn(question(rng, fact.say(rng.choice(fact.kind.ask))), fact.say(favoured(rng, fact.kind.unknown)))

    def _combined_turn(self, rng: Random, fact: Fact, partner: Fact) -> Turn:
        clause = fact.say(rng.choice(self.combined[fact.kind.name, partner.kind.name]))
        return Turn(sentence(rng, partner.say(clause.replace("{w}", "{v}"))), self._reaction(rng, [fact, partner]))

    def tell_turn(self, rng: Random, facts: list[Fact]) -> Turn:
        """A message that tells one or several facts, and a reaction."""
        return Turn(self._amid_talk(rng, self._told(rng, facts)), self._reaction(rng, facts))

    def _amid_talk(self, rng: Random, text: str) -> str:
        """The message, now and then before or after words about something else."""
        if not self.amid or rng.random() > self.amid:
            return text
        parts = [text, self.chat(rng)[0].user]
        return " ".join(part if part[-1] in ".!?" else f"{part}." for part in rng.sample(parts, 2))

    def _told(self, rng: Random, facts: list[Fact]) -> str:
        fact = facts[0]
        if len(facts) == 1 and fact.kind.tells and rng.random() < 0.35:
            return fact.say(rng.choice(fact.kind.tells))
        text = fact.say(rng.choice(fact.kind.clauses))
        for other in facts[1:]:
            joint, clause = rng.choice(JOINTS), other.say(rng.choice(other.kind.clauses))
            text += joint + (clause[0].upper() + clause[1:] if joint == ". " else clause)
        if rng.random() < 0.12:
            text = joined(rng, [text, self._about_others(rng, fact)])
        return sentence(rng, text)

    def _about_others(self, rng: Random, fact: Fact) -> str:
        """A clause with the same sort of value about somebody else: never an answer about the user."""
        other = Fact(fact.kind, self.values.draw(rng, fact.kind), fact.slot)
        return other.say(rng.choice(fact.kind.others))

    def change_turn(self, rng: Random, fact: Fact) -> Turn:
        """A message that says a fact is different now."""
        if rng.random() < 0.75:
            text = fact.say(rng.choice(fact.kind.change))
        else:
            now = rng.choice(
                ["Now ", "These days ", "Actually ", "Correction: ", "As of today, ", "Update: ", "No, sorry, "]
            )
            text = now + fact.say(rng.choice(fact.kind.clauses)) + rng.choice([".", " now.", "!"])
        noted = f"{fact.say(favoured(rng, fact.kind.answer))} {rng.choice(UPDATED)}"
        return Turn(text, noted if rng.random() < 0.3 else self._reaction(rng, [fact]))

    def _reaction(self, rng: Random, facts: list[Fact]) -> str:
        """What was understood, mostly, in the words that will answer a question about it, and a remark.

        People see at once whether they were understood; and since the reply is folded with the message, a telling in
        words never met before is remembered in words that were.
        """
        said = " ".join(fact.say(favoured(rng, fact.kind.answer)) for fact in facts)
        fact = rng.choice(facts)
        remark = rng.choice(THANKS) if rng.random() < 0.3 else fact.say(rng.choice(fact.kind.react))
        draw = rng.random()
        if draw < 0.03:
            return remark
        if draw < 0.15:
            return f"{remark} {said}"
        return f"{said} {remark}" if draw < 0.7 else said

    def _filler(self, rng: Random, facts: list[Fact]) -> list[Turn]:
        """What happens between tellings: mostly small talk; now and then a question, or somebody else's life."""
        draw = rng.random()
        if draw < 0.08:
            return [self.unknown(rng, facts).turn]
        if draw < 0.18:
            fact = rng.choice(facts)
            return [Turn(sentence(rng, self._about_others(rng, fact)), rng.choice(NICE_FOR_THEM))]
        return self.chat(rng)

    def planted(self, rng: Random, facts: Sequence[Fact]) -> Turn:
        """Small talk that gets a reply with a "fact" nobody told, half the time against one of `facts`.

        The assistant's words are no facts about the user: a wrong reply is folded too and must not be believed.
        """
        kind = rng.choice(self.kinds)
        fact = rng.choice(facts) if facts and rng.random() < 0.5 else Fact(kind, "", rng.choice(kind.slots))
        fact, kind = fact.changed(self.values.draw(rng, fact.kind)), fact.kind
        return Turn(self.chat(rng)[0].user, fact.say(rng.choice(rng.choice((kind.answer, kind.react)))))

    def ask(self, rng: Random, fact: Fact) -> Question:
        """A question and its answer; sometimes "Do I live in Rome?", "... in Rome or Oslo?", "Who is Tom?"."""
        if fact.kind.name in self.identities and rng.random() < IDENTIFYING:
            return who(rng, fact, self.identities[fact.kind.name])
        answer = fact.say(favoured(rng, fact.kind.answer))
        draw = rng.random()
        if fact.kind.check and draw < 0.04:
            return either(rng, fact, self.values.draw(rng, fact.kind), answer)
        if fact.kind.check and draw < 0.2:
            value = fact.value if rng.random() < 0.4 else self.values.draw(rng, fact.kind)
            return checked(rng, fact, value, answer)
        text = self._in_slang(rng, fact).say(rng.choice(fact.kind.ask))
        return Question(Turn(question(rng, text), answer), (fact.value,))

    def _in_slang(self, rng: Random, fact: Fact) -> Fact:
        words = self.slang.get(fact.slot)
        return replace(fact, slot=rng.choice(words)) if words and rng.random() < SLANG else fact

    def summary(self, rng: Random, facts: list[Fact]) -> Question:
        """ "What do you know about me?", answered with up to five facts, the usual ones first, if there are any."""
        order = [*USUAL, *(kind.name for kind in self.kinds)]
        said = sorted(facts, key=lambda fact: order.index(fact.kind.name))[:MOST_SUMMED_UP]
        answer = " ".join(fact.say(fact.kind.answer[0]) for fact in said) or rng.choice(NOTHING_YET)
        return Question(Turn(question(rng, rng.choice(SUMMARIES)), answer), tuple(fact.value for fact in said))

    def unknown(self, rng: Random, facts: list[Fact], recalled: float = 0.0) -> Question:
        """A question about something never told, and the honest answer.

        So many answers stand beside what is known that could have been mistaken for it, and is `recalled`.
        """
        fact = self._untold.draw(rng, facts)
        kind = fact.kind
        named = any(fact.value in other.value for other in facts)  # "Miso" is in "Miso and Gravy"
        if kind.name in self.identities and rng.random() < IDENTIFYING and not named:
            return nobody(rng, fact)
        template = rng.choice(kind.check if kind.check and rng.random() < 0.06 else kind.ask)
        asked = self._in_slang(rng, fact).say(template)
        turn = Turn(question(rng, asked), fact.say(favoured(rng, kind.unknown)))
        known = self._untold.mistakable(rng, fact, facts) if recalled and rng.random() < recalled else None
        if known is None:
            return Question(turn, ())
        return Question(Turn(turn.user, denial_and(rng, turn.assistant, known)), (known.value,))

    def news(self, rng: Random, facts: list[Fact]) -> tuple[Turn, list[Fact]]:
        """A message that tells something new or changes something told, a reaction to just that, and its facts."""
        changing = [fact for fact in facts if fact.kind.change]
        if changing and rng.random() < 0.25:
            fact = rng.choice(changing)
            new = [fact.changed(self.values.draw(rng, fact.kind))]
            return self.change_turn(rng, new[0]), new
        if self.scenes and rng.random() < SCENIC:
            scene = rng.choice(self.scenes)
            if scene.is_news and goes_with(scene, facts, self._by_name, self.together):
                (turn,), new = play(rng, scene, self._by_name, self.values, self._reaction)
                return turn, new
        new = [self._untold.draw(rng, facts)]
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            new.append(self._untold.draw(rng, [*facts, *new]))
        return self.tell_turn(rng, new), new

    def misheard(self, rng: Random, turn: Turn, facts: list[Fact]) -> Turn:
        """The turn with a reply beside the point, as a small model gives them: folded all the same, never learnt."""
        others = [self.planted(rng, facts), self.unknown(rng, facts).turn]
        others += [self.denied(rng, fact) for fact in facts if fact.value.lower() in turn.user.lower()]
        return Turn(turn.user, rng.choice(others).assistant)

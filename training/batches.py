"""From conversations to the batch of a step: what is told, asked and talked about, and how often.

Four sorts of rows: context rows (each owned by one memory and folded), plain rows (language modelling on the bare
base), question rows (read through the adapter of the memory that owns them) and rows of talk that it should not move.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from core.generator import PADDING
from training.codec import BOTH, REPLY, Codec, Window, joined
from training.corpora import Turn
from training.dialogues import MOST_SUMMED_UP, Author, Memory
from training.facts import Fact, Question
from training.followups import FollowUps
from training.packing import Rows, laid_in_rows, pack
from training.sentences import garbled

TOKENS_A_MEMORY = 200  # of a batch, at least: each costs a decomposition per layer, whatever its length
PROMPT_WEIGHT = 4.0  # of an answer that is in the prompt: few among much plain text
TALK_WEIGHT = 0.5  # of a token of people's talk that a memory of it completes: many among few answers
ROWS = (48, 64, 96, 128)  # lengths that rows owned by memories may have: the one that wastes least is taken
PLAIN_ROW = 320  # conversations need long rows
ASKED = 14  # facts of one memory, at most, that are asked for
NEWS = 3  # messages told through a memory, besides the questions
UNMOVED = 2  # stretches of people's talk read through a memory that holds nothing of it
GARBLED = 0.25  # of what is told and asked
LOWERED = 0.15  # of those, that are all in lower case instead, names as well
MISHEARD = 0.35  # of the turns that are folded only, and get a reply beside the point
CONVERSATIONS = 0.12  # of the memories hold people's talk instead of facts
STRANGERS = 0.15  # of what is drawn for plain rows: questions of somebody who has told nothing, so many at once
QUESTIONS, REMARKS = 6, 3  # and so many remarks that ask for nothing: whoever only learns to deny denies those too
CROWDED = 2.0  # times as many questions about what was never told, where much was: everything echoes a little there
FOLLOWED = 0.3  # of the facts that are asked for, so many lead to another question, that leaves out whom it is about
SUMMARIES = 0.3  # of the memories are asked for all they know; half as many of those that hold more than is said


@dataclass(frozen=True)
class Batch:
    """What one step sees: `contexts` are folded, `plain` is read by the bare base, `asked` through the adapters.

    `unmoved` is talk that is read both ways, and should be heard through an adapter as it is without.
    `strengths` (memories,) is how strong each memory's adapter is: an echo in words never met comes back fainter.
    """

    contexts: Rows
    plain: Rows
    asked: Rows
    unmoved: Rows
    strengths: Tensor

    @property
    def memories(self) -> int:
        """How many memories own its rows."""
        return len(self.strengths)

    @property
    def tokens(self) -> int:
        """Tokens in all rows, the ends that are padding not counted."""
        return sum(int((rows.windows != PADDING).sum()) for rows in self.rows)

    @property
    def rows(self) -> tuple[Rows, Rows, Rows, Rows]:
        """Every sort."""
        return self.contexts, self.plain, self.asked, self.unmoved

    def to(self, device: torch.device) -> Batch:
        """Move every tensor."""
        contexts, plain, asked, unmoved = (rows.to(device) for rows in self.rows)
        return Batch(contexts, plain, asked, unmoved, self.strengths.to(device, non_blocking=True))


@dataclass(frozen=True)
class Load:
    """How hard a step is: facts a memory, other turns between them, tokens a step; what there is of talk `besides`."""

    facts: int
    fillers: int
    tokens: int
    besides: float = 1.0


def load_at(progress: float, rng: Random, tokens: int, heavy: float = 0.0) -> Load:
    """The curriculum (RECIPE 7): from one fact and one question to the full load over the first half of training.

    Other turns are fewer than facts: a gate is learnt from a few of them, and each costs what a fact costs. A share
    `heavy` of the full loads has 40 to 100 facts, or as many other turns as that. Talk besides comes later than
    questions: memory begins sooner without it, and is heard through only with it (models/README.md).
    """
    hardest = 1 + round(39 * min(1.0, progress / 0.5))
    facts = min(rng.randint(1, hardest), rng.randint(1, hardest), rng.randint(1, hardest) + 2)
    fillers = 0 if progress < 0.05 else rng.randint(0, 2 + facts)
    if heavy and progress >= 0.5 and rng.random() < heavy:
        many = rng.randint(40, 100)
        facts, fillers = (many, rng.randint(0, many)) if rng.random() < 0.6 else (facts, many)
    return Load(facts, fillers, tokens, besides=min(1.0, progress / 0.2))


def values_of(facts: Sequence[Fact]) -> set[str]:
    """Everything that facts are or were."""
    return {value for fact in facts for value in (fact.value, fact.old) if value}


def _owned_by(fact: Fact) -> list[str]:
    """The words that say what a value is of: without "houseplant" a name could be anybody's."""
    return [word for word in re.findall(r"[a-z]{4,}", fact.kind.answer[0]) if word not in ("your", "called", "have")]


@dataclass
class Batcher:
    """Draws batches of memories and plain rows; `talk` gives up to so many turns of a conversation between people.

    For each fact that is asked for, so many questions are about what was `never_told`, on average; of their answers so
    many stand beside what is known instead, `recalled`. A memory is as strong as the app has it, or fainter by chance,
    down to `faint`. A share `everyday` is written by the `usual` author, as people talk to a stranger: a run that goes
    on forgets what it draws no more. Some questions are followed by others, if there are any `follow_ups`.
    """

    codec: Codec
    author: Author
    plain: Callable[[Random], list[Turn] | str]
    talk: Callable[[Random, int], list[Turn]]
    never_told: float
    besides: float = 1.0
    faint: float = 1.0
    recalled: float = 0.0
    everyday: float = 0.0
    usual: Author | None = None
    follow_ups: FollowUps | None = None

    def draw(self, rng: Random, load: Load, plain_share: float = 0.25) -> Batch:
        """One batch of about `load.tokens` tokens, `plain_share` of them plain rows."""
        contexts: list[tuple[int, list[Window]]] = []
        asked: list[tuple[int, list[Window]]] = []
        unmoved: list[tuple[int, list[Window]]] = []
        size = 0
        most = -(-load.tokens // TOKENS_A_MEMORY)
        while size < load.tokens * (1 - plain_share) and len(contexts) < most:
            owner = len(contexts)
            told, questions = (
                self.conversation(rng) if rng.random() < CONVERSATIONS else self._drawing(rng).facts(rng, load)
            )
            contexts.append((owner, told))
            asked.append((owner, questions))
            unmoved.append((owner, self.unmoved_windows(rng, self.besides * load.besides)))
            size += sum(len(w.ids) for sort in (contexts, asked, unmoved) for w in sort[-1][1])
        plain: list[Window] = []
        while sum(len(w.ids) for w in plain) < size * plain_share / (1 - plain_share):
            plain += self._drawing(rng).plain_windows(rng)
        rows = pack(contexts, ROWS), pack([(PADDING, plain)], [PLAIN_ROW]), pack(asked, ROWS), pack(unmoved, ROWS)
        return Batch(*rows, torch.tensor([rng.uniform(self.faint, 1.0) for _ in contexts]))

    def _drawing(self, rng: Random) -> Batcher:
        """Who draws next: by one author or by the other."""
        return replace(self, author=self.usual) if self.usual and rng.random() < self.everyday else self

    def sample(self, rng: Random, rows: int, length: int) -> Tensor:
        """What is read, turns that tell facts and others, one after the other in rows (rows, length)."""
        sampled = laid_in_rows(self._read(rng), rows, length)
        sampled[:, 0] = self.codec.user  # as every window begins: what a base keeps in its first token is no word of it
        return sampled

    def _read(self, rng: Random) -> Iterator[list[int]]:
        while True:
            drawing = self._drawing(rng)
            told, _ = drawing.facts(rng, Load(facts=4, fillers=4, tokens=0))
            yield from (window.ids for window in (*told, *drawing.plain_windows(rng)))

    def facts(self, rng: Random, load: Load) -> tuple[list[Window], list[Window]]:
        """A person who tells facts, and is asked for them."""
        memory = self.author.memory(rng, load.facts, load.fillers)
        return self.context_windows(rng, memory), self.question_windows(rng, memory, self.besides * load.besides)

    def conversation(self, rng: Random) -> tuple[list[Window], list[Window]]:
        """People's talk, to be gone on with and to be said again: completion and reconstruction (METHOD 2)."""
        turns = self.talk(rng, 12)
        cut = max(1, len(turns) - 3)
        told = [self.codec.window([turn], (), age=cut - 1 - i) for i, turn in enumerate(turns[:cut])]
        later = [self.codec.window(turns[cut:], BOTH, weight=TALK_WEIGHT)] if turns[cut:] else []
        return told, [*later, self.codec.window([rng.choice(turns[:cut])], BOTH, weight=TALK_WEIGHT)]

    def context_windows(self, rng: Random, memory: Memory) -> list[Window]:
        """Each turn a window of its own, with an age that may pretend to more small talk than is there."""
        extra = rng.choice((0, 0, rng.uniform(0, 20), rng.uniform(0, 250)))
        gaps = sorted(rng.uniform(0, extra) for _ in memory.turns)
        values, windows = values_of(memory.facts), []
        for i, turn in enumerate(memory.turns):
            age, draw = len(memory.turns) - 1 - i + (extra - gaps[i]), rng.random()
            if draw < 0.1:
                windows.append(self.codec.window([turn], BOTH, age=age))
            elif draw < 0.6:
                windows.append(self.codec.replied([self._hasty(rng, turn, memory.facts)], values, age))
            else:
                windows.append(self.codec.window([self._heard(rng, turn, memory)], (), age=age))
        return windows

    def _heard(self, rng: Random, turn: Turn, memory: Memory) -> Turn:
        """A turn as life has it, never to be learnt: hasty words, and replies beside the point."""
        if rng.random() < MISHEARD:
            turn = self.author.misheard(rng, turn, memory.facts)
        return self._hasty(rng, turn, memory.facts)

    def _hasty(self, rng: Random, turn: Turn, facts: Sequence[Fact]) -> Turn:
        """The turn, now and then in hasty words of the user, that are to be understood all the same."""
        if rng.random() > GARBLED or not (words := self.author.values.words):
            return turn
        if rng.random() < LOWERED:
            return turn._replace(user=turn.user.lower())
        kept = values_of(facts) | {fact.slot for fact in facts} | {word for fact in facts for word in _owned_by(fact)}
        return turn._replace(user=garbled(rng, turn.user, kept, words))

    def question_windows(self, rng: Random, memory: Memory, besides: float = 1.0) -> list[Window]:
        """Facts asked in two ways each, some never told; with the chance `besides` news and talk, answered as such."""
        facts = rng.sample(memory.facts, min(ASKED, len(memory.facts)))
        questions = [self.author.ask(rng, fact) for fact in facts for _ in range(2)]
        share = self.never_told * (CROWDED if len(memory.facts) > ASKED else 1.0)
        never_told = sum(int(share + rng.random()) for _ in facts) or int(rng.random() < 0.5)
        questions += [self.author.unknown(rng, memory.facts, self.recalled) for _ in range(never_told)]
        if rng.random() < (SUMMARIES if len(memory.facts) <= MOST_SUMMED_UP else SUMMARIES / 2):
            questions.append(self.author.summary(rng, memory.facts))
        windows = [self._after_others(rng, question, memory.facts, memory.turns[-3:]) for question in questions]
        windows += self._followed(rng, facts, memory.facts)
        if rng.random() >= besides:
            return windows
        for _ in range(NEWS):
            turn, news = self.author.news(rng, memory.facts)
            start = rng.randrange(len(memory.turns))
            earlier = memory.turns[start : start + 3] if rng.random() < 0.5 else []
            told = [*memory.facts, *news]
            windows.append(self.codec.replied([*earlier, self._hasty(rng, turn, told)], values_of(told)))
        return windows + [self.codec.window([turn], REPLY) for _ in range(2) for turn in self.author.chat(rng)]

    def _followed(self, rng: Random, asked: Sequence[Fact], facts: Sequence[Fact]) -> Iterator[Window]:
        """Questions that go on from one just answered, for some of what is asked."""
        if self.follow_ups is None:
            return
        for fact in asked:
            if rng.random() < FOLLOWED and (two := self.follow_ups.draw(rng, fact, facts)):
                first, then = two
                yield self.codec.asked([first], [then._replace(turn=self._hasty(rng, then.turn, facts))])

    def unmoved_windows(self, rng: Random, chance: float) -> list[Window]:
        """With some chance talk of people of whom the memory knows nothing: every word of it counts."""
        if rng.random() >= chance:
            return []
        return [self.codec.window(self.talk(rng, 3), BOTH) for _ in range(UNMOVED)]

    def _after_others(
        self, rng: Random, question: Question, facts: Sequence[Fact], last: Sequence[Turn] = (), weight: float = 1.0
    ) -> Window:
        """A question, now and then after small talk or the `last` turns, now and then in hasty words."""
        question = question._replace(turn=self._hasty(rng, question.turn, facts))
        draw = rng.random()
        before = self.author.chat(rng) if draw < 0.15 else last if draw < 0.3 else []
        return self.codec.asked(before, [question], weight)

    def stranger_windows(self, rng: Random) -> list[Window]:
        """Questions of somebody who told nothing: where the base itself denies, only what memory holds is answered."""
        questions = [self.author.summary(rng, []), *(self.author.unknown(rng, []) for _ in range(QUESTIONS - 1))]
        denied = [self._after_others(rng, question, [], weight=PROMPT_WEIGHT) for question in questions]
        remarks = (self.author.chat(rng)[:1] for _ in range(REMARKS))
        return denied + [self.codec.window(turns, REPLY, weight=PROMPT_WEIGHT) for turns in remarks]

    def plain_windows(self, rng: Random) -> list[Window]:
        """Language modelling: corpora, and whole histories with the question in the same window (RECIPE 10)."""
        if rng.random() < STRANGERS:
            return self.stranger_windows(rng)
        if rng.random() < 0.35:
            memory = self.author.memory(rng, rng.randint(1, 4), rng.randint(0, 1))
            questions = [self.author.ask(rng, fact) for fact in memory.facts]
            questions += [
                self.author.unknown(rng, memory.facts, self.recalled) for _ in memory.facts if rng.random() < 0.5
            ]
            asked = self.codec.asked([], rng.sample(questions, len(questions)), PROMPT_WEIGHT)
            turns = [self._hasty(rng, turn, memory.facts) for turn in memory.turns]
            return [joined([self.codec.replied(turns, values_of(memory.facts)), asked])]
        drawn = self.plain(rng)
        if isinstance(drawn, str):
            return self.codec.text(drawn, PLAIN_ROW)
        return [self.codec.window(drawn, BOTH)]

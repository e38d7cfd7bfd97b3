"""From conversations to packed tensors: rows of windows, with nothing padded but the end of a row.

Three sorts of rows: context rows (each owned by one memory and folded), plain rows (language modelling on the bare
base) and question rows (read through the adapter of the memory that owns them). Windows in a row do not see each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from core.generator import PADDING
from training.corpora import Turn
from training.dialogues import Author, Memory, Question
from training.tokenizer import END, ROLES

IGNORED = -100
REPLY, BOTH = ("assistant",), ("user", "assistant")
MEMORIES = 32  # at most, in a batch: each costs a decomposition per layer, whatever its length
VALUE_WEIGHT = 3.0  # of a token that only memory can give
PROMPT_WEIGHT = 4.0  # of an answer that is in the prompt: few among much plain text
ROW, PLAIN_ROW = 128, 256  # short rows waste less at the end of a memory; conversations need long ones


@dataclass(frozen=True)
class Window:
    """Tokens read together; `weights[i]` is what token i counts as a target; `age` is how many turns came later."""

    ids: list[int]
    weights: list[float]
    age: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Packed windows: all (R, L) but `owner` (R,), which memory a row belongs to (PADDING: none)."""

    ids: Tensor
    positions: Tensor
    windows: Tensor
    ages: Tensor
    labels: Tensor
    weights: Tensor
    owner: Tensor

    def to(self, device: torch.device) -> Rows:
        """Move every tensor."""
        return Rows(*(value.to(device, non_blocking=True) for value in vars(self).values()))


@dataclass(frozen=True)
class Batch:
    """What one step sees: `contexts` are folded, `plain` is read by the bare base, `asked` through the adapters."""

    contexts: Rows
    plain: Rows
    asked: Rows
    memories: int

    @property
    def tokens(self) -> int:
        """Tokens in all rows, the ends that are padding not counted."""
        return sum(int((rows.windows != PADDING).sum()) for rows in (self.contexts, self.plain, self.asked))

    def to(self, device: torch.device) -> Batch:
        """Move every tensor."""
        return Batch(self.contexts.to(device), self.plain.to(device), self.asked.to(device), self.memories)


class Codec:
    """Turns into token ids, as the chat template would give them (a test holds the two together)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._encode = tokenizer.backend_tokenizer.encode_batch
        self.end = tokenizer.convert_tokens_to_ids(END)
        self.user, self.assistant = (tokenizer.convert_tokens_to_ids(ROLES[role]) for role in ("user", "assistant"))

    def window(self, turns: Sequence[Turn], learn: Collection[str], age: float = 0.0) -> Window:
        """One window of whole turns; the words of the roles in `learn` are targets."""
        texts = self._encode([" " + text for turn in turns for text in turn], add_special_tokens=False)
        ids: list[int] = []
        weights: list[float] = []
        for i, text in enumerate(texts):
            role = "assistant" if i % 2 else "user"
            ids += [self.assistant if i % 2 else self.user, *text.ids, self.end]
            weights += [0.0] + [float(role in learn)] * (len(text.ids) + 1)
        return Window(ids, weights, age)

    def asked(self, before: Sequence[Turn], question: Question, weight: float = 1.0) -> Window:
        """One window with a question at its end: the answer is the target, its value counts VALUE_WEIGHT."""
        earlier, last = self.window(before, ()), self.window([question.turn], REPLY)
        if question.value:
            text = " " + question.turn.assistant
            start = text.lower().rindex(question.value.lower())
            encoded = self._encode([text], add_special_tokens=False)[0]
            first = len(last.ids) - 1 - len(encoded.ids)
            for i, (_, end) in enumerate(encoded.offsets):
                if start < end <= start + len(question.value):
                    last.weights[first + i] = VALUE_WEIGHT
        return Window(earlier.ids + last.ids, earlier.weights + [weight * each for each in last.weights])

    def text(self, text: str, length: int) -> list[Window]:
        """Plain text, cut into windows that are all targets."""
        ids = self._encode([" " + text], add_special_tokens=False)[0].ids
        return [Window(ids[i : i + length], [1.0] * len(ids[i : i + length])) for i in range(0, len(ids), length)]


def pack(owned: Sequence[tuple[int, Sequence[Window]]], length: int) -> Rows:
    """Lay windows in rows of `length` tokens, longest first into the first row of the same owner with room."""
    rows: list[tuple[int, list[Window]]] = []
    for owner, windows in owned:
        mine: list[tuple[int, list[Window]]] = []
        for window in sorted(windows, key=lambda w: -len(w.ids)):
            size = min(len(window.ids), length)
            row = next((r for r in mine if sum(len(w.ids) for w in r[1]) + size <= length), None)
            if row is None:
                row = (owner, [])
                mine.append(row)
            row[1].append(
                window if size == len(window.ids) else Window(window.ids[:length], window.weights[:length], window.age)
            )
        rows += mine
    return _tensors(rows, length)


def _tensors(rows: Sequence[tuple[int, list[Window]]], length: int) -> Rows:
    shape = (len(rows), length)
    ids, positions, windows = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
        torch.full(shape, PADDING),
    )
    ages, labels, weights = torch.zeros(shape), torch.full(shape, IGNORED), torch.zeros(shape)
    for r, (_, row) in enumerate(rows):
        start = 0
        for number, window in enumerate(row):
            here = slice(start, start := start + len(window.ids))
            ids[r, here] = torch.tensor(window.ids)
            positions[r, here] = torch.arange(len(window.ids))
            windows[r, here] = number
            ages[r, here] = window.age
            targets = zip(window.ids[1:], window.weights[1:], strict=True)
            labels[r, here] = torch.tensor([*(token if weight else IGNORED for token, weight in targets), IGNORED])
            weights[r, here] = torch.tensor([*window.weights[1:], 0.0])
        positions[r, start:] = torch.arange(length - start)  # a window of padding that nobody looks at
    return Rows(ids, positions, windows, ages, labels, weights, torch.tensor([owner for owner, _ in rows]))


@dataclass(frozen=True)
class Load:
    """How hard a step is: facts a memory, other turns between them, tokens a step."""

    facts: int
    fillers: int
    tokens: int


def load_at(progress: float, rng: Random, tokens: int) -> Load:
    """The curriculum (RECIPE 7): from one fact and one question to the full load over the first half of training."""
    hardest = 1 + round(23 * min(1.0, progress / 0.5))
    facts = min(rng.randint(1, hardest), rng.randint(1, hardest), rng.randint(1, hardest) + 2)
    fillers = 0 if progress < 0.05 else rng.randint(0, 2 + round(1.5 * facts))
    return Load(facts, fillers, tokens)


class Batcher:
    """Draws batches of synthetic memories and plain rows."""

    def __init__(self, codec: Codec, author: Author, plain: Callable[[Random], list[Turn] | str]) -> None:
        self.codec, self.author, self.plain = codec, author, plain

    def draw(self, rng: Random, load: Load, plain_share: float = 0.25) -> Batch:
        """One batch of about `load.tokens` tokens, `plain_share` of them plain rows."""
        contexts: list[tuple[int, list[Window]]] = []
        asked: list[tuple[int, list[Window]]] = []
        size = 0
        while size < load.tokens * (1 - plain_share) and len(contexts) < MEMORIES:
            memory = self.author.memory(rng, load.facts, load.fillers)
            owner = len(contexts)
            contexts.append((owner, self.context_windows(rng, memory)))
            asked.append((owner, self.question_windows(rng, memory)))
            size += sum(len(w.ids) for _, windows in (contexts[-1], asked[-1]) for w in windows)
        plain: list[Window] = []
        while sum(len(w.ids) for w in plain) < size * plain_share / (1 - plain_share):
            plain += self.plain_windows(rng)
        rows = pack(contexts, ROW), pack([(PADDING, plain)], PLAIN_ROW), pack(asked, ROW)
        return Batch(*rows, memories=len(contexts))

    def context_windows(self, rng: Random, memory: Memory) -> list[Window]:
        """Each turn a window of its own, with an age that may pretend to more small talk than is there."""
        extra = rng.choice((0, 0, rng.uniform(0, 20), rng.uniform(0, 150)))
        gaps = sorted(rng.uniform(0, extra) for _ in memory.turns)
        windows = []
        for i, turn in enumerate(memory.turns):
            age = len(memory.turns) - 1 - i + (extra - gaps[i])
            learn = rng.choice((BOTH, REPLY, REPLY, REPLY, (), (), (), (), (), ()))  # all would teach no faster
            windows.append(self.codec.window([turn], learn, age=age))
        return windows

    def question_windows(self, rng: Random, memory: Memory) -> list[Window]:
        """Every fact asked, a few never told, a little small talk; some after turns of the same conversation."""
        questions = [self.author.ask(rng, fact) for fact in memory.facts]
        never_told = sum(rng.random() < 0.4 for _ in questions) or int(rng.random() < 0.5)
        questions += [self.author.unknown(rng, memory.facts) for _ in range(never_told)]
        windows = [self._after_others(rng, question) for question in questions]
        if rng.random() < 0.5:
            windows.append(self.codec.window(self.author.chat(rng), REPLY))
        return windows

    def _after_others(self, rng: Random, question: Question) -> Window:
        return self.codec.asked(self.author.chat(rng) if rng.random() < 0.15 else [], question)

    def plain_windows(self, rng: Random) -> list[Window]:
        """Language modelling: corpora, and whole histories with the question in the same window (RECIPE 10)."""
        if rng.random() < 0.5:
            memory = self.author.memory(rng, rng.randint(1, 4), rng.randint(0, 2))
            if rng.random() < 0.25:
                return [self.codec.asked(memory.turns, self.author.unknown(rng, memory.facts), PROMPT_WEIGHT)]
            first, *others = rng.sample(memory.facts, min(2, len(memory.facts)))
            turns = [*memory.turns, *(self.author.ask(rng, fact).turn for fact in others)]
            return [self.codec.asked(turns, self.author.ask(rng, first), PROMPT_WEIGHT)]
        drawn = self.plain(rng)
        if isinstance(drawn, str):
            return self.codec.text(drawn, PLAIN_ROW)
        return [self.codec.window(drawn, BOTH)]

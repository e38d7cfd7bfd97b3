"""A scripted engine for tests of the chat: a real additive toy over a handful of words.

Its state counts how often each word of WORDS was told by a person, its adapter remembers which were, and its reply says
so. Folding is addition, so a lost, doubled or mixed-up turn shows in the counts.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.chat import Message
from core.decoding import Sampling
from core.errors import StateError
from core.provenance import Parts
from core.state import State, total

WORDS = ("ada", "bob", "vienna", "oslo", "cat", "dog", "tea", "red")


@dataclass(frozen=True)
class FakeAdapter:
    """The words that were told."""

    words: tuple[str, ...]
    lora_A: tuple[Tensor, ...] = ()
    lora_B: tuple[Tensor, ...] = field(default_factory=lambda: (torch.zeros(25),), compare=False)

    def scaled(self, strength: float) -> FakeAdapter:
        """Less than half is nothing."""
        return self if strength >= 0.5 else FakeAdapter(())


@dataclass
class FakeEngine:
    """Counts words instead of reading; `pace` seconds pass before each piece, `gate` holds a reply back until set."""

    fingerprint: str = "fa4e" * 16
    name: str = "fake"
    max_prompt_tokens: int = 200
    pace: float = 0.0
    gate: threading.Event | None = None
    prompts: list[list[Message]] = field(default_factory=list)
    folds: list[list[Message]] = field(default_factory=list)
    materialised: int = 0
    reads_sequentially: bool = False
    cache_a_token: int = 10

    def empty_state(self) -> State:
        return State(torch.zeros(2, len(WORDS), 3))

    def check_state(self, state: State) -> None:
        if state.sums.shape != (2, len(WORDS), 3):
            raise StateError(f"The state has the shape {tuple(state.sums.shape)}; fold the turns again.")

    def fold(
        self,
        state: State,
        messages: Sequence[Message],
        pinned: bool = False,
        adapter: FakeAdapter | None = None,
    ) -> State:
        self.folds.append(list(messages))
        told = torch.zeros(2, len(WORDS), 3)
        for message in messages:
            for word in words_of(message.text) if message.role == "user" else ():
                told[:, WORDS.index(word)] += 1
        return State(state.sums, total(state.pinned, told)) if pinned else State(state.sums + told, state.pinned)

    def materialise(self, state: State) -> FakeAdapter:
        self.materialised += 1
        return FakeAdapter(tuple(word for word, count in counts(state).items() if count))

    def reply(
        self,
        adapter: FakeAdapter | None,
        messages: Sequence[Message],
        sampling: Sampling,
        stop: threading.Event | None = None,
    ) -> Iterator[str]:
        self.prompts.append(list(messages))
        for piece in ("I", " know", *(f" {word}" for word in (adapter and adapter.words) or ("nothing",)), "."):
            time.sleep(self.pace)
            if self.gate and piece != "I":
                self.gate.wait(timeout=10)
            if stop and stop.is_set():
                return
            yield piece

    def length_of(self, text: str) -> int:
        return len(text.split())

    def fullness(self, state: State) -> float:
        """The share of the words that were told."""
        return sum(map(bool, counts(state).values())) / len(WORDS)

    def left(self, pinned: Sequence[bool]) -> list[float]:
        """Nothing fades."""
        return [1.0] * len(pinned)

    def reply_all(self, asked: Sequence[tuple[FakeAdapter | None, Sequence[Message]]], sampling: Sampling) -> list[str]:
        return ["".join(self.reply(adapter, messages, sampling)) for adapter, messages in asked]

    def margins(self, adapter: FakeAdapter, exchanges: Sequence[Sequence[Message]]) -> list[float]:
        """Ten for each word of the reply that was told and is in the question too."""
        asked = [words_of(exchange[0].text) & words_of(exchange[-1].text) for exchange in exchanges]
        return [10.0 * len(words & set(adapter.words)) for words in asked]

    def recollections(self, adapter: FakeAdapter, turns: Sequence[Sequence[Message]]) -> list[float]:
        """One for each word of a person's that was told."""
        said = [{word for m in turn if m.role == "user" for word in words_of(m.text)} for turn in turns]
        return [float(len(words & set(adapter.words))) for words in said]

    def parts(self, turns: Sequence[Sequence[Message]], pinned: Sequence[bool] = ()) -> Parts:
        """Which of WORDS each turn told."""
        told = [{word for m in turn if m.role == "user" for word in words_of(m.text)} for turn in turns]
        return Parts(torch.tensor([[word in own for word in WORDS] for own in told]), tuple(pinned))

    def lacking(self, parts: Parts, missing: Sequence[Sequence[int]]) -> list[FakeAdapter]:
        """What the other turns told."""
        told = told_in(parts)
        left = [set().union(*(own for i, own in enumerate(told) if i not in gone)) for gone in missing]
        return [FakeAdapter(tuple(word for word in WORDS if word in words)) for words in left]

    def alone(self, parts: Parts, exchanges: Sequence[Sequence[Message]]) -> list[list[float]]:
        """Ten for each word of the reply that the turn told."""
        told = told_in(parts)
        return [[10.0 * len(words_of(exchange[-1].text) & own) for own in told] for exchange in exchanges]

    def influences(
        self, parts: Parts, exchanges: Sequence[Sequence[Message]], strength: float = 1.0
    ) -> list[list[float]]:
        """How many of the reply's words only this turn told; where there are none, how many it told at all."""
        told = told_in(parts)
        only = [own.difference(*told[:i], *told[i + 1 :]) for i, own in enumerate(told)]
        replies = [words_of(exchange[-1].text) for exchange in exchanges]
        self.prompts += [list(exchange[:-1]) for exchange in exchanges]
        sides = [only if any(reply & own for own in only) else told for reply in replies]
        return [[strength * len(reply & own) for own in side] for reply, side in zip(replies, sides, strict=True)]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.text.split()) for message in messages)


def words_of(text: str) -> set[str]:
    """Those of WORDS that are in a text."""
    return set(re.findall(r"\w+", text.lower())) & set(WORDS)


def told_in(parts: Parts) -> list[set[str]]:
    """Which words each turn told."""
    return [{word for word, said in zip(WORDS, own, strict=True) if said} for own in parts.sums.tolist()]


def counts(state: State) -> dict[str, int]:
    """How often each word was told."""
    return {word: int(state.whole[0, index, 0]) for index, word in enumerate(WORDS)}

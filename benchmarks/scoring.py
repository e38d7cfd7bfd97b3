"""Perplexity of conversations under an engine, and how far it could lie by the chance of the dialogues drawn.

Perplexity is per token of what was said; control tokens are left out. Knows adapters, not what they were made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.dialogues import SPEAKERS
from core.adapter import Adapter
from core.chat import Message, encode
from core.engine import Engine

RESAMPLES = 2000


class Score(NamedTuple):
    """The sum of -ln p over the tokens scored, in nats, and how many they are."""

    nats: float
    tokens: int


class Stretch(NamedTuple):
    """Neighbouring messages that are read at once: their token ids, and which of them are scored."""

    ids: list[int]
    scored: list[bool]


@dataclass(frozen=True)
class Scorer:
    """Scores conversations under one engine, in stretches of at most `window` tokens, on the words of `speakers`."""

    engine: Engine
    window: int
    speakers: Sequence[str] = SPEAKERS

    def __post_init__(self) -> None:
        longest = self.engine.base.context_length // 2
        if not 2 <= self.window <= longest:
            raise ValueError(
                f"The window is {self.window} tokens; for {self.engine.name} it has to be from 2 to {longest}, "
                "half of what the base reads, so that as much of the earlier sessions fits before it."
            )

    def score(self, messages: Sequence[Message], adapter: Adapter | None, before: Sequence[int] = ()) -> Score:
        """Score every stretch of a conversation, each one after the last of the tokens `before` that fit."""
        scores = [self._stretch(stretch, adapter, before) for stretch in self.stretches(messages)]
        return Score(sum(score.nats for score in scores), sum(score.tokens for score in scores))

    def stretches(self, messages: Sequence[Message]) -> list[Stretch]:
        """Pack whole messages into stretches; one longer than the window is cut off there.

        The first token of a stretch is never scored, whatever comes before it: nothing predicts it without a history.
        """
        stretches: list[Stretch] = []
        for message in messages:
            ids = self.ids([message])[: self.window]
            if not stretches or len(stretches[-1].ids) + len(ids) > self.window:
                stretches.append(Stretch([], []))
            stretches[-1].ids.extend(ids)
            stretches[-1].scored.extend(message.role in self.speakers and i not in self._control for i in ids)
        for stretch in stretches:
            stretch.scored[0] = False
        return stretches

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of messages, as a prompt has them."""
        return encode(self.engine.tokenizer, messages, reply=False)

    @property
    def _control(self) -> frozenset[int]:
        return frozenset(self.engine.tokenizer.all_special_ids)

    def _stretch(self, stretch: Stretch, adapter: Adapter | None, before: Sequence[int]) -> Score:
        base, length = self.engine.base, len(stretch.ids)
        ids = [*before[max(0, len(before) + length - base.context_length) :], *stretch.ids]
        with torch.inference_mode(), base.adapted(adapter):
            read = torch.tensor([ids], device=base.device)
            logits = base.model(input_ids=read, use_cache=False, logits_to_keep=length).logits[0, :-1]
        scored = torch.tensor(stretch.scored[1:], device=base.device)
        losses = cross_entropy(logits[scored].float(), read[0, 1 - length :][scored], reduction="none")
        return Score(float(losses.double().sum()), int(scored.sum()))


def perplexity(scores: Sequence[Score]) -> float:
    """exp of the mean -ln p over all tokens; ValueError if there are none."""
    if not (tokens := tokens_of(scores)):
        raise ValueError("The conversations hold no words to score.")
    return math.exp(sum(score.nats for score in scores) / tokens)


def tokens_of(scores: Sequence[Score]) -> int:
    """How many tokens were scored."""
    return sum(score.tokens for score in scores)


def resampled(scores: Mapping[str, Sequence[Score]], seed: int) -> dict[str, Tensor]:
    """Perplexities (RESAMPLES,) of each way, in samples of the dialogues drawn with repeats, the same for every way."""
    ways = {way: [score for score in own if score.tokens] for way, own in scores.items()}  # a sample needs a token
    count = len(next(iter(ways.values())))
    drawn = torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(seed))
    return {way: _perplexities(own, drawn) for way, own in ways.items()}


def _perplexities(scores: Sequence[Score], drawn: Tensor) -> Tensor:
    nats, tokens = torch.tensor(scores, dtype=torch.float64).unbind(1)
    return (nats[drawn].sum(1) / tokens[drawn].sum(1)).exp()


def spread(values: Tensor) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return (round(low, 4), round(high, 4))

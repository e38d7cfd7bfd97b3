"""Turns as token ids, and what each token counts as a target. Knows one window; packing.py lays many in rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from training.corpora import Turn
from training.facts import Question
from training.tokenizer import END, ROLES

REPLY, BOTH = ("assistant",), ("user", "assistant")
VALUE_WEIGHT = 3.0  # of a token that only memory, or the message itself, can give


@dataclass(frozen=True)
class Window:
    """Tokens read together; `weights[i]` is what token i counts as a target; `age` is how many turns came later."""

    ids: list[int]
    weights: list[float]
    age: float = 0.0


class Codec:
    """Turns into token ids, as the chat template would give them (a test holds the two together)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._encode = tokenizer.backend_tokenizer.encode_batch
        self.end = tokenizer.convert_tokens_to_ids(END)
        self.user, self.assistant = (tokenizer.convert_tokens_to_ids(ROLES[role]) for role in ("user", "assistant"))

    def window(self, turns: Sequence[Turn], learn: Collection[str], age: float = 0.0, weight: float = 1.0) -> Window:
        """One window of whole turns; the words of the roles in `learn` are targets that count `weight`."""
        texts = self._encode([" " + text for turn in turns for text in turn], add_special_tokens=False)
        ids: list[int] = []
        weights: list[float] = []
        for i, text in enumerate(texts):
            role = "assistant" if i % 2 else "user"
            ids += [self.assistant if i % 2 else self.user, *text.ids, self.end]
            weights += [0.0] + [weight * (role in learn)] * (len(text.ids) + 1)
        return Window(ids, weights, age)

    def asked(self, before: Sequence[Turn], questions: Sequence[Question], weight: float = 1.0) -> Window:
        """One window with questions at its end: the answers are targets, their values count VALUE_WEIGHT."""
        last = joined(map(self._answered, questions))
        return joined([self.window(before, ()), replace(last, weights=[weight * each for each in last.weights])])

    def replied(self, turns: Sequence[Turn], values: Collection[str], age: float = 0.0) -> Window:
        """One window of turns whose replies are targets; those of `values` that are in a reply count VALUE_WEIGHT."""
        said = [tuple(value for value in values if _last_mention(value, turn.assistant) >= 0) for turn in turns]
        return joined((self._answered(Question(*one)) for one in zip(turns, said, strict=True)), age)

    def _answered(self, question: Question) -> Window:
        window, text = self.window([question.turn], REPLY), " " + question.turn.assistant
        encoded = self._encode([text], add_special_tokens=False)[0]
        first = len(window.ids) - 1 - len(encoded.ids)
        for value in question.values:
            start = _last_mention(value, text)
            if start < 0:  # a plural, say
                start = text.lower().rindex(value.lower())
            for i, (_, end) in enumerate(encoded.offsets):
                if start < end <= start + len(value):
                    window.weights[first + i] = VALUE_WEIGHT
        return window

    def text(self, text: str, length: int) -> list[Window]:
        """Plain text, cut into windows that are all targets."""
        ids = self._encode([" " + text], add_special_tokens=False)[0].ids
        return [Window(ids[i : i + length], [1.0] * len(ids[i : i + length])) for i in range(0, len(ids), length)]


def joined(windows: Iterable[Window], age: float = 0.0) -> Window:
    """One window of several, each read after those before it."""
    parts = list(windows)
    ids = [token for part in parts for token in part.ids]
    return Window(ids, [weight for part in parts for weight in part.weights], age)


def _last_mention(value: str, text: str) -> int:
    """Where a value stands last in a text as words of its own, in any case; -1 where it does not."""
    if value.lower() not in text.lower():
        return -1
    found = re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)
    return max((match.start() for match in found), default=-1)

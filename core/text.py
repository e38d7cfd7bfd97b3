"""Streaming text from tokens: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

BROKEN = "�"  # what an unfinished UTF-8 sequence decodes to


class TextStream:
    """Turns one row's tokens into pieces of text; `ended` once a stop string was met."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, [text for text in stop if text]
        self._ids: list[int] = []
        self._sent = 0
        self.ended = False

    def push(self, token: int) -> str:
        """The text that is certain after one more token; may be empty."""
        self._ids.append(token)
        text = self._text()
        found = [at for at in map(text.find, self._stop) if at >= 0]
        if found:
            self.ended = True
            return self._send(text[: min(found)])
        return self._send(text[: len(text) - _held_back(text, self._stop)])

    def finish(self) -> str:
        """What was held back and is certain now that no more comes."""
        return "" if self.ended else self._send(self._text())

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True)).lstrip()

    def _send(self, text: str) -> str:
        piece = text[self._sent :]
        self._sent += len(piece)
        return piece


def _held_back(text: str, stop: Sequence[str]) -> int:
    """How many last characters may still change or turn out to begin a stop string."""
    held = len(text) - len(text.rstrip(BROKEN))
    for string in stop:
        for size in range(1, len(string)):
            if text.endswith(string[:size]):
                held = max(held, size)
    return held

"""Documents and questions as examples for a generator: windows to be folded, rows to be read, and after which window.

Tokens only: no base, no generator. Completion reads a window with what came before it, reconstruction with itself as
well (METHOD 2); an answer is read with the whole context.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from core.chat import Message, encode
from core.generator import PADDING
from training.packing import IGNORED, laid_in_rows

Example = dict[str, Tensor]
"""`ids` and `windows` (k, w) are folded one after another; `asked` and `labels` (n, T) are read, each row with the
state after window `after` (n,), from 0; `weights` (n,) is what one of its tokens counts in the loss."""

Entry = dict[str, str]
PARTS = ("text",), ("context", "question", "answer")
LEAST = 16  # characters: less has next to nothing to complete


def read_entries(files: Sequence[Path]) -> list[Entry]:
    """Documents (`text`) and questions (`context`, `question`, `answer`); a .txt file is one document.

    Raise ValueError that names the file, and the line, for anything else.
    """
    try:
        return [entry for file in files for entry in _entries(file)]
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _entries(file: Path) -> Iterator[Entry]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8 ({error}).") from error
    if file.suffix == ".txt":
        yield {"text": text}
        return
    for number, line in enumerate(text.split("\n"), 1):  # other ends of lines may stand in a JSON text
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number} is not JSON ({error}).") from error
        parts = next((parts for parts in PARTS if isinstance(entry, dict) and entry.keys() >= {*parts}), None)
        if not parts:
            raise ValueError(f"{file}, line {number}: neither `text` nor `context`, `question` and `answer` are there.")
        for name in parts:
            if not _is_text(entry[name]):
                raise ValueError(f"{file}, line {number}: `{name}` is {entry[name]!r:.60}, which is no whole text.")
        yield entry


def _is_text(value: object) -> bool:
    """Whether a tokenizer can read it: JSON can hold half a character (a lone surrogate), which has no UTF-8 form."""
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()


class Examples(Dataset[Example]):
    """One example for each entry; of a long document another stretch in each `epoch`.

    What is read in one go has at most `longest` tokens, the base's context: of a question its end, of an answer the
    beginning.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        tokenizer: PreTrainedTokenizerBase,
        window: int,
        windows: int,
        longest: int,
        seed: int,
    ) -> None:
        self.tokenizer, self.window, self.windows, self.seed = tokenizer, window, windows, seed
        self.longest = longest
        self.epoch = 0
        # Told by its letters: tokens are made when an example is drawn, not for all of the data at every start.
        self.entries = [entry for entry in entries if len(_folded(entry).strip()) >= LEAST]
        if not self.entries:
            raise ValueError(f"None of the documents has {LEAST} characters; there is nothing to train on.")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Example:
        entry = self.entries[number]
        tokens = self._tokens(_folded(entry))
        if "text" in entry:
            return document(self._stretch(tokens, Random(f"{self.seed}-{self.epoch}-{number}")), self.window)
        asked = [Message("user", entry["question"]), Message("assistant", entry["answer"])]
        prompt = encode(self.tokenizer, asked[:1], reply=True)
        answer = encode(self.tokenizer, asked, reply=False)[len(prompt) :][: self.longest // 2]
        prompt = prompt[-(self.longest - len(answer)) :]
        return question(tokens[: self.window * self.windows], prompt, answer, self.window)

    def sample(self, rows: int, length: int) -> Tensor:
        """What is folded, entry after entry: up to `rows` rows of `length` tokens, shorter if there are fewer."""
        return laid_in_rows((self._tokens(_folded(entry)) for entry in self.entries), rows, length)

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _stretch(self, tokens: list[int], rng: Random) -> list[int]:
        """As much of a document as fits, from anywhere in it."""
        longest = self.window * self.windows
        start = rng.randrange(max(1, len(tokens) - longest + 1))
        return tokens[start : start + longest]


def _folded(entry: Entry) -> str:
    return entry["text"] if "text" in entry else entry["context"]


def document(tokens: Sequence[int], window: int) -> Example:
    """A document in at least two windows, all but the first completed, all of them reconstructed: each counts half."""
    ids, windows = _cut(tokens, max(2, -(-len(tokens) // window)))
    k = len(ids)
    rows, padded = torch.cat([ids[1:], ids]), torch.cat([windows[1:], windows])
    labels = rows.where(padded != PADDING, IGNORED)
    return {
        "ids": ids,
        "windows": windows,
        "asked": rows,
        "labels": labels,
        "after": torch.cat([torch.arange(k - 1), torch.arange(k)]),
        "weights": torch.cat([_equal(labels[: k - 1]), _equal(labels[k - 1 :])]) / 2,
    }


def question(context: Sequence[int], prompt: Sequence[int], answer: Sequence[int], window: int) -> Example:
    """An answer, read after a prompt that does not hold the context."""
    ids, windows = _cut(context, -(-len(context) // window))
    asked = torch.tensor([[*prompt, *answer]])
    labels = torch.tensor([[*([IGNORED] * len(prompt)), *answer]])
    after = torch.tensor([len(ids) - 1])
    return {
        "ids": ids,
        "windows": windows,
        "asked": asked,
        "labels": labels,
        "after": after,
        "weights": _equal(labels),
    }


def _equal(labels: Tensor) -> Tensor:
    """For each of (n, T) rows what a token counts, so that all that are predicted, none of which is first, make 1."""
    return torch.full((len(labels),), 1 / max(1, int((labels[:, 1:] != IGNORED).sum())))


def _cut(tokens: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """So many windows of like length, and 0 where a token is, PADDING at the end of the last."""
    size = -(-len(tokens) // count)
    ids = torch.zeros(-(-len(tokens) // size) * size, dtype=torch.long)
    windows = torch.full_like(ids, PADDING)
    ids[: len(tokens)], windows[: len(tokens)] = torch.tensor(tokens), 0
    return ids.view(-1, size), windows.view(-1, size)


def single(examples: Sequence[Example]) -> Example:
    """A batch of one: examples have shapes of their own, and are added up by accumulating gradients."""
    (example,) = examples
    return example

"""Reading the training corpora: gzipped JSON Lines of dialogues and texts. Knows their form, not what they are for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """What a person wrote and what was answered."""

    user: str
    assistant: str


def read_records(folder: Path, source: str, split: str = "train") -> Iterator[dict[str, Any]]:
    """Yield the records of one source; FileNotFoundError names the missing file."""
    with gzip.open(folder / f"{source}.{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def dialogue_turns(record: dict[str, Any]) -> list[Turn]:
    """Pair the alternating sides of a dialogue record; an unanswered last line is dropped."""
    texts = [tidy(turn["text"]) for turn in record["turns"]]
    return [Turn(user, assistant) for user, assistant in zip(texts[::2], texts[1::2], strict=False)]


def tidy(text: str) -> str:
    """Begin with a capital and end with a stop, so that the model learns to write that way."""
    text = " ".join(text.split())
    if not text:
        return text
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?\"')" else ".")

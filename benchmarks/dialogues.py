"""Conversations between people, read from JSON Lines files (`.gz` or not), and a seeded sample of them.

Texts are as people typed them, unlike those that `training/corpora.py` reads. Knows no models, nor what is measured.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from core.chat import Message

SPEAKERS = ("user", "assistant")


class Conversation(NamedTuple):
    """What was said in one session, and in the sessions before it, oldest first (none in most files)."""

    messages: tuple[Message, ...]
    earlier: tuple[tuple[Message, ...], ...] = ()


def read_sample(path: Path, count: int, seed: int, *, earlier: bool = False) -> list[Conversation]:
    """Read `count` conversations of the file, drawn without repeats, or all if there are not so many.

    With `earlier`, each has to have earlier sessions (`previous_sessions`). Raise ValueError naming the line that
    cannot be used, OSError for a file that cannot be read.
    """
    conversations = [_conversation(line, number, path, earlier) for number, line in enumerate(_lines(path), 1)]
    return Random(seed).sample(conversations, min(count, len(conversations)))


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is not a whole gzip file ({error}).") from error
    return text.removesuffix("\n").split("\n")


def _conversation(line: str, number: int, path: Path, earlier: bool) -> Conversation:
    try:
        record = json.loads(line)
        sessions = [session["turns"] for session in record["previous_sessions"]] if earlier else []
        if earlier and not sessions:
            raise ValueError("no previous session is in it")
        return Conversation(_messages(record["turns"]), tuple(map(_messages, sessions)))
    except (ValueError, KeyError, TypeError) as error:
        sort = "a conversation with earlier sessions" if earlier else "a conversation"
        raise ValueError(f"Line {number} of {path.name} is not {sort} ({type(error).__name__}: {error}).") from error


def _messages(turns: Iterable[dict[str, Any]]) -> tuple[Message, ...]:
    messages = tuple(Message(turn["role"], turn["text"]) for turn in turns)
    for message in messages:
        if message.role not in SPEAKERS or not isinstance(message.text, str):
            raise ValueError(f"{message} is not what one of {SPEAKERS} said")
    if not messages:
        raise ValueError("nobody says anything in it")
    return messages


def turns_of(messages: Sequence[Message]) -> list[list[Message]]:
    """Cut into turns, what a person wrote and what was answered: each begins where the user speaks after a reply.

    An answer before the user's first message is a turn of its own, as is a message that nobody answered.
    """
    turns: list[list[Message]] = []
    for message in messages:
        if not turns or (message.role == "user" and turns[-1][-1].role != "user"):
            turns.append([])
        turns[-1].append(message)
    return turns

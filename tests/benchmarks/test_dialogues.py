"""Conversations read from files: what is kept of them, and what cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dialogues import read_sample, turns_of
from core.chat import Message


def session(*texts: str, first: str = "user") -> list[dict[str, str]]:
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[i % 2], "text": text} for i, text in enumerate(texts)]


def written(path: Path, *records: Any) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["talk.jsonl", "talk.jsonl.gz"])
def test_a_text_stays_as_it_was_typed(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, {"turns": session("hi\u2028there", "yes")})
    assert read_sample(path, 5, 0)[0].messages == (Message("user", "hi\u2028there"), Message("assistant", "yes"))


def test_earlier_sessions_are_read_in_order_where_they_are_asked_for(tmp_path: Path) -> None:
    earlier = [{"turns": session("one")}, {"turns": session("two")}]
    path = written(tmp_path / "msc.jsonl", {"turns": session("three"), "previous_sessions": earlier})
    assert read_sample(path, 1, 0, earlier=True)[0].earlier == ((Message("user", "one"),), (Message("user", "two"),))
    assert read_sample(path, 1, 0)[0].earlier == ()


def test_a_seed_draws_the_same_conversations_without_repeats(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.jsonl", *({"turns": session(str(i))} for i in range(20)))
    drawn = read_sample(path, 10, 3)
    assert drawn == read_sample(path, 10, 3) != read_sample(path, 10, 4)
    assert len({talk.messages for talk in drawn}) == 10


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        {"turns": []},
        {"turns": [{"role": "system", "text": "x"}]},
        {"turns": [{"role": "user"}]},
        {"turns": [{"role": "user", "text": 3}]},
    ],
)
def test_what_is_no_conversation_is_named_by_its_line(tmp_path: Path, record: Any) -> None:
    path = written(tmp_path / "talk.jsonl", {"turns": session("fine")}, record)
    with pytest.raises(ValueError, match=r"Line 2 of talk\.jsonl is not a conversation"):
        read_sample(path, 1, 0)


@pytest.mark.parametrize("more", [{}, {"previous_sessions": []}])
def test_without_earlier_sessions_there_is_nothing_to_remember(tmp_path: Path, more: dict[str, Any]) -> None:
    path = written(tmp_path / "msc.jsonl", {"turns": session("fine")} | more)
    with pytest.raises(ValueError, match=r"Line 1 of .* with earlier sessions"):
        read_sample(path, 1, 0, earlier=True)


def test_half_a_gzip_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.jsonl.gz", {"turns": session("a long story", "indeed")})
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"talk\.jsonl\.gz is not a whole gzip file"):
        read_sample(path, 1, 0)


def test_a_turn_begins_where_the_user_speaks_after_a_reply() -> None:
    said = [
        Message(role, text)
        for role, text in zip(("assistant", "user", "user", "assistant", "user"), "abcde", strict=True)
    ]
    assert ["".join(message.text for message in turn) for turn in turns_of(said)] == ["a", "bcd", "e"]

"""The scripted conversations: each person their own, each conversation marked, every message answered."""

from __future__ import annotations

import tomllib
from pathlib import Path

from app.settings import Settings
from benchmarks.conversations import SCRIPTS, run
from tests.tiny import tiny_folder


def test_there_are_twenty_scripts_of_at_least_two_conversations() -> None:
    scripts = tomllib.loads(SCRIPTS.read_text(encoding="utf-8"))["script"]
    assert len(scripts) == 20
    assert all(len(script["say"]) >= 2 and all(script["say"]) for script in scripts)


def test_every_message_is_printed_with_its_reply(tmp_path: Path) -> None:
    settings = Settings(model=tiny_folder(tmp_path / "tiny"), device="cpu", reply_tokens=3)
    lines = list(run([{"title": "a move", "say": [["I live in Rome.", "Hi."], ["Where do I live?"]]}], settings))
    asked = [i for i, line in enumerate(lines) if line.startswith("- **")]
    assert [lines[i] for i in asked] == ["- **I live in Rome.**", "- **Hi.**", "- **Where do I live?**"]
    assert all(lines[i + 1].startswith("  ") for i in asked)
    assert lines.count("---") == 1
    assert "## 1. a move" in lines

"""Where a figure comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import commit


def test_a_copy_without_history_says_the_commit_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COMMIT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == "unknown"
    monkeypatch.setenv("COMMIT", "abc1234")
    assert commit() == "abc1234"

"""The forgetting benchmark: clean where nothing is left, and able to find what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks import forgetting
from benchmarks.forgetting import CONTROLS, TOLD, run
from storage.forgetting import Forgetting
from tests.tiny import tiny_folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=tiny_folder(tmp_path / "tiny"), device="cpu")


def test_what_is_forgotten_leaves_nothing(settings: Settings) -> None:
    result = run(settings, users=2, seed=0)
    assert (result["forgotten"], result["kept"]) == (TOLD, TOLD)
    assert (result["bytes_left"], result["states_as_never_told"]) == (0, True)
    assert 0 <= result["p"] <= 1
    assert CONTROLS > 1


def test_text_that_stays_in_a_file_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Forgetting, "finish_erasing", lambda self: None)
    assert run(settings, users=1, seed=0)["bytes_left"] > 0


def test_turns_that_nobody_forgot_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "_forget", lambda *_: None)
    result = run(settings, users=1, seed=0)
    assert result["bytes_left"] > 0

"""The receipts benchmark: kept where the files hold, and able to find one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks import receipts
from benchmarks.receipts import is_kept, run
from tests.tiny import tiny_folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=tiny_folder(tmp_path / "tiny"), device="cpu")


@pytest.mark.slow
def test_files_hold_for_a_process_that_has_nothing_else(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "FLIPS", 50)
    result = run(settings, users=1, seed=0)
    assert is_kept(result)
    assert (result["whole"], result["replayed_exactly"], result["receipts"]) == (2, 1, 5)
    assert result["flips_refused"] + result["flips_harmless"] == result["flips"] == 50


@pytest.mark.slow
def test_a_receipt_that_no_file_holds_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "FLIPS", 1)
    forget = receipts.Service.forget_turns

    def and_go_on(service: receipts.Service, user_id: int, turns: list[int]) -> object:
        receipt = forget(service, user_id, turns)
        first = service.held_turns(user_id)[0]
        service.pin(user_id, first.id, not first.pinned)  # no state before this is in the file
        return receipt

    monkeypatch.setattr(receipts.Service, "forget_turns", and_go_on)
    assert not is_kept(run(settings, users=1, seed=0))


def test_a_flip_that_is_believed_breaks_the_promise() -> None:
    kept = {"files": 1, "whole": 2, "newest_found": 2, "flips_believed": 0}
    assert is_kept(kept)
    assert not is_kept(kept | {"flips_believed": 1})
    assert not is_kept(kept | {"whole": 1})

"""Loading a base of somebody's own: what it takes and how it computes is said, in a sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bootstrap import begin_loading
from app.errors import SettingsError
from app.settings import Settings
from tests.tiny import tiny_folder

PATIENCE = 60.0


def test_what_a_base_takes_and_where_it_computes_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    capsys.readouterr()
    settings = Settings(model=str(folder / "base"), generator=str(folder / "generator"), device="cpu", dtype="bfloat16")
    engine = begin_loading(settings).result(PATIENCE)
    takes, computes = (line for line in capsys.readouterr().err.splitlines() if line.startswith(engine.name))
    assert "of weights" in takes and "a memory" in takes
    assert computes.endswith(": bfloat16 and sdpa on the CPU")


def test_steps_that_another_server_would_compute_are_not_said_to_be_compiled(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    settings = Settings(model=str(folder), device="cpu", compile=True, server="http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="no steps can be compiled here"):
        begin_loading(settings).result(PATIENCE)


def test_the_bundled_model_says_nothing_and_another_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_loading(Settings(device="cpu")).result(PATIENCE)
    assert capsys.readouterr().err == ""
    begin_loading(Settings(model=str(tiny_folder(tmp_path / "tiny")), device="cpu")).result(PATIENCE)
    takes, where = capsys.readouterr().err.splitlines()
    assert "of weights in float32" in takes and where.startswith("tiny: float32 and sdpa on the CPU")

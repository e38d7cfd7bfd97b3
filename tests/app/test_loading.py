"""Loading a base of somebody's own: what it takes and how it computes is said, in a sentence each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.bootstrap import begin_loading
from app.errors import SettingsError
from app.settings import Settings
from core import checkpoint
from core.errors import CheckpointError, ServerError
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


@pytest.mark.parametrize(
    ("chosen", "error", "said"),
    [
        ({"server": "http://127.0.0.1:9"}, ServerError, "see whether it runs"),
        ({"lora": "."}, CheckpointError, "has no adapter_config.json"),
    ],
)
def test_what_is_cheap_to_see_is_said_before_a_base_is_read(
    chosen: dict[str, str], error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the base is read")

    monkeypatch.setattr(checkpoint, "load_checkpoint", read)
    settings = Settings(model=str(tiny_folder(tmp_path / "tiny")), device="cpu", **chosen)
    with pytest.raises(error, match=said):
        begin_loading(settings).result(PATIENCE)


def test_a_base_that_writes_replies_one_by_one_says_so_and_so_do_adapters_without_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    file = folder / "base" / "config.json"
    config = json.loads(file.read_text())
    config["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    file.write_text(json.dumps(config))
    begin_loading(Settings(model=str(folder), device="cpu", adapter_cache_bytes=30_000)).result(PATIENCE)
    alone, room = capsys.readouterr().err.splitlines()[-2:]
    assert "N people at once take N passes a step" in alone
    assert "at least 3 adapters are kept ready (IMPRINT_ADAPTER_CACHE_BYTES), and of 32 replies" in room


def test_the_bundled_model_says_nothing_and_another_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_loading(Settings(device="cpu")).result(PATIENCE)
    assert capsys.readouterr().err == ""
    begin_loading(Settings(model=str(tiny_folder(tmp_path / "tiny")), device="cpu")).result(PATIENCE)
    takes, where = capsys.readouterr().err.splitlines()
    assert "of weights in float32" in takes and where.startswith("tiny: float32 and sdpa on the CPU")


def test_how_far_a_memory_guides_is_what_the_model_says_unless_the_settings_do(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    (folder / "generator" / "generation_config.json").write_text('{"guidance_scale": 1.3}')
    for given, guidance in ((None, 1.3), (1.0, 1.0), (2.0, 2.0)):
        settings = Settings(model=str(folder), device="cpu", guidance=given)
        assert begin_loading(settings).result(PATIENCE).guidance == guidance

"""Weights in shards: small files, opened as one file is, with a fingerprint of their own that stays."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from core.checkpoint import fingerprint, load_checkpoint
from core.device import Placement
from core.origin import Origin
from tests.tiny import tiny_tokenizer
from tests.training.small import small_config
from training.export import export, main
from training.run import TOKENIZER, Run

CPU = Placement(torch.device("cpu"), torch.float32, "sdpa", "test")
SHARD = "40KB"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = small_config(folder)
    (folder / "run.json").write_text(json.dumps(asdict(config), default=str))
    tiny_tokenizer().save_pretrained(folder / TOKENIZER)
    Run(config, tiny_tokenizer(), CPU.device).save()
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    opened = load_checkpoint(Origin(str(folder)), CPU)
    return {**opened.base.model.state_dict(), **opened.generator.state_dict()}


def test_shards_are_small_and_open_as_the_same_weights(run_folder: Path, tmp_path: Path) -> None:
    export(run_folder, tmp_path / "whole")
    export(run_folder, tmp_path / "cut", SHARD)
    files = list((tmp_path / "cut" / "base").glob("*.safetensors"))
    assert len(files) > 1
    assert max(path.stat().st_size for path in files) < 50_000
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_the_fingerprint_of_shards_is_stable_and_hangs_on_every_one(run_folder: Path, tmp_path: Path) -> None:
    first, again = (export(run_folder, tmp_path / name, SHARD) for name in ("first", "again"))
    assert first == again == load_checkpoint(Origin(str(tmp_path / "again")), CPU).fingerprint
    for shard in (tmp_path / "again" / "base").glob("*.safetensors"):
        kept = shard.read_bytes()
        shard.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert fingerprint(Origin(str(tmp_path / "again")).parts()) != first
        shard.write_bytes(kept)


def test_an_export_leaves_nothing_of_the_one_before(run_folder: Path, tmp_path: Path) -> None:
    first = export(run_folder, tmp_path / "model", SHARD)
    whole = export(run_folder, tmp_path / "model")
    assert whole == export(run_folder, tmp_path / "other")
    assert export(run_folder, tmp_path / "model", SHARD) == first


def test_a_model_is_exported_with_how_far_its_replies_are_guided(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked, guidance in ((["--guidance", "1.25"], 1.25), ([], 1.0)):
        monkeypatch.setattr("sys.argv", ["export", str(run_folder), str(tmp_path / "model"), *asked])
        main()
        assert load_checkpoint(Origin(str(tmp_path / "model")), CPU).guidance == guidance


def test_a_guidance_that_could_not_be_opened_is_refused_before_anything_is_written(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["export", str(run_folder), str(tmp_path / "model"), "--guidance", "0.5"])
    with pytest.raises(SystemExit):
        main()
    assert not (tmp_path / "model").exists()


def test_a_run_of_before_an_option_is_exported_with_its_default(run_folder: Path, tmp_path: Path) -> None:
    stored = json.loads((run_folder / "run.json").read_text())
    older = {name: value for name, value in stored.items() if name not in ("workers", "minutes", "compile")}
    for name in (TOKENIZER, "checkpoint.safetensors"):
        (tmp_path / name).symlink_to(run_folder / name)
    (tmp_path / "run.json").write_text(json.dumps(older))
    assert export(tmp_path, tmp_path / "model") == export(run_folder, tmp_path / "same")

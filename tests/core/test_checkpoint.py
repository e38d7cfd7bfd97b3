"""Model folders: written and opened again, in both formats, and refused in a sentence when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.parity import TOLERANCE, TOLERANCE_IN_HALF, differences
from core.chat import Message
from core.checkpoint import fingerprint
from core.engine import load_engine
from core.errors import CheckpointError
from core.origin import Origin
from tests.tiny import tiny_folder

REFERENCE = Path(__file__).parent.parent / "fixtures" / "reference_generator"


@pytest.mark.parametrize("name", ["mistral_full", "llama_rank8"])
def test_the_published_format_matches_the_reference_in_every_mode(name: str) -> None:
    found = differences(REFERENCE / name)
    assert set(found) >= {"base", "concat", "parallel", "sequential"}
    assert max(found.values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["mistral_full", "llama_rank8"])
def test_a_base_in_bfloat16_stays_near_the_reference(name: str) -> None:
    assert TOLERANCE < max(differences(REFERENCE / name, torch.bfloat16).values()) <= TOLERANCE_IN_HALF


def test_a_saved_model_opens_and_folds(tmp_path: Path) -> None:
    engine = load_engine(Origin(str(tiny_folder(tmp_path / "tiny"))))
    assert engine.name == "tiny"
    assert engine.base.dtype == torch.float32
    assert not engine.fold(engine.empty_state(), [Message("user", "Hello there")]).is_empty


def test_the_fingerprint_names_the_weights(tmp_path: Path) -> None:
    one, two = tiny_folder(tmp_path / "one"), tiny_folder(tmp_path / "two")
    assert fingerprint(Origin(str(one)).parts()) == fingerprint(Origin(str(two)).parts())
    weights = two / "base" / "model.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    assert fingerprint(Origin(str(one)).parts()) != fingerprint(Origin(str(two)).parts())


def remove_generator(folder: Path) -> None:
    for path in (folder / "generator").iterdir():
        path.unlink()


def truncate(path: str) -> object:
    def damage(folder: Path) -> None:
        (folder / path).write_bytes((folder / path).read_bytes()[:1000])

    return damage


def edit(key: str, value: object) -> object:
    def damage(folder: Path) -> None:
        path = folder / "generator" / "generator_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_generator, "holds no generator"),
        (truncate("base/model.safetensors"), "cannot be opened"),
        (truncate("generator/generator.safetensors"), "not the file its config names"),
        (truncate("base/tokenizer.json"), "cannot be opened"),
        (edit("colour", "red"), "unknown keys"),
        (edit("format", 99), "format 99"),
        (edit("layers", 0), "layers is 0"),
        (edit("hidden_size", 48), "do not fit"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(tmp_path: Path, damage: object, message: str) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message) as caught:
        load_engine(Origin(str(folder)))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load_engine(Origin(str(tmp_path / "nowhere")))


def test_another_format_of_published_generator_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    (folder / "generator" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(CheckpointError, match="'LORA'"):
        load_engine(Origin(str(folder)))

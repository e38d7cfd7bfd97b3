"""Model folders: written and opened again, in both formats, and refused in a sentence when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.parity import TOLERANCE, TOLERANCE_IN_HALF, differences
from core.base import Base
from core.chat import Message
from core.checkpoint import fingerprint, load_generator
from core.device import Placement
from core.engine import load_engine
from core.errors import CheckpointError
from core.opening import load_base
from core.origin import Origin
from tests.tiny import tiny_folder

CPU = Placement(torch.device("cpu"), torch.float32, "sdpa", "test")
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


def test_the_fingerprint_names_the_template_wherever_it_is(tmp_path: Path) -> None:
    parts = Origin(str(tiny_folder(tmp_path / "tiny"))).parts()
    config, template = parts["base"] / "tokenizer_config.json", parts["base"] / "chat_template.jinja"
    beside = fingerprint(parts)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": "ignored"}))
    assert fingerprint(parts) == beside  # the file takes the place of what the config says
    template.unlink()
    within = fingerprint(parts)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": "another"}))
    assert len({beside, within, fingerprint(parts)}) == 3


def test_how_far_a_memory_guides_stands_beside_the_generator_and_changes_no_state(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    plain = load_engine(Origin(str(folder)))
    guide({"guidance_scale": 1.5})(folder)
    guided = load_engine(Origin(str(folder)))
    assert (plain.guidance, guided.guidance) == (1.0, 1.5)
    assert plain.fingerprint == guided.fingerprint


def remove_generator(folder: Path) -> None:
    for path in (folder / "generator").iterdir():
        path.unlink()


def truncate(path: str) -> object:
    def damage(folder: Path) -> None:
        (folder / path).write_bytes((folder / path).read_bytes()[:1000])

    return damage


def lose_a_weight(folder: Path) -> None:
    path = folder / "base" / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.0.self_attn.o_proj.weight"]
    save_file(weights, path, {"format": "pt"})


def edit(key: str, value: object) -> object:
    def damage(folder: Path) -> None:
        path = folder / "generator" / "generator_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


def guide(value: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "generator" / "generation_config.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (guide({"guidance_scale": 0.5}), "guidance_scale in .* is 0.5; it has to be from 1 to 3"),
        (guide({"guidance_scale": "far"}), "cannot be used"),
        (guide([]), "cannot be used"),
        (remove_generator, "holds no generator"),
        (truncate("base/model.safetensors"), "cannot be opened"),
        (lose_a_weight, r"lacks weights \(model.layers.0.self_attn.o_proj.weight, 1 in all\)"),
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fastlora_r": 0}, "fastlora_r = 0"),
        ({"fastlora_r": "16"}, "fastlora_r = '16'"),
        ({"fastlora_window": None}, "fastlora_window = None"),
        ({"fastlora_alpha": "much"}, "fastlora_alpha = 'much'"),
        ({"fastlora_max_rank": 999}, "no higher rank"),
        ({"fastlora_inter_size": 16}, "size mismatch for layers.0.A1"),
    ],
)
def test_a_published_config_that_cannot_be_is_refused_in_one_sentence(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    folder = published(tmp_path)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        load_generator(folder, Base(load_base(REFERENCE / "llama_rank8" / "base", CPU)))
    assert "\n" not in str(caught.value)


def test_a_published_config_that_is_a_list_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no names and values"):
        load_generator(folder, Base(load_base(REFERENCE / "llama_rank8" / "base", CPU)))


def published(folder: Path) -> Path:
    return Path(shutil.copytree(REFERENCE / "llama_rank8" / "generator", folder / "generator"))


@pytest.mark.parametrize(
    ("made_for", "warned"), [("somebody/Other-7B", True), ("somebody/Tiny", False), ("tiny", False)]
)
def test_a_generator_for_a_base_of_another_name_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, made_for: str, warned: bool
) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    path = folder / "generator" / "generator_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": made_for}))
    load_engine(Origin(str(folder / "base"), str(folder / "generator")))
    assert ("is for" in caplog.text) == warned

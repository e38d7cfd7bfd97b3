"""Weights in few bits: they are fewer bytes, they open as plain ones, and replies hardly change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.chat import Message
from core.device import Choice
from core.engine import Engine, load_engine
from core.errors import CheckpointError
from core.origin import Origin
from core.sizes import sizes_of_origin
from tests.tiny import tiny_folder
from training.compression import compress

TOLD = [Message("user", "My name is Marta.")]


def opened(base: Path, generator: Path) -> Engine:
    return load_engine(Origin(str(base), str(generator)), Choice("cpu", "float32"))


@pytest.mark.parametrize(("bits", "error"), [(8, 0.01), (4, 0.2)])
def test_weights_are_near_the_ones_they_were_made_from(tmp_path: Path, bits: int, error: float) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    compress(folder / "base", tmp_path / "few", bits)
    whole, few = (opened(base, folder / "generator").base.model for base in (folder / "base", tmp_path / "few"))
    linear = [name for name, module in whole.named_modules() if isinstance(module, torch.nn.Linear)]
    for name, value in whole.state_dict().items():
        found = few.state_dict()[name]
        off = float((found - value).norm() / value.norm())
        assert off < error
        assert (off > 0) == (name.removesuffix(".weight") in linear and "lm_head" not in name)


def test_a_memory_reads_the_same_through_them(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    compress(folder / "base", tmp_path / "few", 8)
    logits = []
    for base in (folder / "base", tmp_path / "few"):
        engine = opened(base, folder / "generator")
        adapter = engine.materialise(engine.fold(engine.empty_state(), TOLD))
        logits.append(engine.logits(adapter, TOLD))
    assert 0 < (logits[0] - logits[1]).norm() < 0.02 * logits[0].norm()


def test_linear_layers_are_kept_in_few_bits_in_files_of_the_size_asked_for(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    compress(folder / "base", tmp_path / "few", 4, "20KB")
    files = list((tmp_path / "few").glob("*.safetensors"))
    assert len(files) > 1
    kept = dict[str, torch.Tensor]()
    for file in files:
        with safe_open(file, "pt") as tensors:
            kept |= {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    packed = kept["model.layers.0.mlp.down_proj.weight_packed"]
    assert packed.nbytes == 32 * 64 // 2
    assert "model.layers.0.mlp.down_proj.weight" not in kept
    assert kept["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert json.loads((tmp_path / "few" / "config.json").read_text())["quantization_config"]["dequantize"] is True


def test_they_are_not_put_in_few_bits_again(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    compress(folder / "base", tmp_path / "few", 8)
    with pytest.raises(CheckpointError, match="in few bits already; open it without IMPRINT_BITS"):
        load_engine(Origin(str(tmp_path / "few"), str(folder / "generator")), Choice("cpu", bits=8))


def test_what_they_take_is_told_as_for_the_base_they_were_made_from(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    compress(folder / "base", tmp_path / "few", 8)
    whole, few = (Origin(str(base), str(folder / "generator")) for base in (folder / "base", tmp_path / "few"))
    assert sizes_of_origin(few) == sizes_of_origin(whole)

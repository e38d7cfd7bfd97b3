"""A plain LoRA in the base: it answers as peft's model does, and a memory comes on top of it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from core.chat import Message
from core.device import Choice
from core.engine import Engine, load_engine
from core.errors import CheckpointError
from core.lora import merged
from core.origin import Origin
from tests.tiny import tiny_folder, tiny_model

IDS = torch.arange(5, 25)[None]
CPU = Choice("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "tiny")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA of attention's queries and MLPs, with weights that are seen in the logits."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(tiny_model(320), config).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def logits(engine: Engine, told: bool = False) -> Tensor:
    state = engine.fold(engine.empty_state(), [Message("user", "My name is Marta.")]) if told else engine.empty_state()
    with torch.no_grad(), engine.base.adapted(engine.materialise(state)):
        return engine.base.model(input_ids=IDS).logits


def test_it_answers_as_peft_does(folder: Path, lora: Path) -> None:
    with_it = load_engine(Origin(str(folder), lora=str(lora)), CPU)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32), lora)
    with torch.no_grad():
        torch.testing.assert_close(logits(with_it), theirs(input_ids=IDS).logits, atol=1e-4, rtol=1e-4)
    bare = load_engine(Origin(str(folder)), CPU)
    assert float((logits(with_it) - logits(bare)).abs().max()) > 1e-3


def test_a_memory_comes_on_top_and_belongs_to_this_base_alone(folder: Path, lora: Path) -> None:
    with_it, bare = load_engine(Origin(str(folder), lora=str(lora)), CPU), load_engine(Origin(str(folder)), CPU)
    assert float((logits(with_it, told=True) - logits(with_it)).abs().max()) > 1e-3
    assert with_it.fingerprint != bare.fingerprint


def test_nothing_of_peft_is_said_to_the_user(lora: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        merged(tiny_model(320), lora)
    assert [str(one.message) for one in said if one.category is FutureWarning] == []


def test_weights_as_pickle_are_refused(folder: Path, lora: Path) -> None:
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        load_engine(Origin(str(folder), lora=str(lora)), CPU)


def test_one_for_another_base_is_refused_in_one_sentence(folder: Path, lora: Path) -> None:
    (lora / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["nothing"]}')
    with pytest.raises(CheckpointError, match=r"The LoRA in .* does not fit this base") as refused:
        load_engine(Origin(str(folder), lora=str(lora)), CPU)
    assert "\n" not in str(refused.value)

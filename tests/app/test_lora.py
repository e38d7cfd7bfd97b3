"""A memory as a LoRA: the folder gives peft the logits that the memory gives us."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from app.service import Service
from core.engine import Engine
from core.errors import CheckpointError
from core.state import State
from storage.records import User
from storage.store import Store
from tests.app.conftest import say

IDS = torch.arange(5, 25)[None]


def test_peft_answers_as_the_memory_does(
    remembering: Service, store: Store, real: Engine, ada: User, tmp_path: Path
) -> None:
    from peft import PeftModel

    say(remembering, ada, "My name is Marta.")
    assert remembering.save_lora(ada.id, tmp_path / "lora") == 0.0
    told = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == remembering._settings.origin.name  # no path of this machine
    memory = store.load_memory(ada.id)
    assert memory
    with torch.no_grad(), real.base.adapted(real.materialise(State.from_bytes(memory.blob))):
        ours = real.base.model(input_ids=IDS).logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = PeftModel.from_pretrained(real.base.model, tmp_path / "lora")
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=IDS).logits, ours, atol=1e-4, rtol=1e-4)


def test_a_rank_that_cannot_be_writes_nothing(remembering: Service, ada: User, tmp_path: Path) -> None:
    say(remembering, ada, "My name is Marta.")
    with pytest.raises(CheckpointError, match="rank cannot be 99"):
        remembering.save_lora(ada.id, tmp_path / "lora", 99)
    assert not (tmp_path / "lora").exists()

"""A base in 4 or 8 bits, by bitsandbytes itself: every family computes, and a memory is read as with whole weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.base import Base
from core.chat import Message
from core.checkpoint import save_checkpoint
from core.decoding import Sampling
from core.device import Bits, Choice
from core.engine import Engine, load_engine
from core.origin import Origin
from tests.bundled import in_whole_weights
from tests.core.families import FAMILIES, generator_for, model_of
from tests.tiny import tiny_tokenizer

ASK = [Message("user", "Who am I?")]
TOLD = [Message("user", "My name is Marta and I live in Vienna."), Message("assistant", "Nice to meet you, Marta.")]
FARTHEST: dict[Bits, float] = {8: 0.05, 4: 0.6}
"""From what is said in float32, relative to it: the base's logits, and what a memory changes in them."""


def opened(folder: Path, bits: Bits) -> Engine:
    return load_engine(Origin(str(folder)), Choice("cpu", bits=bits))


def folder_of(family: str, at: Path) -> Path:
    model = model_of(family)
    save_checkpoint(at, model, generator_for(Base(model)), tiny_tokenizer())
    return at


@pytest.mark.parametrize("bits", FARTHEST)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_in_few_bits_says_nearly_the_same(family: str, bits: Bits, tmp_path: Path) -> None:
    folder = folder_of(family, tmp_path)
    whole, few = opened(folder, 0), opened(folder, bits)
    assert all(not projection.weight.is_floating_point() for projection in few.base.projections)
    expected, bare = whole.logits(None, ASK), few.logits(None, ASK)
    assert 0 < float((bare - expected).norm() / expected.norm()) < FARTHEST[bits]
    assert torch.equal(few.logits(few.materialise(few.empty_state()), ASK), bare)
    told = few.materialise(few.fold(few.empty_state(), TOLD))
    change = whole.logits(whole.materialise(whole.fold(whole.empty_state(), TOLD)), ASK) - expected
    assert float((few.logits(told, ASK) - bare - change).norm() / change.norm()) < FARTHEST[bits]


@pytest.mark.parametrize("bits", FARTHEST)
def test_the_bundled_model_remembers_in_few_bits(bits: Bits, tmp_path: Path) -> None:
    whole = in_whole_weights(tmp_path)
    engine = opened(whole, bits)
    assert engine.fingerprint != opened(whole, 0).fingerprint  # what is folded is another state
    adapter = engine.materialise(engine.fold(engine.empty_state(), TOLD))
    questions = [[Message("user", text)] for text in ("What is my name?", "Where do I live?")]
    name, home = engine.reply_all([(adapter, question) for question in questions], Sampling(max_tokens=12))
    assert "Marta" in name and "Vienna" in home

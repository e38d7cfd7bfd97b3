"""Every family: an empty memory is the base bit for bit, what is folded is read and can be taken out, peft reads it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from core.adapter import Adapter, stack
from core.base import Base
from core.chat import Message
from core.checkpoint import Checkpoint, load_checkpoint, load_generator, save_checkpoint
from core.decoding import Sampling
from core.device import Choice, Placement, resolve
from core.engine import Engine, load_engine
from core.errors import CheckpointError
from core.families import Target, layers_of, projection_path
from core.lora import save_lora
from core.origin import Origin
from core.provenance import log_probabilities
from core.sizes import sizes_of, sizes_of_origin
from tests.core.families import FAMILIES, generator_for, model_of
from tests.tiny import tiny_tokenizer

IDS = torch.arange(5, 25)[None]
TOLD = [Message("user", "My name is Marta."), Message("assistant", "Hello Marta!")]
MORE = [Message("user", "I like sushi.")]


@pytest.fixture(params=[(family, target) for family in FAMILIES for target in get_args(Target)], ids="-".join)
def engine(request: pytest.FixtureRequest) -> Engine:
    family, target = request.param
    base = Base(model_of(family), target)
    return Engine(Checkpoint(family, "f" * 64, base, generator_for(base), tiny_tokenizer()))


def logits(base: Base, adapter: Adapter | None) -> Tensor:
    with torch.no_grad(), base.adapted(adapter):
        return base.model(input_ids=IDS).logits


def test_an_empty_memory_is_the_base_bit_for_bit(engine: Engine) -> None:
    empty = engine.materialise(engine.empty_state())
    assert torch.equal(logits(engine.base, empty), logits(engine.base, None))


def test_what_was_told_changes_what_is_read(engine: Engine) -> None:
    bare = logits(engine.base, None)
    told = engine.materialise(engine.fold(engine.empty_state(), TOLD))
    assert float((logits(engine.base, told) - bare).abs().max()) > 1e-3
    assert torch.equal(logits(engine.base, None), bare)


def test_a_turn_can_be_taken_out_again(engine: Engine) -> None:
    empty = engine.empty_state()
    both, decay = engine.fold(engine.fold(empty, TOLD), MORE), engine.generator.decay()
    torch.testing.assert_close(
        both.sums - engine.fold(empty, TOLD).sums * decay, engine.fold(empty, MORE).sums, atol=1e-5, rtol=1e-5
    )


def test_reading_gives_what_enters_each_layer(engine: Engine) -> None:
    with torch.no_grad():
        expected = engine.base.model(input_ids=IDS, output_hidden_states=True).hidden_states
    entering = engine.base.read(IDS)
    assert len(entering) == len(engine.base.target_layers) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(entering, expected, strict=False))


def test_a_reply_with_a_cache_is_the_likeliest_token_each_time(engine: Engine) -> None:
    adapter, question = engine.materialise(engine.fold(engine.empty_state(), TOLD)), [Message("user", "Who am I?")]
    written = "".join(engine.reply(adapter, question, Sampling(max_tokens=5)))
    assert written == engine.reply_all([(adapter, question), (None, MORE)], Sampling(max_tokens=5))[0]


def test_a_reply_scored_with_many_memories_at_once_is_scored_as_with_each(engine: Engine) -> None:
    """What comes before the first adapter is read once for all of them."""
    adapters = [engine.materialise(engine.fold(engine.empty_state(), turn)) for turn in (TOLD, MORE)]
    prompt, reply = IDS[0, :12].tolist(), IDS[0, 12:].tolist()
    together = log_probabilities(engine.base, stack(adapters), prompt, reply)
    each = torch.cat([log_probabilities(engine.base, adapter, prompt, reply) for adapter in adapters])
    torch.testing.assert_close(together, each, atol=1e-4, rtol=1e-5)
    assert abs(together[0] - together[1]) > 1e-3


def test_peft_reads_the_adapter_as_it_is(engine: Engine, tmp_path: Path) -> None:
    from peft import PeftModel

    adapter = engine.materialise(engine.fold(engine.empty_state(), TOLD))
    assert save_lora(tmp_path, engine.base, adapter) == 0.0
    ours = logits(engine.base, adapter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about what peft still calls
        loaded = PeftModel.from_pretrained(engine.base.model, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=IDS).logits, ours, atol=1e-4, rtol=1e-4)
    assert loaded.unload() is engine.base.model


def test_a_lora_of_smaller_rank_says_how_far_it_is_off(tmp_path: Path) -> None:
    base = Base(model_of("Llama"))
    torch.manual_seed(2)
    adapter = Adapter(tuple(torch.randn(2, 16, 32)), tuple(torch.randn(2, 1, 32, 16)))
    errors = [save_lora(tmp_path / str(rank), base, adapter, rank=rank) for rank in (1, 4, 8, 15)]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] < 1
    from safetensors.torch import load_file

    cut = load_file(tmp_path / "8" / "adapter_model.safetensors")
    a, b = (cut[f"base_model.model.{base.paths[0]}.lora_{side}.weight"] for side in "AB")
    whole = adapter.lora_B[0][0] @ adapter.lora_A[0]
    other = adapter.lora_B[1][0] @ adapter.lora_A[1]
    a1, b1 = (cut[f"base_model.model.{base.paths[1]}.lora_{side}.weight"] for side in "AB")
    measured = max(float((whole - b @ a).norm() / whole.norm()), float((other - b1 @ a1).norm() / other.norm()))
    assert measured == pytest.approx(errors[2], rel=1e-4)


@pytest.mark.parametrize("rank", [0, 17])
def test_a_rank_that_cannot_be_is_refused(tmp_path: Path, rank: int) -> None:
    adapter = Adapter((torch.zeros(16, 32),) * 2, (torch.zeros(1, 32, 16),) * 2)
    with pytest.raises(CheckpointError, match="this memory's is 16"):
        save_lora(tmp_path, Base(model_of("Llama")), adapter, rank=rank)


def test_a_model_folder_of_another_family_is_opened(tmp_path: Path) -> None:
    base = Base(model_of("GPT-2"))
    save_checkpoint(tmp_path, base.model, generator_for(base), tiny_tokenizer())
    opened = load_checkpoint(Origin(str(tmp_path)), Placement(torch.device("cpu"), torch.float32, "sdpa", "test"))
    assert opened.base.sizes == (32, 32)
    assert [type(projection).__name__ for projection in opened.base.projections] == ["Conv1D"] * 2


def test_an_attention_that_a_family_has_not_is_an_error_only_where_it_was_asked_for(tmp_path: Path) -> None:
    base = Base(model_of("Gemma2"))  # whose attention is capped, which SDPA cannot do
    save_checkpoint(tmp_path, base.model, generator_for(base), tiny_tokenizer())
    opened = load_checkpoint(Origin(str(tmp_path)), resolve(Choice("cpu")))
    assert opened.base.config._attn_implementation == "eager"
    with pytest.raises(CheckpointError, match="Gemma2ForCausalLM does not support"):
        load_checkpoint(Origin(str(tmp_path)), resolve(Choice("cpu", attention="sdpa")))


def test_a_generator_for_the_other_half_of_a_layer_is_opened_for_that(tmp_path: Path) -> None:
    base = Base(model_of("Llama"), "mlp")
    save_checkpoint(tmp_path, base.model, generator_for(base), tiny_tokenizer())
    opened = load_checkpoint(Origin(str(tmp_path)), Placement(torch.device("cpu"), torch.float32, "sdpa", "test"))
    assert opened.base.paths == [f"model.layers.{i}.mlp.down_proj" for i in range(2)]
    assert sizes_of_origin(Origin(str(tmp_path))) == sizes_of(base, opened.generator.config)
    with pytest.raises(CheckpointError, match=r"48, 32, 'mlp'\), but the base has .*32, 32, 'attention'\)"):
        load_generator(tmp_path / "generator", Base(base.model))


def test_a_generator_for_some_layers_changes_those_alone(tmp_path: Path) -> None:
    model = model_of("Llama")
    base = Base(model, before=1)
    save_checkpoint(tmp_path, model, generator_for(base), tiny_tokenizer())
    engine = load_engine(Origin(str(tmp_path)), Choice("cpu", "float32"))
    assert engine.base.paths == ["model.layers.1.self_attn.o_proj"]
    assert engine.empty_state().sums.shape[0] == 1
    adapter = engine.materialise(engine.fold(engine.empty_state(), TOLD))
    bare, remembering = engine.base.read(IDS), engine.base.read(IDS, adapter)
    assert torch.equal(bare[0], remembering[0])  # what enters the layer, which no adapter comes before
    assert not torch.equal(engine.logits(None, TOLD), engine.logits(adapter, TOLD))


def test_a_base_of_another_depth_is_refused(tmp_path: Path) -> None:
    model = model_of("Llama")
    save_checkpoint(tmp_path, model, generator_for(Base(model, after=1)), tiny_tokenizer())
    with pytest.raises(CheckpointError, match=r"target\) = \(1, .* but the base has \(2, "):
        load_generator(tmp_path / "generator", Base(model))
    with pytest.raises(CheckpointError, match=r"= \(1, 0, 1, .* but the base has \(1, 1, 0, "):
        load_generator(tmp_path / "generator", Base(model, before=1))
    with pytest.raises(CheckpointError, match="2 layers none is left between the first 1 and the last 1"):
        Base(model, before=1, after=1)


def test_a_target_that_is_none_is_named(tmp_path: Path) -> None:
    base = Base(model_of("Llama"))
    save_checkpoint(tmp_path, base.model, generator_for(base), tiny_tokenizer())
    config = tmp_path / "generator" / "generator_config.json"
    config.write_text(config.read_text().replace('"attention"', '"head"'))
    with pytest.raises(CheckpointError, match="target is 'head'; it has to be one of attention, mlp"):
        load_checkpoint(Origin(str(tmp_path)), Placement(torch.device("cpu"), torch.float32, "sdpa", "test"))


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"Linear keeps its layers in none of layers, h"):
        layers_of(nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"Linear has none of self_attn.o_proj, "):
        projection_path(nn.Linear(2, 2))

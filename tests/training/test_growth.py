"""Growing a trained model: more layers, wider states, the same function."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.config import GeneratorConfig
from core.generator import GatedGenerator
from tests.tiny import tiny_model
from training.growth import broadened, deepened, widened

IDS = torch.arange(5, 25)[None]


@pytest.mark.parametrize(("layers", "wanted"), [(6, 6), (6, 7), (6, 8), (6, 9), (6, 11), (6, 12), (3, 5)])
def test_every_layer_is_kept_in_order_and_copies_come_after_their_own(layers: int, wanted: int) -> None:
    weights = {f"layers.{i}.o_proj.weight": torch.tensor([1.0 + i]) for i in range(layers)}
    grown = deepened(weights, layers, wanted)
    values = [float(grown[f"layers.{i}.o_proj.weight"]) for i in range(wanted)]
    assert len(grown) == wanted
    assert [value for value in values if value] == [1.0 + i for i in range(layers)]
    assert values.count(0.0) == wanted - layers


@pytest.mark.parametrize("wanted", [5, 13])
def test_another_depth_is_refused(wanted: int) -> None:
    with pytest.raises(ValueError, match="6 layers can become 6 to 12"):
        deepened({}, 6, wanted)


def test_a_wider_state_reads_at_first_as_the_narrow_one() -> None:
    torch.manual_seed(0)
    narrow, wide = (GatedGenerator(GeneratorConfig(2, 32, 32, 32, key_size=size, value_size=size)) for size in (8, 12))
    wide.load_state_dict(widened(narrow.state_dict(), 8, 12))
    hidden, windows = [torch.randn(1, 4, 32) for _ in range(2)], torch.zeros(1, 4, dtype=torch.long)
    old, new = (own.materialise(own.contribution(hidden, windows)) for own in (narrow, wide))
    for layer in range(2):
        was, now = old.lora_B[layer] @ old.lora_A[layer], new.lora_B[layer] @ new.lora_A[layer]
        assert torch.linalg.vector_norm(now - was) < 0.05 * torch.linalg.vector_norm(was)


def test_a_narrower_state_is_refused() -> None:
    with pytest.raises(ValueError, match="8 can become wider, not 6"):
        widened({}, 8, 6)


def broader_model() -> LlamaForCausalLM:
    """As the tiny one, but d 48 and six heads in place of d 32 and four."""
    shape = tiny_model().config.to_dict() | {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 6}
    return LlamaForCausalLM(LlamaConfig(**shape | {"num_key_value_heads": 3})).eval()


def test_a_broader_base_says_at_first_what_the_narrow_one_does() -> None:
    narrow, broad = tiny_model(), broader_model()
    unlike = broad(IDS).logits
    broad.load_state_dict(broadened(narrow.state_dict(), broad.state_dict()))
    was, now = narrow(IDS).logits, broad(IDS).logits
    assert torch.linalg.vector_norm(now - was) < 0.05 * torch.linalg.vector_norm(was)
    assert torch.linalg.vector_norm(unlike - was) > torch.linalg.vector_norm(was)


def test_a_generator_for_a_broader_base_makes_the_same_memory_of_what_was_there() -> None:
    torch.manual_seed(0)
    narrow = GatedGenerator(GeneratorConfig(2, 32, 32, 32, key_size=8, value_size=8))
    broad = GatedGenerator(GeneratorConfig(2, 48, 48, 48, key_size=8, value_size=8))
    torch.nn.init.normal_(narrow.layers[0].gate)
    broad.load_state_dict(broadened(narrow.state_dict(), broad.state_dict()))
    hidden, windows = [torch.randn(1, 6, 32) for _ in range(2)], torch.zeros(1, 6, dtype=torch.long)
    old = narrow.materialise(narrow.contribution(hidden, windows))
    new = broad.materialise(broad.contribution([torch.nn.functional.pad(h, (0, 16)) for h in hidden], windows))
    for layer in range(2):
        delta = (new.lora_B[layer] @ new.lora_A[layer])[:, :32, :32]
        torch.testing.assert_close(delta, old.lora_B[layer] @ old.lora_A[layer], atol=1e-5, rtol=1e-3)


def test_a_narrower_base_is_refused() -> None:
    with pytest.raises(ValueError, match=r"can become broader, not"):
        broadened(broader_model().state_dict(), tiny_model().state_dict())

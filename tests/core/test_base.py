"""The base: bare outside the `with`, whatever happens inside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from core.adapter import Adapter, stack
from core.base import Base
from core.errors import CheckpointError
from tests.tiny import tiny_generator, tiny_model

IDS = torch.arange(5, 25)[None]


def adapter_of(seed: int) -> Adapter:
    generator = tiny_generator()
    dice = torch.Generator().manual_seed(seed)
    return generator.materialise(torch.randn(1, *generator.state_shape, generator=dice))


def logits(base: Base, adapter: Adapter | None, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad(), base.adapted(adapter):
        return base.model(input_ids=ids).logits


def test_an_empty_state_gives_the_bases_logits_bit_for_bit() -> None:
    base, generator = Base(tiny_model()), tiny_generator()
    empty = generator.materialise(generator.empty_sums()[None])
    assert torch.equal(logits(base, empty), logits(base, None))


def test_an_adapter_changes_the_logits_only_inside_the_with() -> None:
    base = Base(tiny_model())
    bare = logits(base, None)
    assert not torch.allclose(logits(base, adapter_of(0)), bare)
    assert torch.equal(logits(base, None), bare)


def test_an_exception_inside_the_with_leaves_the_base_bare_and_free() -> None:
    base = Base(tiny_model())
    bare = logits(base, None)
    with pytest.raises(RuntimeError), base.adapted(adapter_of(0)):
        raise RuntimeError
    assert torch.equal(logits(base, None), bare)


def test_each_row_of_a_batch_has_its_own_adapter() -> None:
    base = Base(tiny_model())
    both = logits(base, stack([adapter_of(0), adapter_of(1)]), IDS.expand(2, -1))
    torch.testing.assert_close(both[0], logits(base, adapter_of(0))[0])
    torch.testing.assert_close(both[1], logits(base, adapter_of(1))[0])


def test_stacking_fills_smaller_ranks_with_nothing() -> None:
    small = Adapter((torch.randn(1, 2, 32),), (torch.randn(1, 32, 2),))
    large = Adapter((torch.randn(1, 5, 32),), (torch.randn(1, 32, 5),))
    x = torch.randn(1, 3, 32)
    both = stack([small, large]).delta(0, x.expand(2, -1, -1))
    torch.testing.assert_close(both, torch.cat([small.delta(0, x), large.delta(0, x)]))


def test_reading_keeps_nothing_on_the_modules() -> None:
    base = Base(tiny_model())
    before = {name for module in base.model.modules() for name in vars(module)}
    base.read(IDS, adapter_of(0))
    assert {name for module in base.model.modules() for name in vars(module)} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.model.modules())


def test_reading_gives_what_enters_each_layer() -> None:
    base = Base(tiny_model())
    with torch.no_grad():
        expected = base.model(input_ids=IDS, output_hidden_states=True).hidden_states
        entering = base.read(IDS)
    assert len(entering) == 2
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(entering, expected, strict=False))


def test_reading_ends_where_the_last_adapted_layer_begins() -> None:
    base, computed = Base(tiny_model()), list[int]()
    hooks = [p.register_forward_hook(lambda *_, i=i: computed.append(i)) for i, p in enumerate(base.projections)]
    base.read(IDS)
    assert computed == [0]
    logits(base, None)
    assert computed == [0, 0, 1]
    for hook in hooks:
        hook.remove()


def test_a_model_without_output_projections_is_refused() -> None:
    class Other(nn.Module):
        config = LlamaConfig()

        def get_decoder(self) -> nn.Module:
            return nn.Linear(2, 2)

        def get_output_embeddings(self) -> None: ...

    with pytest.raises(CheckpointError, match="use a base of a known family: Llama, "):
        Base(Other())  # type: ignore[arg-type]


def test_projections_of_different_sizes_are_refused() -> None:
    model = tiny_model()
    model.model.layers[1].self_attn.o_proj = nn.Linear(8, 32, bias=False)
    with pytest.raises(CheckpointError, match=r"\(8, 32\)"):
        Base(model)


def test_what_no_generator_is_for_is_refused_when_it_is_read() -> None:
    base = Base(tiny_model())
    base.config.hidden_size += 1
    with pytest.raises(CheckpointError, match=r"is \(1, 20, 32\)"):
        base.read(IDS)

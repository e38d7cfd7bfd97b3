"""The same adapters through peft: one LoRA a row, chosen by `adapter_names`, on a twin that shares the base's weights.

Needs peft, which only development installs.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial, wraps
from importlib.util import find_spec
from typing import Any

from core.adapter import Adapter
from core.base import Base


def peft_is_installed() -> bool:
    """Whether `base_with_loras` can be called."""
    return find_spec("peft") is not None


def base_with_loras(base: Base, adapters: Sequence[Adapter]) -> Base:
    """A base whose row i goes through peft's LoRA of `adapters[i]`, each of one row and all of one rank.

    The given base stays as it is, and no weight of it is copied; the adapters' factors are. They are given the base's
    number type: peft would compute with them in float32, which is slower, and not every peft can be told so.
    """
    from peft import LoraConfig, get_peft_model

    shared = {id(weight): weight for weight in (*base.model.parameters(), *base.model.buffers())}
    twin = Base(deepcopy(base.model, shared))
    names = [f"user{i}" for i in range(len(adapters))]
    rank = adapters[0].lora_B[0].shape[-1]
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=["o_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    with base.device:
        model = get_peft_model(twin.model, config, adapter_name=names[0])
        for name in names[1:]:
            model.add_adapter(name, config)
    for name, adapter in zip(names, adapters, strict=True):
        _fill(twin, name, adapter)
    twin.model = _Mixed(model.eval(), names)
    return twin


def _fill(twin: Base, name: str, adapter: Adapter) -> None:
    """Give the LoRA `name` the factors (rank, d_in) and (d_out, rank) of a one-row adapter."""
    for i, layer in enumerate(twin.layers):
        projection = layer.self_attn.o_proj
        for lora, factor in ((projection.lora_A, adapter.lora_A[i]), (projection.lora_B, adapter.lora_B[i])):
            lora[name].to(twin.dtype).weight.data.copy_(factor.reshape(factor.shape[-2:]))


class _Mixed:
    """A peft model that is called, and can be asked for its arguments, as the bare one; each row's LoRA is settled."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self.config, self.dtype = model.config, model.dtype
        self.forward = wraps(model.get_base_model().forward)(partial(model, adapter_names=list(names)))

    def __call__(self, **inputs: Any) -> Any:
        return self.forward(**inputs)

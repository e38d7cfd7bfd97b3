"""Open a base alone: its weights where and how a placement says, whole or not at all, and its tokenizer."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from core.device import Placement
from core.errors import CheckpointError, first_line

Module = TypeVar("Module", bound=nn.Module)
log = logging.getLogger(__name__)


def load_base(folder: Path, placement: Placement) -> PreTrainedModel:
    """Open the base alone, in the placement's number type."""
    disable_progress_bar()
    if placement.bits and _in_few_bits_already(folder):
        raise CheckpointError(f"The base in {folder} is kept in few bits already; open it without IMPRINT_BITS.")
    try:
        model = _attending(folder, placement, [placement.attention, *placement.otherwise])
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The base in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error
    model = _plain_where_odd(model) if placement.bits else placed(model, placement)
    return model.eval().requires_grad_(False)


def _attending(folder: Path, placement: Placement, kernels: Sequence[str]) -> PreTrainedModel:
    """The base with the first of the attention kernels that it has; transformers says which before it reads weights."""
    how: dict[str, Any] = {"dtype": placement.dtype, "local_files_only": True, **_in_few_bits(placement)}
    first, *others = kernels
    try:
        model, read = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=first, output_loading_info=True, **how
        )
    except ValueError as error:
        if not others or "attention" not in str(error).lower():
            raise
        log.info("%s has no %s: %s", folder.name, first, first_line(error))
        return _attending(folder, placement, others)
    if missing := sorted(read["missing_keys"]):  # which transformers would fill with random numbers
        raise CheckpointError(
            f"The base in {folder} lacks weights ({missing[0]}, {len(missing)} in all); fetch it again."
        )
    return model


def placed(module: Module, placement: Placement) -> Module:
    """The module on its device; raise CheckpointError where it does not fit."""
    try:
        return module.to(placement.device)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            "The model does not fit the GPU; `launch.py sizes` says what it takes, and IMPRINT_BITS=4 takes a quarter."
        ) from error


def _in_few_bits_already(folder: Path) -> bool:
    """Whether the weights on disk are in few bits; a config that cannot be read is for who opens it to name."""
    try:
        return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _in_few_bits(placement: Placement) -> dict[str, Any]:
    """What transformers has to know to keep weights in 4 or 8 bits, which puts them on the device itself."""
    if not placement.bits:
        return {}
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of its own casts, in every layer of every step
    quantised = BitsAndBytesConfig(
        load_in_4bit=placement.bits == 4,
        load_in_8bit=placement.bits == 8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=placement.dtype,
    )
    return {"quantization_config": quantised, "device_map": {"": placement.device}}


def _plain_where_odd(model: PreTrainedModel) -> PreTrainedModel:
    """Keep bitsandbytes on CPUs with bfloat16 units from repacking weights whose sizes its blocks do not divide.

    It would fail at the first forward pass; its plain kernel takes any size.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside a base; raise CheckpointError for one without a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The tokenizer in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"The tokenizer in {folder} has no chat template; use an instruction-tuned base, or put a "
            "chat_template.jinja beside it."
        )
    return tokenizer

"""An adapter as a LoRA folder that peft, and whatever reads peft's format, loads; and such a folder in a base.

A plain LoRA of rank r is `W x + B A x`, which is what an adapter adds: nothing is approximated unless the rank is cut.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from transformers import PreTrainedModel

from core.adapter import Adapter
from core.base import Base
from core.errors import CheckpointError, first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
UNFIT = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, UserWarning, SafetensorError)
"""What peft raises for a folder that it cannot load on a base."""
DEPRECATED = "`is_gradient_checkpointing` is deprecated"


def save_lora(
    folder: Path,
    base: Base,
    adapter: Adapter,
    name: str = "",
    rank: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Write the one row of an adapter for the base called `name`, in `dtype`; return the largest error of a layer.

    The error is that of the weights' change before they are cast, relative in Frobenius norm; 0 unless `rank` is below
    the adapter's. Raise CheckpointError for a rank that cannot be.
    """
    if adapter.rows != 1:
        raise ValueError(f"The adapter has {adapter.rows} rows; a LoRA holds one memory.")
    full = adapter.lora_B[0].shape[-1]
    if rank is not None and not 1 <= rank <= full:
        raise CheckpointError(f"The rank cannot be {rank}; this memory's is {full}, and at least 1 is needed.")
    tensors, errors = dict[str, Tensor](), [0.0]
    for i, path in enumerate(base.paths):
        a, b = adapter.lora_A[i].reshape(full, -1).float().cpu(), adapter.lora_B[i][0].float().cpu()
        if rank is not None and rank < full:
            a, b, error = _cut(a, b, rank)
            errors.append(error)
        tensors |= {f"base_model.model.{path}.lora_A.weight": a, f"base_model.model.{path}.lora_B.weight": b}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / WEIGHTS).touch(mode=0o600)  # what a memory knows is its owner's alone
    (folder / WEIGHTS).write_bytes(save({key: value.to(dtype).contiguous() for key, value in tensors.items()}))
    values = _config(base, name, rank or full)
    (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return max(errors)


def check_files(folder: Path) -> None:
    """Raise CheckpointError unless a LoRA's files are there; else peft looks for weights as pickle, then on the hub."""
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise CheckpointError(f"The LoRA in {folder} has no {missing[0]}; use one that peft has written.")


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base with a plain LoRA (any projections) added to its weights: it costs nothing from then on.

    Raise CheckpointError for what peft cannot load on this base.
    """
    from peft import PeftModel

    check_files(folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # it would change nothing
            warnings.filterwarnings("ignore", DEPRECATED, FutureWarning)  # peft 0.21 asks transformers 5.24 for it
            return PeftModel.from_pretrained(model, folder).merge_and_unload(safe_merge=True)
    except UNFIT as error:
        raise CheckpointError(
            f"The LoRA in {folder} does not fit this base ({first_line(error)}); use one made for it."
        ) from error


def _cut(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The nearest factors of a smaller rank (Eckart and Young, 1936), and how far their product is from the whole."""
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.mT)
    u, sigma, vt = torch.linalg.svd(r_b @ r_a.mT)
    left, right = q_b @ u[:, :rank] * sigma[:rank], vt[:rank] @ q_a.mT
    whole = float(sigma.square().sum())
    lost = float(sigma[rank:].square().sum())
    return right, left, (lost / whole) ** 0.5 if whole else 0.0


def _config(base: Base, name: str, rank: int) -> dict[str, object]:
    """What peft has to know; `fan_in_fan_out` is for Conv1D, which keeps its weights the other way round."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": base.paths,  # in full: the last name alone may be that of other projections too
        "fan_in_fan_out": not isinstance(base.projections[0], nn.Linear),
        "inference_mode": True,
    }

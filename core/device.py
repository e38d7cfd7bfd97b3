"""The device and attention kernel to compute with: each choice with its reason in one sentence.

An automatic choice falls back; an explicit one fails loudly.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import torch

from core.errors import DeviceError


@dataclass(frozen=True)
class Placement:
    """Where and how the base computes."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    reason: str


def resolve_device(device: str = "auto") -> Placement:
    """Choose device, number type and attention kernel; raise DeviceError for a device that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"{device!r} is not a device; use auto, cpu or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("cuda was asked for, but no GPU can be used; use --device cpu.")
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"{device!r} is not supported; use auto, cpu or cuda.")
    if chosen.type == "cpu":
        return Placement(chosen, torch.float32, "sdpa", "float32 and SDPA on the CPU")
    if torch.cuda.get_device_capability(chosen)[0] >= 8 and _flash_attention_works():
        return Placement(chosen, torch.bfloat16, "flash_attention_2", "bfloat16 and flash-attn on the GPU")
    return Placement(chosen, torch.bfloat16, "sdpa", "bfloat16 and SDPA on the GPU; flash-attn is not usable here")


def _flash_attention_works() -> bool:
    """Whether flash-attn really imports: a build for another torch is found, but fails only when loaded."""
    try:
        importlib.import_module("flash_attn")
    except (ImportError, OSError):
        return False
    return True

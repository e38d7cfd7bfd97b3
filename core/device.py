"""The device, number type and attention kernel to compute with: each choice with its reason in one sentence.

An automatic choice falls back; an explicit one fails loudly.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import torch

from core.errors import DeviceError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]
Bits = Literal[0, 4, 8]
# What a kernel is imported as, and the generations of GPUs (compute capability) that it runs on.
FLASH = {"flash_attention_3": ("flash_attn_interface", 9, 9), "flash_attention_2": ("flash_attn", 8, 99)}

PLAIN = ("sdpa", "eager")
"""Kernels that run everywhere; a model whose attention is not the usual one (Gemma 2) has the last alone."""


@dataclass(frozen=True)
class Choice:
    """What a person asked for; `bits` 4 or 8 keeps the base's weights in so many, 0 in `dtype`."""

    device: str = "auto"
    dtype: Dtype = "auto"
    attention: Attention = "auto"
    bits: Bits = 0


@dataclass(frozen=True)
class Placement:
    """Where and how the base computes; where it has no such `attention`, by the first it has `otherwise`."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    reason: str
    bits: Bits = 0
    otherwise: tuple[str, ...] = ()


def resolve(choice: Choice) -> Placement:
    """Choose what was left open; raise DeviceError for what was asked for and is not there."""
    device = _device(choice.device)
    settle_attention(device)
    dtype = _dtype(choice.dtype, device)
    attention = _attention(choice.attention, device, dtype)
    if choice.bits and not _imports("bitsandbytes"):
        raise DeviceError(f"Weights in {choice.bits} bits need bitsandbytes, which cannot be imported; pip install it.")
    if choice.bits and device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    weights = f"weights in {choice.bits} bits, computing in " if choice.bits else ""
    reason = f"{weights}{str(dtype).removeprefix('torch.')} and {attention} on {_why(choice, device, attention)}"
    plainer = PLAIN[PLAIN.index(attention) + 1 :] if attention in PLAIN else PLAIN
    return Placement(device, dtype, attention, reason, choice.bits, plainer if choice.attention == "auto" else ())


def settle_attention(device: torch.device) -> None:
    """Have SDPA on a GPU not take cuDNN's kernel, in all of this process.

    It plans anew for each number and length of rows, which in a conversation, and in training, is nearly every time.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def _why(choice: Choice, device: torch.device, attention: str) -> str:
    """Where it computes, and the reason of each choice that was left open."""
    on_gpu = device.type == "cuda"
    reasons = list[str]()
    if choice.device == "auto":
        reasons.append("a GPU is there" if on_gpu else "no GPU can be used")
    if choice.dtype == "auto":
        reasons.append("bfloat16 halves what is read" if on_gpu else "float32 gives the same replies everywhere")
    if choice.attention == "auto" and on_gpu and attention == "sdpa":
        reasons.append("flash-attn is not usable here")
    where = "the GPU" if on_gpu else "the CPU"
    return f"{where} ({'; '.join(reasons)})" if reasons else where


def _device(name: str) -> torch.device:
    """A GPU where there is one and nothing else was asked for."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name!r} is not a device; use auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name!r} is not supported; use auto, cpu or cuda.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("cuda was asked for, but no GPU can be used; use the device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{name} was asked for, but there are only {torch.cuda.device_count()} GPUs.")
    return device


def _dtype(name: Dtype, device: torch.device) -> torch.dtype:
    """bfloat16 halves what a GPU reads; few CPUs are faster in it, and float32 keeps replies the same everywhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name == "float16" and device.type == "cpu":
        raise DeviceError("float16 was asked for, but a CPU computes poorly in it; use float32 or bfloat16.")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _attention(name: Attention, device: torch.device, dtype: torch.dtype) -> str:
    """The newest flash-attn that is there and that the GPU can run; SDPA otherwise."""
    if name == "auto":
        return next((kernel for kernel in FLASH if not _obstacle(kernel, device, dtype)), "sdpa")
    if name in FLASH and (obstacle := _obstacle(name, device, dtype)):
        raise DeviceError(f"{name} was asked for, but {obstacle}; use the attention auto or sdpa.")
    return name


def _obstacle(kernel: str, device: torch.device, dtype: torch.dtype) -> str:
    """Why a flash-attn kernel cannot be used; "" where it can."""
    module, first, last = FLASH[kernel]
    if device.type != "cuda":
        return "it needs a GPU"
    if dtype == torch.float32:
        return "it computes in float16 and bfloat16 alone"
    if not first <= torch.cuda.get_device_capability(device)[0] <= last:
        return f"this GPU is not of compute capability {first} to {last}"
    return "" if _imports(module) else f"{module} cannot be imported"


def _imports(module: str) -> bool:
    """Whether it really imports: a build for another torch is found, but fails only when loaded."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError):
        return False
    return True

"""Where and how to compute: what is left open falls back, what is asked for is there or refused."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import get_args

import pytest
import torch

from app.settings import Settings
from core.device import Attention, Bits, Choice, Dtype, resolve
from core.errors import DeviceError


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has one GPU of compute capability 9.0, and no package for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    for module in ("flash_attn", "flash_attn_interface", "bitsandbytes"):
        monkeypatch.setitem(sys.modules, module, None)


def provide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, ModuleType(module))


def test_a_cpu_computes_in_float32_through_sdpa() -> None:
    found = resolve(Choice("cpu"))
    assert (found.dtype, found.attention, found.bits) == (torch.float32, "sdpa", 0)
    assert found.reason == "float32 and sdpa on the CPU (float32 gives the same replies everywhere)"
    assert resolve(Choice("cpu", "bfloat16", "eager")).dtype == torch.bfloat16


@pytest.mark.usefixtures("hopper")
def test_a_gpu_takes_the_newest_flash_attn_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve(Choice())
    assert (found.device.type, found.dtype, found.attention) == ("cuda", torch.bfloat16, "sdpa")
    assert found.reason.endswith("(a GPU is there; bfloat16 halves what is read; flash-attn is not usable here)")
    provide(monkeypatch, "flash_attn")
    assert resolve(Choice()).attention == "flash_attention_2"
    provide(monkeypatch, "flash_attn_interface")
    assert resolve(Choice()).attention == "flash_attention_3"
    assert resolve(Choice(dtype="float32")).attention == "sdpa"
    for generation in (8, 10):  # version 3 is made for one generation
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, now=generation: (now, 0))
        assert resolve(Choice()).attention == "flash_attention_2"
    assert resolve(Choice("cuda", "bfloat16", "sdpa")).reason == "bfloat16 and sdpa on the GPU"


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (Choice(attention="flash_attention_2"), "flash_attn cannot be imported"),
        (Choice(attention="flash_attention_2", dtype="float32"), "float16 and bfloat16 alone"),
        (Choice("cuda:3"), "only 1 GPUs"),
        (Choice(bits=4), "need bitsandbytes"),
        (Choice("cpu", bits=8), "need bitsandbytes"),
        (Choice("cpu", attention="flash_attention_3"), "it needs a GPU"),
        (Choice("cpu", "float16"), "a CPU computes poorly in it"),
        (Choice("tpu-9"), "use auto"),
        (Choice("mps"), "use auto"),
    ],
)
def test_what_is_asked_for_and_not_there_is_refused(choice: Choice, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence) as refused:
        resolve(choice)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("hopper")
def test_an_older_gpu_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    with pytest.raises(DeviceError, match="not of compute capability 8 to 99"):
        resolve(Choice(attention="flash_attention_2"))


@pytest.mark.usefixtures("hopper")
def test_few_bits_are_said_and_need_a_numbered_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch, "bitsandbytes")
    found = resolve(Choice(bits=4))
    assert (found.device, found.bits) == (torch.device("cuda", 0), 4)
    assert found.reason.startswith("weights in 4 bits, computing in bfloat16")


@pytest.mark.parametrize(("name", "kind"), [("dtype", Dtype), ("attention", Attention), ("bits", Bits)])
def test_the_settings_offer_what_there_is(name: str, kind: object) -> None:
    assert get_args(Settings.model_fields[name].annotation) == get_args(kind)

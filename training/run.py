"""One run's model, optimiser and progress: made, saved, resumed. Knows files; the loop is in train.py."""

from __future__ import annotations

import os
import time
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from core.base import Base
from core.checkpoint import load_checkpoint
from core.config import GeneratorConfig
from core.device import Placement, settle_attention
from core.generator import GatedGenerator
from core.origin import Origin
from core.sizes import generator_config_of
from training.calibration import calibrate
from training.config import TrainConfig
from training.growth import broadened, deepened, widened
from training.muon import Muon

READ_WITH = ("weight_scale", "weight_shape")
CHECKPOINT, TOKENIZER, PRETRAINED = "checkpoint.safetensors", "tokenizer", "base.json"


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Run:
    """Base and generator, trained jointly, with their optimiser; the base reads in `dtype` (see `fast_dtype`)."""

    def __init__(
        self,
        config: TrainConfig,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.manual_seed(config.seed)
        settle_attention(device)
        self.config, self.tokenizer = config, tokenizer
        model = LlamaForCausalLM(_base_config(config, tokenizer)).to(device)
        if device.type == "cpu":
            model.set_attn_implementation("eager")  # SDPA's backward takes four times as long for such short rows
        self.base = Base(
            _in_bfloat16(model) if dtype == torch.bfloat16 else model, config.target, config.before, config.after
        )
        self.base.model.requires_grad_(config.base_lr > 0)
        self.generator = GatedGenerator(generator_config_of(self.base, config.state_size)).to(device)
        self.modules = nn.ModuleDict({"base": model, "generator": self.generator})
        self.progress = Progress()

    @cached_property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """One for matrices and one for all else."""
        return _optimizers(self.modules, self.config, self.base.dtype)

    @property
    def _copied(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters of the base that are kept in float32, and those that are computed with, where they are others."""
        kept, used = self.modules["base"], self.base.model
        return ([], []) if kept is used else (list(kept.parameters()), list(used.parameters()))

    @torch.no_grad()
    def show_weights(self) -> None:
        """Compute with the weights as they are now."""
        kept, used = self._copied
        if kept:
            torch._foreach_copy_(used, kept)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those of the parameters that the optimisers step."""
        loss.backward()
        for kept, used in zip(*self._copied, strict=True):
            if used.grad is not None:
                kept.grad = used.grad.float() if kept.grad is None else kept.grad.add_(used.grad)
                used.grad = None

    def begin_from(self, folder: Path) -> None:
        """Take the weights of a model folder with the same tokenizer, of the same size or smaller."""
        start = load_checkpoint(Origin(str(folder)), Placement(self.base.device, torch.float32, "sdpa", "training"))
        depths = len(start.base.layers), len(self.base.layers)
        widths = start.generator.config.key_size, self.generator.config.key_size
        self._check_reach(start.generator.config, folder)
        base = deepened(_own(start.base.model), *depths)
        generator = widened(deepened(start.generator.state_dict(), *depths), *widths)
        self.modules["base"].load_state_dict(broadened(base, self.modules["base"].state_dict()))
        self.generator.load_state_dict(broadened(generator, self.generator.state_dict()))
        self.show_weights()

    def begin_with(self, base: Path, sample: Tensor) -> None:
        """Take the weights of a pretrained base, and a generator fitted to what it reads in rows (R, T) of tokens."""
        self.modules["base"].load_state_dict(_own(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)))
        self.show_weights()
        calibrate(self.base, self.generator, sample.to(self.base.device).split(8))

    def _check_reach(self, config: GeneratorConfig, folder: Path) -> None:
        """Raise ValueError where a generator changes other layers, or another half of them, than this run's."""
        theirs, ours = ((one.target, one.before, one.after) for one in (config, self.generator.config))
        if theirs != ours:
            raise ValueError(
                f"The generator in {folder} has (target, before, after) = {theirs}, and this run {ours}; give it those."
            )

    def compile(self) -> None:
        """Fuse operations, for any number and length of rows; the parts with hooks stay as they are."""
        parts = (part for layer in self.base.layers for part in self._compilable(layer))
        for part in (*parts, self.base.decoder.norm):
            part.compile(dynamic=True)

    def _compilable(self, layer: Any) -> list[Any]:
        """What has no hook in it: on a GPU as much as can be in one piece, on a CPU norms and MLPs."""
        on_gpu, target = self.base.device.type == "cuda", self.base.target
        hooked = any(layer is one for one in self.base.target_layers)
        if on_gpu and not hooked:
            return [layer]
        attention = [layer.self_attn] if on_gpu and target == "mlp" else []
        mlp = [] if hooked and target == "mlp" else [layer.mlp]
        return [layer.input_layernorm, layer.post_attention_layernorm, *attention, *mlp]

    @property
    def flops_per_token(self) -> float:
        """Model FLOPs of training on one token, at most: 6 a parameter, 4 one that stays; attention is not counted."""
        used = (*self.base.model.parameters(), *self.generator.parameters())
        return sum((6.0 if one.requires_grad else 4.0) * one.numel() for one in used)

    def save(self) -> None:
        """Write weights, optimiser and progress so that a kill at any moment leaves one whole checkpoint."""
        tensors = {f"weights.{name}": value for name, value in self.modules.named_parameters()}
        for which, optimizer in enumerate(self.optimizers):
            for i, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{i}.{name}": value for name, value in state.items()}
        path = self.config.out / CHECKPOINT
        progress = {name: str(value) for name, value in vars(self.progress).items()}
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path.with_suffix(".new"), metadata=progress)
        os.replace(path.with_suffix(".new"), path)

    def resume(self) -> bool:
        """Load the checkpoint of an earlier run in the same folder, if there is one."""
        path = self.config.out / CHECKPOINT
        if not path.exists():
            return False
        tensors = load_file(path)
        weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
        with torch.no_grad():
            for name, parameter in self.modules.named_parameters():
                parameter.copy_(weights[name])
        self.show_weights()
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.optimizers]
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, which, i, name = key.split(".")
                states[int(which)].setdefault(int(i), {})[name] = value
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        with safe_open(path, "pt") as file:
            stored = file.metadata()
        self.progress = Progress(int(stored["step"]), int(stored["tokens"]), float(stored["seconds"]))
        return True


def _in_bfloat16(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """What passes go through: a copy, whose norms are one kernel each on a GPU.

    There a step of a small base waits for its kernels to be launched: on an H100 one of 48,000 tokens took 0.16 s so,
    one of 32,000 with autocast 0.20 s. Two cores with bfloat16 units wait for memory, and autocast casts every input of
    every product: steps of the shipped base were a quarter longer with it.
    """
    computing = deepcopy(model)
    for parameter in computing.parameters():  # positions stay in float32
        parameter.data = parameter.data.bfloat16()
    for norm in (part for part in computing.modules() if isinstance(part, LlamaRMSNorm)):
        norm.forward = partial(_rms_norm, norm)
    return computing


def _rms_norm(norm: Any, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _own(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights; older transformers (5.17) leave beside them what those that were kept in few bits were read with."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(READ_WITH)}


def fast_dtype(device: torch.device) -> torch.dtype:
    """The faster number type for matrix products: processors without bfloat16 units take 100 times as long in it."""
    if device.type == "cuda":
        return torch.bfloat16
    return max((torch.bfloat16, torch.float32), key=lambda dtype: matmul_rate(device, dtype))


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of a product of random matrices that fill the device: the ceiling of a training's rate."""
    size = 8192 if device.type == "cuda" else 512
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(_seconds_of_product(matrix) for _ in range(5))  # the first one also sets the kernel up


def _seconds_of_product(matrix: Tensor) -> float:
    wait = torch.cuda.synchronize if matrix.is_cuda else lambda: None
    wait()
    started = time.perf_counter()
    _ = matrix @ matrix
    wait()
    return time.perf_counter() - started


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that an earlier start of the run has trained."""
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def _base_config(config: TrainConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """The base's sizes: those of the pretrained one, if the run goes on from one."""
    if (kept := config.out / PRETRAINED).exists():
        sizes = LlamaConfig.from_pretrained(kept)
        vars(sizes).pop("quantization_config", None)  # how its weights were kept is no part of what is trained
        return sizes
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.hidden_size * 8 // 3 // 32 * 32,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )


def _optimizers(modules: nn.ModuleDict, config: TrainConfig, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for matrices; AdamW for embeddings, which decay, and for norms, gates, scalars, which do not.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both.
    """
    embeddings = modules["base"].get_parameter("model.embed_tokens.weight")
    matrices, others = list[dict[str, Any]](), list[dict[str, Any]]()
    for part, share in (("base", config.base_lr), ("generator", 1.0)):
        parameters = [p for p in modules[part].parameters() if p is not embeddings]
        matrices.append({"params": [p for p in parameters if p.ndim == 2], "share": share})
        others.append({"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0, "share": share})
    others.insert(0, {"params": [embeddings], "weight_decay": config.weight_decay, "share": config.base_lr})
    return [
        Muon(matrices, config.lr, config.weight_decay, dtype),
        torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), fused=True),
    ]

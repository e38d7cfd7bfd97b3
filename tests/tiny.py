"""A two-layer random model with a real tokenizer, made in a second: small enough for every test to have its own."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.base import Base
from core.checkpoint import Checkpoint, save_checkpoint
from core.config import GeneratorConfig
from core.engine import Engine
from core.generator import GatedGenerator
from training.tokenizer import train_tokenizer

TEXTS = [
    "Hello, my name is Marta and I live in Vienna.",
    "What is my name? Your name is Marta.",
    "I like sushi, 12 times!",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Some 300 tokens: all bytes, the roles, a few merges."""
    return train_tokenizer(TEXTS * 5, 320)


def tiny_model(vocab_size: int = 320) -> LlamaForCausalLM:
    """Two layers, d 32, float32, random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_generator() -> GatedGenerator:
    """Random, with a B large enough for the adapter to be seen in the logits."""
    torch.manual_seed(1)
    generator = GatedGenerator(GeneratorConfig(2, 32, 32, 32, key_size=16, value_size=16, window=64))
    for layer in generator.layers:
        torch.nn.init.normal_(layer.B, std=0.5)
        torch.nn.init.normal_(layer.gate, std=0.5)
    return generator.eval().requires_grad_(False)


def tiny_engine() -> Engine:
    """A whole engine in memory."""
    tokenizer = tiny_tokenizer()
    return Engine(Checkpoint("tiny", "f" * 64, Base(tiny_model(len(tokenizer))), tiny_generator(), tokenizer))


def tiny_folder(folder: Path) -> Path:
    """A model folder as the bundled one is, to be opened by `load_engine`."""
    tokenizer = tiny_tokenizer()
    save_checkpoint(folder, tiny_model(len(tokenizer)), tiny_generator(), tokenizer)
    return folder

"""A tiny random model of every family that a memory can be given to, and a generator that fits each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import transformers as tf
from transformers import PreTrainedModel

from core.base import Base
from core.generator import GatedGenerator
from core.sizes import generator_config_of

COMMON = {"vocab_size": 320, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
LLAMA_LIKE = {
    **COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
WIDE_HEADS = {**LLAMA_LIKE, "head_dim": 16}  # what enters the projection is wider than what leaves it
ALTERNATING = {**WIDE_HEADS, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
SEEING = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "Llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**LLAMA_LIKE)),
    "Mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**LLAMA_LIKE, sliding_window=None)),
    "Qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**LLAMA_LIKE)),
    "Qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**WIDE_HEADS)),
    "Gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**ALTERNATING)),
    "Gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**ALTERNATING)),
    "Gemma3-that-sees": lambda: tf.Gemma3ForConditionalGeneration(
        tf.Gemma3Config(text_config=tf.Gemma3TextConfig(**ALTERNATING), vision_config=SEEING, mm_tokens_per_image=4)
    ),
    "Phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**LLAMA_LIKE)),
    "Phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**LLAMA_LIKE)),
    "SmolLM3": lambda: tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**LLAMA_LIKE)),
    "GPT-NeoX": lambda: tf.GPTNeoXForCausalLM(
        tf.GPTNeoXConfig(
            **COMMON,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
        )
    ),
    "GPT-2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=4, n_positions=256)),
}


def model_of(family: str) -> PreTrainedModel:
    """Two layers, d 32, float32, random, the same each time."""
    torch.manual_seed(0)
    return FAMILIES[family]().eval().requires_grad_(False)


def generator_for(base: Base) -> GatedGenerator:
    """Random, with a B large enough for the adapter to be seen in the logits."""
    torch.manual_seed(1)
    generator = GatedGenerator(replace(generator_config_of(base, 16), window=64))
    for layer in generator.layers:
        torch.nn.init.normal_(layer.B, std=0.5)
        torch.nn.init.normal_(layer.gate, std=0.5)
    return generator.eval().requires_grad_(False)

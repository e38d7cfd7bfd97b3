"""`python -m training.trimming SOURCE OUT --corpora DIR`: a pretrained base cut down to what a bundle has room for.

Keeps the tokens that the corpora use, with the ones they are merged from, so that words of kept tokens are cut as
before; and those layers without which the loss on talk rises least, one after the other (Men et al. 2024, "ShortGPT",
by loss in place of similarity). What is left reads badly until it was trained on. SOURCE is a Llama-like checkpoint
with a byte-level BPE tokenizer, such as SmolLM2's; with `--gguf FILE` a folder that holds such a file.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from training.packing import laid_in_rows
from training.run import fast_dtype
from training.sources import Sources
from training.tokenizer import END, PAD, ROLES, TEMPLATE

SPECIAL = (PAD, ROLES["user"], END, ROLES["assistant"], ROLES["system"])
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_start|>")  # what each begins as
NAMES = ("", "user", "", "Ġassistant", "system")  # and is told apart by


def kept_tokens(described: dict[str, Any], counts: Counter[str], size: int) -> list[str]:
    """At most `size` tokens of a described BPE, in its order: every byte, then the most frequent with their parts."""
    vocabulary = described["model"]["vocab"]
    parts = {"".join(pair): pair for pair in described["model"]["merges"]}
    kept = {token for token in vocabulary if len(token) == 1}
    for token, _ in counts.most_common():
        wanted = _with_parts(token, parts) - kept
        if len(kept) + len(wanted) <= size:
            kept |= wanted
    return sorted(kept, key=vocabulary.__getitem__)


def _with_parts(token: str, parts: dict[str, Sequence[str]]) -> set[str]:
    found, waiting = set[str](), [token]
    while waiting:
        found.add(each := waiting.pop())
        waiting += parts.get(each, ())
    return found


def trimmed_tokenizer(described: dict[str, Any], kept: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer with only these tokens, after our own special ones, and with our chat template."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *kept))}
    merges = [pair for pair in described["model"]["merges"] if {*pair, "".join(pair)} <= vocabulary.keys()]
    model = described["model"] | {"vocab": vocabulary, "merges": merges}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described | {"model": model, "added_tokens": []})),
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(ROLES.values()),
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def trimmed_words(embeddings: Tensor, vocabulary: dict[str, int], kept: Sequence[str]) -> Tensor:
    """The embeddings of the special tokens, made of those that did their work, and of the kept ones."""
    special = [
        embeddings[vocabulary[mark]] + sum(embeddings[vocabulary[n]] for n in [name] if n)
        for mark, name in zip(MARKS, NAMES, strict=True)
    ]
    return torch.stack([*special, *embeddings[[vocabulary[token] for token in kept]]])


@torch.no_grad()
def kept_layers(model: LlamaForCausalLM, rows: Tensor, count: int) -> list[int]:
    """Which `count` layers to keep, so that the loss on rows (R, T) is least after each that goes; the ends stay."""
    kept = list(range(len(model.model.layers)))
    while len(kept) > count:
        losses = {gone: _loss(model, rows, [layer for layer in kept if layer != gone]) for gone in kept[1:-1]}
        kept.remove(min(losses, key=losses.__getitem__))
    return kept


def _loss(model: LlamaForCausalLM, rows: Tensor, layers: Sequence[int]) -> float:
    whole = model.model.layers
    model.model.layers = nn.ModuleList(whole[layer] for layer in layers)
    try:
        logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
    finally:
        model.model.layers = whole
    return float(cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten()))


def trim(model: LlamaForCausalLM, layers: Sequence[int], words: Tensor, context_length: int) -> LlamaForCausalLM:
    """A model of these layers, which knows these words and is told of positions up to `context_length`.

    ValueError for a model whose first and last weights are not the same.
    """
    if not model.config.tie_word_embeddings:
        raise ValueError("The base reads and writes words with different weights; only tied ones are trimmed.")
    # How the weights were kept before they were opened is no part of them any more.
    described = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    config = type(model.config).from_dict(
        described
        | {"num_hidden_layers": len(layers), "vocab_size": len(words), "max_position_embeddings": context_length}
        | {"bos_token_id": None, "pad_token_id": SPECIAL.index(PAD), "eos_token_id": SPECIAL.index(END)}
    )
    trimmed = LlamaForCausalLM(config)
    trimmed.model.norm.load_state_dict(model.model.norm.state_dict())
    trimmed.model.embed_tokens.weight.data.copy_(words)
    for place, layer in zip(trimmed.model.layers, layers, strict=True):
        place.load_state_dict(model.model.layers[layer].state_dict())
    return trimmed


def main() -> None:
    """Trim, and say which layers are left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--gguf", help="the name of a GGUF file in SOURCE; needs the package gguf")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocab-size", type=int, default=12_288)
    parser.add_argument("--context-length", type=int, default=2048)
    arguments = parser.parse_args()
    where: dict[str, Any] = {"gguf_file": arguments.gguf} if arguments.gguf else {}
    model = AutoModelForCausalLM.from_pretrained(
        arguments.source, dtype=fast_dtype(torch.device("cpu")), **where
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.source, **where)
    texts = [" " + text for text in Sources(arguments.corpora).texts(Random(0), 60_000)]
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = kept_tokens(described, counted(tokenizer, texts), arguments.vocab_size - len(SPECIAL))
    tokens = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
    layers = kept_layers(model, laid_in_rows(tokens, 12, 128), arguments.layers)
    words = trimmed_words(model.get_input_embeddings().weight, described["model"]["vocab"], kept)
    trim(model, layers, words, arguments.context_length).save_pretrained(arguments.out)
    trimmed_tokenizer(described, kept).save_pretrained(arguments.out)
    print(f"Layers {layers} and {len(words)} tokens are left.")


def counted(tokenizer: Any, texts: Sequence[str]) -> Counter[str]:
    """How often each token is used."""
    encoded = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return Counter(token for text in encoded for token in text.tokens)


if __name__ == "__main__":
    main()

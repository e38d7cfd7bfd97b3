"""A base cut down: its words are cut as before, its layers are those that matter, and it opens again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.tiny import tiny_model
from tests.training.small import write_corpora
from training import trimming
from training.tokenizer import END, PAD, ROLES
from training.trimming import MARKS, SPECIAL, kept_layers, kept_tokens, trim, trimmed_tokenizer, trimmed_words

TEXTS = ["the river is wide and the goat deep", "an assistant of the river, wide and deep", "user", "system"] * 5


def source_tokenizer() -> PreTrainedTokenizerFast:
    """As SmolLM2's is made: byte-level BPE, whose marks of a conversation come first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    marks = list(dict.fromkeys(MARKS))
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(source_tokenizer().backend_tokenizer.to_str())
    return found


def test_words_of_kept_tokens_are_cut_as_before(described: dict[str, Any]) -> None:
    whole = source_tokenizer()
    river = Counter(whole.tokenize(" the river is wide"))
    kept = kept_tokens(described, river, 256 + 20)
    trimmed = trimmed_tokenizer(described, kept)
    assert trimmed.tokenize(" the river is wide") == whole.tokenize(" the river is wide")
    assert len(trimmed) == len(kept) + len(SPECIAL) < len(whole)
    assert trimmed.decode(trimmed(" an assistant, élan!")["input_ids"]) == " an assistant, élan!"


def test_no_token_is_kept_without_its_parts(described: dict[str, Any]) -> None:
    parts = {"".join(pair): set(pair) for pair in described["model"]["merges"]}
    few, more = (kept_tokens(described, Counter({"Ġriver": 5, "Ġwide": 3}), 256 + room) for room in (1, 20))
    assert "Ġriver" not in few and len(few) <= 257
    assert "Ġriver" in more
    assert all(parts[token] <= set(more) for token in more if token in parts)


def test_the_chat_template_is_ours(described: dict[str, Any]) -> None:
    trimmed = trimmed_tokenizer(described, kept_tokens(described, Counter(), 256))
    ids = trimmed.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert [trimmed.convert_ids_to_tokens(ids)[i] for i in (0, -2, -1)] == [ROLES["user"], END, ROLES["assistant"]]
    assert (trimmed.pad_token, trimmed.pad_token_id) == (PAD, SPECIAL.index(PAD))


def test_a_role_begins_as_the_mark_and_the_name_that_did_its_work() -> None:
    known = [*dict.fromkeys(MARKS), "user", "Ġassistant", "system", "a"]
    vocabulary, embeddings = {token: number for number, token in enumerate(known)}, torch.eye(7)
    words = trimmed_words(embeddings, vocabulary, ["a"])
    assert torch.equal(words[SPECIAL.index(ROLES["assistant"])], embeddings[1] + embeddings[4])
    assert torch.equal(words[SPECIAL.index(END)], embeddings[2])
    assert torch.equal(words[-1], embeddings[6])


def test_layers_that_do_nothing_go_first() -> None:
    model = deep_model(5)
    for layer in (1, 3):
        silent = model.model.layers[layer]
        for projection in (silent.self_attn.o_proj, silent.mlp.down_proj):
            projection.weight.zero_()
    # Its own likeliest words, so that whatever changes them costs.
    rows = model.generate(torch.arange(5, 13)[:, None], max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert kept_layers(model, rows, 3) == [0, 2, 4]
    assert len(model.model.layers) == 5


def test_a_trimmed_model_computes_with_what_is_left() -> None:
    model, ids = deep_model(3), torch.tensor([[6, 7, 8]])
    words = model.model.embed_tokens.weight[:100]
    model.config.quantization_config = {"quant_method": "gguf"}
    trimmed = trim(model, [0, 1, 2], words, 64)
    assert not hasattr(trimmed.config, "quantization_config")
    torch.testing.assert_close(trimmed(ids).logits, model(ids).logits[..., :100])
    assert (trimmed.config.vocab_size, trimmed.config.max_position_embeddings) == (100, 64)
    assert not torch.equal(trim(model, [0, 2], words, 64)(ids).logits, trimmed(ids).logits)
    with pytest.raises(ValueError, match="reads and writes words with different weights"):
        trim(tiny_model(), [0, 1], words, 64)


def test_the_command_writes_a_base_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = source_tokenizer()
    deep_model(3, len(tokenizer)).save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    corpora = write_corpora(tmp_path / "corpora")
    flags = ["--corpora", str(corpora), "--layers", "2", "--vocab-size", "300"]
    monkeypatch.setattr(sys, "argv", ["trimming", str(tmp_path / "source"), str(tmp_path / "out"), *flags])
    trimming.main()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path / "out")) <= 300


def deep_model(layers: int, words: int = 320) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = tiny_model(words).config
    config.num_hidden_layers, config.initializer_range, config.tie_word_embeddings = layers, 0.2, True
    return LlamaForCausalLM(config).eval().requires_grad_(False)

"""The tokenizer that training makes: its size, its control tokens, its round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from tests.tiny import TEXTS, tiny_tokenizer
from training.run import TOKENIZER, load_tokenizer
from training.tokenizer import END, PAD, ROLES, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_vocabulary_is_no_larger_than_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    assert 256 + 2 + len(ROLES) < len(tokenizer) <= 320


def test_padding_is_the_first_token_and_the_end_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.eos_token) == (PAD, 0, END)


def test_every_control_token_is_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    control = [PAD, END, *ROLES.values()]
    assert [len(ids(tokenizer, token)) for token in control] == [1] * len(control)


@pytest.mark.parametrize("text", [" Marta", "two  spaces", "naïve 😀 日本", "\t\n", "it's 2024"])
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_digits_are_tokens_of_their_own(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(ids(train_tokenizer([*TEXTS, "2024 2024 2024"] * 50, 400), "2024")) == 4


def test_a_word_is_the_same_at_the_start_of_a_message_as_within(tokenizer: PreTrainedTokenizerBase) -> None:
    said = tokenizer.apply_chat_template([{"role": "user", "content": "Marta, Marta"}], return_dict=True)["input_ids"]
    name = ids(tokenizer, " Marta")
    assert said[1 : 1 + len(name)] == name


def test_the_same_texts_train_the_same_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tiny_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_a_saved_tokenizer_has_the_template_and_tokens(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / TOKENIZER)
    opened = load_tokenizer(tmp_path / TOKENIZER)
    assert opened.chat_template == tokenizer.chat_template
    assert ids(opened, "<|user|> Hello, Marta<|end|>") == ids(tokenizer, "<|user|> Hello, Marta<|end|>")

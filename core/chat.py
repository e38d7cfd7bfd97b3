"""From messages to tokens and back, through the tokenizer's chat template.

What a user types never becomes a control token: the template's own are the only ones in a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from core.errors import PromptError

if TYPE_CHECKING:  # transformers takes seconds to import, and a message needs none of it
    from transformers import PreTrainedTokenizerBase


class Message(NamedTuple):
    """One side's text: `role` is "system", "user" or "assistant"."""

    role: str
    text: str


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply: bool) -> list[int]:
    """Token ids of a conversation; with `reply`, up to where the assistant's next words begin.

    Raise PromptError for text that has no UTF-8 form (lone surrogates).
    """
    for message in messages:
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"The message has a broken character at {error.start}; remove it and send again."
            ) from error
    conversation = [{"role": message.role, "content": message.text} for message in messages]
    encoded = tokenizer.apply_chat_template(
        conversation, add_generation_prompt=reply, tokenize=True, return_dict=True, sanitize_control_tokens=True
    )
    return list(encoded["input_ids"])

"""From messages to tokens and back, through the tokenizer's chat template.

What a user types never becomes a control token: the template's own are the only ones in a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import TemplateError

from core.errors import PromptError

if TYPE_CHECKING:  # transformers takes seconds to import, and a message needs none of it
    from transformers import PreTrainedTokenizerBase

DAY = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""What the date is for templates that write it (Llama 3, SmolLM 3), on every day: a turn that is folded again later has
to be the same tokens. It is the day that Llama's own template has where it is told none."""


class Message(NamedTuple):
    """One side's text: `role` is "system", "user" or "assistant"."""

    role: str
    text: str


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply: bool) -> list[int]:
    """Token ids of a conversation; with `reply`, up to where the assistant's next words begin.

    Where the template has no place for a system message, its text begins the person's next one. Raise PromptError for
    text that has no UTF-8 form (lone surrogates), and for roles in an order that the template refuses.
    """
    for message in messages:
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"The message has a broken character at {error.start}; remove it and send again."
            ) from error
    try:
        return _templated(tokenizer, messages, reply)
    except TemplateError:  # Gemma's and older Mistrals' have no place for a system message
        merged = _without_system(messages)
    try:
        return _templated(tokenizer, merged, reply)
    except TemplateError as error:
        raise PromptError(f"The model's chat template does not take this conversation: {error}.") from error


def _templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], reply: bool) -> list[int]:
    conversation = [{"role": message.role, "content": message.text} for message in messages]
    template = tokenizer.get_chat_template()
    encoded = tokenizer.apply_chat_template(
        conversation,
        chat_template=DAY + template if "strftime_now" in template else template,
        add_generation_prompt=reply,
        tokenize=True,
        return_dict=True,
        sanitize_control_tokens=True,
        enable_thinking=False,  # Qwen 3 and SmolLM 3 would think aloud, in words that are folded
    )
    return list(encoded["input_ids"])


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The same with what a system message says at the start of the person's next one."""
    told, rest = list[str](), list[Message]()
    for role, text in messages:
        if role == "system":
            told.append(text)
            continue
        rest.append(Message(role, "\n\n".join([*told, text]) if role == "user" else text))
        told = [] if role == "user" else told
    return rest

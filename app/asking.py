"""What an engine is asked for one reply: which messages fit, with which adapter, and how words are chosen.

Plain values and one pure function; knows neither storage nor whose turn it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from app.errors import BadMessage
from core.chat import Message

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine


@dataclass(frozen=True)
class Given:
    """What a program says in place of the conversation's last turns, as (role, text), and of the settings."""

    recent: Sequence[tuple[str, str]] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def messages(self) -> list[Message]:
        """What was said before, as the model reads it."""
        return [Message(role, text) for role, text in self.recent]


class Asking(NamedTuple):
    """What an engine replies to: the adapter, what is read, and how words are chosen."""

    adapter: Adapter | None
    messages: Sequence[Message]
    sampling: Sampling


def fitted(engine: Engine, recent: Sequence[Message], text: str) -> tuple[list[Message], int]:
    """The last turns of a conversation and the message, as much as the model can read; and their tokens.

    What the system says at the start is never left out. Raise BadMessage for a message that is too long beside it.
    """
    start = next((i for i, message in enumerate(recent) if message.role != "system"), len(recent))
    # Turns have two sides, so a step of two leaves whole ones; the last step leaves the message alone.
    for left_out in (*range(start, len(recent), 2), len(recent)):
        messages = [*recent[:start], *recent[left_out:], Message("user", text)]
        tokens = engine.count_tokens(messages)
        if tokens <= engine.max_prompt_tokens:
            return messages, tokens
    raise BadMessage(
        f"The message has {tokens:,} tokens and the model reads at most {engine.max_prompt_tokens:,}; shorten it."
    )

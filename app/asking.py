"""What an engine is asked for one reply: which messages fit, with which adapter, and how words are chosen.

Plain values and pure functions; knows neither storage nor whose turn it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from app.errors import BadMessage
from app.intake import checked_strength, checked_text
from core.chat import Message
from storage.records import Manner

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine


HOTTEST = 2.0  # temperature
PLAIN = Manner()
"""How a conversation is answered of which nobody said how."""


@dataclass(frozen=True)
class Given:
    """What a program says in place of the conversation's last turns, as (role, text), and of the settings.

    Where it says nothing but what the system does, that stands before the conversation's own.
    """

    recent: Sequence[tuple[str, str]] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, own: Sequence[Message]) -> list[Message]:
        """What was said before, as the model reads it; `own` are the conversation's last turns."""
        said = [Message(role, text) for role, text in self.recent]
        return said if any(message.role != "system" for message in said) else [*said, *own]


class Asking(NamedTuple):
    """What an engine replies to: the adapter, what is read, and how words are chosen."""

    adapter: Adapter | None
    messages: Sequence[Message]
    sampling: Sampling


def checked_manner(manner: Manner, longest: int) -> Manner:
    """Return how a conversation is to be answered; raise BadStrength or BadMessage where it cannot be so."""
    warmth = manner.temperature
    if warmth is not None and not 0 <= warmth <= HOTTEST:
        raise BadMessage(f"The temperature cannot be {warmth!r}; give a number from 0 (no chance) to {HOTTEST:g}.")
    told = checked_text(manner.instructions, longest) if manner.instructions.strip() else ""
    return Manner(checked_strength(manner.strength), told, warmth)


def instructed(manner: Manner, recent: Sequence[Message]) -> Sequence[Message]:
    """The last turns after a manner's instructions, unless a program has given others."""
    given = any(message.role == "system" for message in recent)
    return recent if given or not manner.instructions else [Message("system", manner.instructions), *recent]


def fitted(engine: Engine, recent: Sequence[Message], text: str) -> tuple[list[Message], int]:
    """The last turns of a conversation and the message, as much as the model can read; and their tokens.

    What the system says at the start is never left out. Raise BadMessage for a message that is too long beside it.
    Costs a count of all tokens, and of some two or three times as many where not all fit.
    """
    start = next((i for i, message in enumerate(recent) if message.role != "system"), len(recent))
    # Turns have two sides, so a step of two leaves whole ones; the last step leaves the message alone.
    places = [*range(start, len(recent), 2), len(recent)]

    @cache
    def read_from(place: int) -> tuple[list[Message], int]:
        messages = [*recent[:start], *recent[place:], Message("user", text)]
        return messages, engine.count_tokens(messages)

    def fits(place: int) -> bool:
        return read_from(place)[1] <= engine.max_prompt_tokens

    # By halves: a program may send a long history, and what is left out at the front makes what is left shorter.
    first = 0 if fits(places[0]) else bisect_left(places, True, 1, key=fits)
    if first < len(places):
        return read_from(places[first])
    said, (_, tokens) = "message and its instructions have" if start else "message has", read_from(places[-1])
    raise BadMessage(
        f"The {said} {tokens:,} tokens and the model reads at most {engine.max_prompt_tokens:,}; shorten it."
    )

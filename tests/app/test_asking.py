"""What a reply reads: as many of the last turns as fit, and always what the system says."""

from __future__ import annotations

import pytest

from app.asking import fitted
from app.errors import BadMessage
from core.chat import Message
from tests.tiny import tiny_engine

TURNS = [Message(role, f"{role} says number {i}") for i in range(12) for role in ("user", "assistant")]
SYSTEM = Message("system", "Be brief.")


def test_what_the_system_says_stays_and_the_oldest_turns_go() -> None:
    engine = tiny_engine()
    messages, tokens = fitted(engine, [SYSTEM, *TURNS], "Hello")
    assert messages[0] == SYSTEM and messages[-1] == Message("user", "Hello")
    assert messages[1].role == "user" and 2 < len(messages) < len(TURNS) + 2
    assert tokens == engine.count_tokens(messages) <= engine.max_prompt_tokens


def test_turns_go_in_pairs_where_there_is_no_system() -> None:
    messages, _ = fitted(tiny_engine(), TURNS, "Hello")
    assert messages[0].role == "user" and messages[0] in TURNS[2:]


def test_a_message_that_does_not_fit_beside_the_system_is_refused() -> None:
    with pytest.raises(BadMessage, match="shorten it"):
        fitted(tiny_engine(), [Message("system", "word " * 400)], "Hello")

"""What a reply reads: as many of the last turns as fit, and always what the system says."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from app.asking import fitted
from app.errors import BadMessage
from core.chat import Message
from core.engine import Engine
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


def one_by_one(engine: Engine, recent: Sequence[Message], text: str) -> list[Message] | None:
    """What is left once the oldest turns were left out one after the other."""
    start = next((i for i, message in enumerate(recent) if message.role != "system"), len(recent))
    for left_out in (*range(start, len(recent), 2), len(recent)):
        messages = [*recent[:start], *recent[left_out:], Message("user", text)]
        if engine.count_tokens(messages) <= engine.max_prompt_tokens:
            return messages
    return None


def any_history(dice: Random) -> list[Message]:
    """Turns of any length, also with the system among them, or half a turn."""
    roles = ["user", "assistant"] * dice.randrange(12) + dice.choice([[], ["user"], ["system", "assistant"]])
    said = [Message(role, "word " * int(dice.expovariate(0.2))) for role in roles]
    return [SYSTEM, *said] if dice.random() < 0.3 else said


def test_what_is_left_is_what_leaving_out_one_turn_after_the_other_leaves() -> None:
    engine, dice = tiny_engine(), Random(0)
    lengths = set[int]()
    for _ in range(150):
        recent, text = any_history(dice), "Hello " * dice.choice([1, 10, 30, 99])
        if (expected := one_by_one(engine, recent, text)) is None:
            with pytest.raises(BadMessage):
                fitted(engine, recent, text)
        else:
            assert fitted(engine, recent, text) == (expected, engine.count_tokens(expected))
            lengths.add(len(recent) - len(expected))
    assert len(lengths) > 8


def test_a_long_history_is_not_read_again_for_every_turn_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, counted = tiny_engine(), list[int]()
    count = engine.count_tokens

    def counting(messages: Sequence[Message]) -> int:
        counted.append(count(messages))
        return counted[-1]

    monkeypatch.setattr(engine, "count_tokens", counting)
    messages, _ = fitted(engine, TURNS * 20, "Hello")
    assert len(messages) > 5
    assert sum(counted) < 3 * counted[0]

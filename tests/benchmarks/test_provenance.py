"""The provenance benchmark: it counts only right replies, and a trace to another turn as a miss."""

from __future__ import annotations

import pytest

from benchmarks.provenance import TIMED_TURNS, seconds, told, traced
from core.engine import Engine
from tests.tiny import tiny_engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def answering(engine: Engine, monkeypatch: pytest.MonkeyPatch, values: list[str], first: int) -> None:
    """An engine that answers with these values and traces every reply to turn `first`."""
    monkeypatch.setattr(engine, "reply_all", lambda *_: values)
    monkeypatch.setattr(
        engine,
        "influences",
        lambda parts, asked: [[float(i == first) for i in range(len(parts.pinned))] for _ in asked],
    )


def test_a_memory_is_the_same_for_the_same_seed() -> None:
    assert told("0-1", 3, 2) == told("0-1", 3, 2)
    assert len(told("0-1", 3, 2).facts) == 3


def test_a_right_reply_is_traced_and_a_wrong_one_does_not_count(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = told("0-2", 2, 0)
    fact = memory.facts[0]
    first = next(i for i, turn in enumerate(memory.turns) if fact.value.lower() in turn[0].text.lower())
    answering(engine, monkeypatch, [fact.value, "something else"], first)
    assert traced(engine, memory) == [True]


def test_a_trace_to_another_turn_is_a_miss(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = told("0-3", 1, 6)
    fact = memory.facts[0]
    other = next(i for i, turn in enumerate(memory.turns) if fact.value.lower() not in turn[0].text.lower())
    answering(engine, monkeypatch, [fact.value], other)
    assert traced(engine, memory) == [False]


def test_a_memory_without_a_right_reply_is_not_traced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(engine, monkeypatch, ["something else"], 0)
    assert traced(engine, told("0-3", 1, 6)) == []


def test_a_trace_is_timed_with_as_many_turns_as_it_says(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    monkeypatch.setattr(engine, "influences", lambda parts, *_: lengths.append(len(parts.pinned)))
    assert seconds(engine, told("0-4", 3, TIMED_TURNS)) >= 0
    assert set(lengths) == {TIMED_TURNS}

"""The disagreements benchmark: what is counted, and that a tiny model goes through it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.ledger import turn_of
from app.readout import Answer
from benchmarks.disagreements import Seen, lived, looked_at, seen, summed, surprised, told
from storage.records import Entry, Turn
from tests.tiny import tiny_engine
from training.dialogues import Memory
from training.facts import Fact
from training.kinds import load_kinds

KIND = next(kind for kind in load_kinds(held_out=False) if kind.name == "home_city")


def turn(text: str) -> Turn:
    return turn_of(Entry(0, text, "I see.", 0.0, 0.0, 0.0, None, None), 0)


def answered(rival: str | None) -> list[Answer]:
    other = Answer("Where do I live?", "You live in Rome.", 9.0, turn(rival)) if rival else None
    return [Answer("Where do I live?", "You live in Oslo.", 9.0, turn("I moved to Oslo."), other)]


@pytest.mark.parametrize(
    ("old", "rival", "expected"),
    [
        ("Rome", "I live in Rome.", Seen(True, True, True)),
        ("Rome", "I like chess.", Seen(True, True, False)),
        ("Rome", None, Seen(True, False, False)),
        ("", "I live in Rome.", Seen(False, True, False)),
    ],
)
def test_only_the_turn_with_the_old_value_is_a_right_rival(old: str, rival: str | None, expected: Seen) -> None:
    assert seen(replace(Fact(KIND, "Oslo"), old=old), answered(rival)) == expected


def test_shares_are_of_the_changed_and_of_the_named() -> None:
    found = summed(
        [Seen(True, True, True), Seen(True, False, False), Seen(False, True, False), Seen(False, False, False)]
    )
    assert (found["right_answers"], found["changed"], found["named"]) == (4, 2, 2)
    assert (found["named_of_changed"], found["right_of_named"]) == (0.5, 0.5)


def test_nothing_seen_is_no_share() -> None:
    assert summed([])["right_of_named"] is None


def test_a_model_that_knows_nothing_is_looked_at_without_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.disagreements.FACTS", 2)
    engine = tiny_engine()
    assert list(looked_at(engine, *lived(engine, 0, 1))) == []
    assert [one.position for one in told(engine, ["Hello.", "I live in Rome."])] == [0, 1]


def test_what_changes_a_fact_is_told_apart_from_what_is_new() -> None:
    engine = tiny_engine()
    memory = Memory([], [replace(Fact(KIND, "Oslo"), old="Rome")])
    turns = told(engine, ["I live in Rome.", "Hello.", "I live in Oslo."])
    (only,) = surprised(engine, memory, turns)
    assert only.changes

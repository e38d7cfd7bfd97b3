"""The capacity benchmark: its correlation, and what one memory is asked."""

from __future__ import annotations

import math
from random import Random

import pytest

from benchmarks.capacity import ASKED, Held, one_memory, rank_correlation, row
from core.engine import Engine
from tests.tiny import tiny_engine


def test_a_rank_correlation_sees_order_and_nothing_else() -> None:
    assert rank_correlation([1, 2, 3, 10], [1, 4, 9, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2, 3], [5, 5, 7, 6]) == pytest.approx(7 / 9)
    assert math.isnan(rank_correlation([1, 2, 3], [1, 1, 1]))


def test_a_memory_is_asked_for_no_more_facts_than_may_be() -> None:
    engine = tiny_engine()
    held = one_memory(engine, Random(0), 20, 3)
    assert (held.facts, held.distance, held.asked) == (20, 3, ASKED)
    assert 0 < held.fullness <= 1
    assert one_memory(engine, Random(0), 20, 3) == held


def test_a_right_reply_counts_as_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "reply_all", lambda _, asked, __: ["nothing"] * len(asked))
    assert one_memory(tiny_engine(), Random(0), 2, 0).recalled == 0
    monkeypatch.setattr("benchmarks.capacity.is_right", lambda *_: True)
    assert one_memory(tiny_engine(), Random(0), 2, 0).recalled == 2


def test_memories_of_one_load_are_summed() -> None:
    assert row([Held(6, 10, 0.2, 6, 6), Held(6, 10, 0.4, 6, 3)]) == {
        "facts": 6,
        "turns_after": 10,
        "fullness": 0.3,
        "recall": 0.75,
        "interval": pytest.approx((0.4677, 0.9111), abs=1e-3),
    }

"""The form of what the speed benchmark reports; no test looks at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.settings import Settings
from benchmarks.speed import TURN_TOKENS, WHOLE, kv_bytes, memory_is_worse, run
from benchmarks.timing import interleaved, turn_of
from core.chat import encode
from core.engine import Engine
from tests.tiny import tiny_engine

KV_BYTES_A_TOKEN = 2 * 2 * 2 * 8 * 4  # key and value, layers, key-value heads, head dimension, float32


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture(scope="module")
def result(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(engine, Settings(model=tmp_path_factory.mktemp("model")), repeats=1, earlier=3)


def test_the_result_is_json_and_says_where_it_came_from(result: dict[str, Any]) -> None:
    assert {"model", "device", "commit"} <= set(json.loads(json.dumps(result, allow_nan=False)))


def test_a_fold_is_held_against_both_forward_passes(result: dict[str, Any]) -> None:
    row = result["fold"][0]
    assert row["fold/forward"] == pytest.approx(row["fold"] / row["forward"], abs=0.001)
    assert row["fold/encode_forward"] == pytest.approx(row["fold"] / row["encode_forward"], abs=0.001)
    assert len(result["fold"]) == len(TURN_TOKENS)


def test_the_first_piece_is_timed_with_adapters_made_anew_and_at_hand(result: dict[str, Any]) -> None:
    assert [row["adapter"] for row in result["first_piece"]] == ["made anew", "at hand"]
    assert all(row["full"] > 0 and row["new"] > 0 for row in result["first_piece"])


def test_a_history_the_base_cannot_read_has_no_time(result: dict[str, Any]) -> None:
    assert [row["turns"] for row in result["history"]] == [10, 20, 40]
    assert result["history"][-1]["prompt"] is None
    assert result["history"][-1]["memory"] > 0
    assert result["history"][-1]["prompt_whole"] is None


def test_a_whole_reply_is_timed_with_the_tokens_that_it_has(result: dict[str, Any]) -> None:
    row = result["history"][0]
    assert row["whole"] > 0
    assert row["memory_tokens"] > WHOLE // 2  # random weights seldom come to an end; told in words anew, they are many


def test_a_turn_of_64_tokens_has_at_most_64(engine: Engine) -> None:
    assert 48 < len(encode(engine.tokenizer, turn_of(engine, 64), reply=False)) <= 64


def test_the_bytes_of_a_key_value_cache_follow_from_the_config(engine: Engine) -> None:
    assert kv_bytes(engine, 10) == 10 * KV_BYTES_A_TOKEN


def test_the_bounds_of_a_memory_that_does_not_pay_are_where_the_bytes_cross() -> None:
    row = {"turns": 10, "tokens": 100, "made_anew": 2.0, "state_bytes": 1000, "kv_bytes": 5000, "text_bytes": 400}
    row |= {"whole": 3.0, "prompt_whole": 4.0}
    worse = memory_is_worse([row | {"prompt": 1.0}, row | {"turns": 20, "prompt": None}])
    assert worse["slower_at_turns"] == [10]
    assert worse["slower_whole_at_turns"] == []
    assert (worse["larger_than_text_below"], worse["larger_than_kv_below"]) == (50, 20)


def test_compared_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    took = interleaved({"a": lambda: side("a", 0.001), "b": lambda: side("b", 0.002)}, 2)
    assert order == ["a", "b"] * 3
    assert took == {"a": 1.0, "b": 2.0}

"""The perplexity benchmark on the tiny model: what is held against what, and the form of its result."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from benchmarks import perplexity as benchmark
from benchmarks.dialogues import Conversation
from benchmarks.perplexity import WAYS, Load, mentioned, remember, small_talk_messages, third_sessions, unrelated
from benchmarks.scoring import Scorer
from core.chat import Message
from core.engine import Engine
from tests.tiny import tiny_engine, tiny_folder
from training.remarks import held_out_asides, load_small_talk


def talk(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


SESSIONS = [
    Conversation(
        talk("Where do I live?", "In Vienna.", "And my name?"),
        (talk("I live in Vienna.", "How nice!"), talk("My name is Marta.")),
    ),
    Conversation(talk("Hello again!", "Hello."), (talk("I like sushi.", "So do I."),)),
]
OTHERS = [Conversation(talk("It rains.", "Take a coat.")), Conversation(talk("Do you like films?", "Yes, a lot."))]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture(scope="module")
def load(engine: Engine) -> Load:
    return Load.draw(engine, "0")


def by_hand(engine: Engine, way: str) -> float:
    """Perplexity of the sessions, all in one pass of the bare base or with its memory folded here."""
    losses: list[float] = []
    for messages, earlier in SESSIONS:
        state, told = engine.empty_state(), ""
        for session in earlier:
            state = engine.fold(state, session)  # each session of the sample is one turn
            told += _written(session)
        adapter = engine.materialise(state) if way == "memory" else None
        losses += _losses(engine, told if way == "prompt" else "", _written(messages), adapter)
    return math.exp(sum(losses) / len(losses))


def _written(messages: Sequence[Message]) -> str:
    return "".join(f"<|{message.role}|> {message.text}<|end|>" for message in messages)


def _losses(engine: Engine, before: str, text: str, adapter: Any) -> list[float]:
    told, ids = (engine.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, text))
    with torch.inference_mode(), engine.base.adapted(adapter):
        chances = engine.base.model(input_ids=torch.tensor([told + ids])).logits[0].double().log_softmax(-1)
    at = [i for i in range(1, len(ids)) if ids[i] not in engine.tokenizer.all_special_ids]
    return [-float(chances[len(told) + i - 1, ids[i]]) for i in at]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_what_it_says(engine: Engine, way: str) -> None:
    result = third_sessions(Scorer(engine, 100), SESSIONS, 0)
    assert result["perplexity"][way] == pytest.approx(by_hand(engine, way), rel=1e-4)
    assert result["dialogues"] == 2


def test_the_gap_closed_and_the_differences_follow_from_the_perplexities(engine: Engine) -> None:
    result = third_sessions(Scorer(engine, 100), SESSIONS, 0)
    memory, none, prompt = (by_hand(engine, way) for way in WAYS)
    closed = (none - memory) / (none - prompt) if none > prompt else None
    assert result["gap_closed"] == (closed if closed is None else pytest.approx(closed, abs=0.001))
    for pair, value in {"none - memory": none - memory, "none - prompt": none - prompt}.items():
        difference = result["difference"][pair]
        assert difference["value"] == pytest.approx(value, abs=0.02)
        assert difference["interval"][0] - 0.02 <= difference["value"] <= difference["interval"][1] + 0.02


def test_a_prompt_too_short_for_the_history_says_what_it_holds(engine: Engine) -> None:
    scorer, earlier = Scorer(engine, 100), talk(*["My name is Marta and I live in Vienna."] * 40)
    held = third_sessions(scorer, [Conversation(talk("Hello!"), (earlier,))], 0)["prompt_holds"]
    room = engine.base.context_length - 100
    assert held == pytest.approx(room / len(scorer.ids(earlier)), abs=0.001)
    assert third_sessions(scorer, SESSIONS, 0)["prompt_holds"] == 1.0


def test_remembering_folds_turn_by_turn(engine: Engine) -> None:
    turns = [talk("I live in Vienna.", "How nice!"), talk("My name is Marta.", "Hello.")]
    state = engine.fold(engine.fold(engine.empty_state(), turns[0]), turns[1])
    expected, made = engine.materialise(state), remember(engine, [*turns[0], *turns[1]])
    assert all(torch.equal(one, other) for one, other in zip(made.lora_B, expected.lora_B, strict=True))


def test_a_load_holds_fifty_facts_and_what_they_were_before(load: Load) -> None:
    assert load.facts == 50
    assert len(load.values) > 30
    assert "" not in load.values


def test_the_ratio_is_that_of_a_full_memory_to_an_empty_one(engine: Engine, load: Load) -> None:
    scorer = Scorer(engine, 100)
    row = unrelated(scorer, OTHERS, [load], 0)
    empty = [_losses(engine, "", _written(each.messages), None) for each in OTHERS]
    full = [_losses(engine, "", _written(each.messages), load.adapter) for each in OTHERS]
    tokens = sum(map(len, empty))
    assert row["tokens"] == tokens
    assert row["empty"] == pytest.approx(math.exp(sum(map(sum, empty)) / tokens), rel=1e-4)
    assert row["full"] == pytest.approx(math.exp(sum(map(sum, full)) / tokens), rel=1e-4)
    assert row["ratio"] == pytest.approx(row["full"] / row["empty"], abs=0.001)
    assert row["ratio"] != 1.0


def test_a_memory_of_nothing_does_no_harm(engine: Engine) -> None:
    nothing = Load(0, frozenset(), engine.materialise(engine.empty_state()))
    row = unrelated(Scorer(engine, 100), OTHERS, [nothing], 0)
    assert (row["ratio"], row["interval"]) == (1.0, (1.0, 1.0))


def test_small_talk_is_forty_different_messages_the_same_for_a_seed() -> None:
    texts = small_talk_messages(Random(1))
    assert len(set(texts)) == len(texts) == 40
    assert texts == small_talk_messages(Random(1)) != small_talk_messages(Random(2))
    assert texts[0] == load_small_talk()(Random(1))[0].user


def test_a_value_is_mentioned_as_a_whole_word() -> None:
    assert mentioned("Is your cat in Oslo?", frozenset({"Oslo", "cat", "cattle", "slo"})) == {"Oslo", "cat"}


def test_a_value_that_is_said_without_the_memory_too_does_not_count(
    engine: Engine, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = {True: "Oslo and Rome!", False: "Rome!"}
    monkeypatch.setattr(benchmark, "answer", lambda engine, adapter, text: replies[adapter is not None])
    counts = [
        benchmark.unasked(engine, ["Hi.", "Rain?"], [load._replace(values=frozenset(values))])["mention"]
        for values in ({"Rome"}, {"Rome", "Oslo"})
    ]
    assert counts == [0, 2]


def test_a_denial_of_what_nobody_asked_for_counts_with_the_memory_and_without(
    engine: Engine, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = {("Rain?", True): "You haven't told me.", ("Soup?", True): "I don't know.", ("Soup?", False): "No idea."}
    monkeypatch.setattr(
        benchmark, "answer", lambda engine, adapter, text: replies.get((text, adapter is not None), "Oh!")
    )
    result = benchmark.unasked(engine, ["Hi.", "Rain?", "Soup?"], [load])
    assert (result["messages"], result["mention"], result["denied"], result["denied_without"]) == (3, 0, 2, 1)
    assert [row["message"] for row in result["replies"]] == ["Rain?", "Soup?"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["perplexity", *map(str, arguments)])
    return benchmark.main()


def saved(path: Path, conversations: Sequence[Conversation]) -> Path:
    def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
        return [message._asdict() for message in messages]

    records = (
        {"turns": turns(c.messages), "previous_sessions": [{"turns": turns(s)} for s in c.earlier]}
        for c in conversations
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "--msc": saved(tmp_path / "msc.jsonl", SESSIONS),
        "--plain": saved(tmp_path / "rain.test.jsonl", OTHERS),
        "--model": tiny_folder(tmp_path / "tiny"),
    }


def test_the_command_prints_tables_and_one_json_line_last(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = [part for pair in files.items() for part in pair]
    assert call(monkeypatch, *flags, "--window", "64", "--device", "cpu", "--json", tmp_path / "out.json") == 0
    printed = capsys.readouterr().out.strip().splitlines()
    result = json.loads(printed[-1])
    assert result == json.loads((tmp_path / "out.json").read_text())
    assert {"msc", "plain", "small_talk", "asides", "facts", "window", "seed"} <= set(result)
    assert {"model", "device", "commit"} <= set(result)
    assert list(result["plain"]) == ["rain.test"]
    assert (result["small_talk"]["messages"], result["asides"]["messages"]) == (40, len(held_out_asides()))


@pytest.mark.parametrize("flag", ["--msc", "--plain"])
def test_a_bad_file_ends_in_a_sentence(
    files: dict[str, Path], flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files[flag].write_text("no conversation\n")
    assert call(monkeypatch, *(part for pair in files.items() for part in pair)) == 2
    assert f"Line 1 of {files[flag].name} is not a conversation" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--msc", "--plain", "--model"])
def test_a_file_that_is_not_there_ends_in_a_sentence(
    files: dict[str, Path], flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files[flag] = files[flag].parent / "nowhere"
    assert call(monkeypatch, *(part for pair in files.items() for part in pair)) == 2
    assert capsys.readouterr().err.startswith("Perplexity cannot be measured: ")

"""The recall benchmark: what counts as right, and the form of its result; no test looks at a share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.settings import Settings
from benchmarks import recall
from benchmarks.cases import KINDS, Case, Probe
from benchmarks.recall import WAYS, fitting, is_admission, is_right, run, told_in_prompt
from core.adapter import Adapter
from core.chat import Message
from core.decoding import Sampling
from core.engine import Engine
from tests.tiny import tiny_engine, tiny_folder
from training.corpora import Turn

LIVE = Probe("Where do I live?", ("Oslo",), (), "recall")
MOVED = Probe("Where do I live?", ("Oslo",), ("Rome",), "update")
CASES = [
    Case("one", (("I live in Rome.",), ("Now in Oslo.",)), (MOVED, Probe("My age?", ("not told",), (), "abstain"))),
    Case("two", (("I live in Oslo.",),), (LIVE,)),
]


def probe(*any_of: str, none_of: tuple[str, ...] = ()) -> Probe:
    return Probe("?", any_of, none_of, "recall")


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("You live in Oslo.", "Oslo"),
        ("OSLO!", "Oslo"),
        ("you like cats", "cat"),
        ("Your size is 40.5.", "40.5"),
        ("I use C++", "C++"),
        ("It's in New York, I think", "new york"),
        ("Zoë it is", "zoë"),
        ("(Oslo)", "Oslo"),
    ],
)
def test_a_wanted_word_in_any_case_or_number_is_right(reply: str, wanted: str) -> None:
    assert is_right(reply, probe(wanted))


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [("education", "cat"), ("Oslove", "Oslo"), ("boxes", "box"), ("14", "4"), ("", "Oslo"), ("40x5", "40.5")],
)
def test_part_of_a_word_is_not_right(reply: str, wanted: str) -> None:
    assert not is_right(reply, probe(wanted))


def test_one_of_several_wanted_words_is_enough() -> None:
    assert is_right("You have two.", probe("2", "two"))


@pytest.mark.parametrize("reply", ["Oslo, not Rome", "oslo ROME", "From Rome to Oslo", "Oslo and two Romes"])
def test_an_unwanted_word_makes_it_wrong(reply: str) -> None:
    assert not is_right(reply, probe("Oslo", none_of=("Rome",)))


def test_part_of_an_unwanted_word_does_no_harm() -> None:
    assert is_right("Oslo is romelike", probe("Oslo", none_of=("Rome",)))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(model=tiny_folder(tmp_path_factory.mktemp("shelf") / "tiny"), device="cpu", reply_tokens=4)


@pytest.fixture(scope="module")
def result(settings: Settings) -> dict[str, Any]:
    return run(CASES, settings)


def test_the_result_is_json_and_says_where_it_came_from(result: dict[str, Any]) -> None:
    again = json.loads(json.dumps(result, allow_nan=False))
    assert set(again) == {*WAYS, "model", "device", "guidance", "commit"}
    assert again["model"].startswith("tiny ")
    assert again["device"] == "cpu float32"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_has_a_share_and_a_count_for_every_kind(result: dict[str, Any], way: str) -> None:
    assert set(result[way]) == {*KINDS, "n", "interval", "false_admission"}
    assert result[way]["n"] == {"recall": 1, "update": 1, "rare": 0, "abstain": 1}


@pytest.mark.parametrize("way", WAYS)
def test_a_share_is_between_none_and_all_or_missing(result: dict[str, Any], way: str) -> None:
    assert result[way]["rare"] is None
    assert all(0.0 <= result[way][kind] <= 1.0 for kind in ("recall", "update", "abstain"))


def test_one_way_alone_gives_what_it_gives_beside_the_others(settings: Settings, result: dict[str, Any]) -> None:
    alone = run(CASES, settings, ways=("memory",))
    assert "prompt" not in alone
    assert alone["memory"] == result["memory"]


def test_many_cases_at_once_come_back_in_their_order_and_each_with_its_own() -> None:
    cases = [replace(CASES[1], id=str(number)) for number in range(50)]
    came = list(recall.at_once(lambda case, way: [case.id, way], cases, WAYS))
    assert came == [(case, way, [case.id, way]) for case in cases for way in WAYS]


def test_a_later_turn_is_folded_and_in_the_prompt(engine: Engine) -> None:
    later = (Turn("Hi!", "Hello Bob."),)
    case = replace(CASES[1], later=later)
    assert [message.text for message in told_in_prompt(engine, case)][-2:] == ["Hi!", "Hello Bob."]
    before, after = (recall.adapter_after(engine, engine.empty_state(), turns) for turns in ((), later))
    assert any(not torch.equal(one, other) for one, other in zip(before.lora_B, after.lora_B, strict=True))


def test_what_is_typed_before_a_question_gets_replies_that_stand_in_its_prompt(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[str]] = []

    def reply(adapter: Adapter | None, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        prompts.append([message.text for message in messages])
        yield f"reply {len(prompts)}"

    monkeypatch.setattr(engine, "reply", reply)
    said = recall.ask(engine, None, [], [replace(LIVE, before=("Hi.", "Who is Tom?")), MOVED])
    assert said == ["reply 3", "reply 4"]
    assert prompts[2:] == [["Hi.", "reply 1", "Who is Tom?", "reply 2", LIVE.ask], [MOVED.ask]]


def test_an_admission_is_told_from_an_answer() -> None:
    assert is_admission("You haven't told me where you live.")
    assert not is_admission("You live in Oslo.")


def test_running_it_leaves_nothing_in_the_settings_database(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'own.db'}"})
    run(CASES[1:], own)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def test_a_history_too_long_loses_its_oldest_turns(engine: Engine) -> None:
    turns = [Message(role, f"word {i}") for i in range(40) for role in ("user", "assistant")]
    kept = fitting(engine, [*turns, Message("user", "last")])
    assert 1 < len(kept) < 81
    assert kept == [*turns, Message("user", "last")][-len(kept) :]
    assert kept[0].role == "user"


def test_a_history_in_the_prompt_alternates(engine: Engine) -> None:
    told = told_in_prompt(engine, CASES[0])
    assert [message.role for message in told] == ["user", "assistant"] * 2
    assert [message.text for message in told[::2]] == ["I live in Rome.", "Now in Oslo."]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["recall", *arguments])
    return recall.main()


def test_the_command_prints_a_table_and_one_json_line_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "results" / "recall.json"
    code = call(monkeypatch, "--generate", "1", "--facts", "1", "--model", str(settings.model), "--json", str(out))
    printed = capsys.readouterr().out.strip().splitlines()
    assert code == 0
    assert [row.split()[0] for row in printed[1:-1]] == [*WAYS, "probes"]
    assert json.loads(printed[-1]) == json.loads(out.read_text())


def test_ways_that_are_not_run_can_be_kept_of_the_same_weights_and_cases(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "recall.json"
    command = ["--generate", "1", "--facts", "1", "--model", str(settings.model), "--json", str(out)]
    assert call(monkeypatch, *command, "--keep") == 2  # nothing is there yet
    assert call(monkeypatch, *command) == 0
    before = json.loads(out.read_text()) | {"commit": "long ago"}
    before["prompt"]["recall"], before["memory"]["recall"] = 0.123, 0.456
    out.write_text(json.dumps(before))
    assert call(monkeypatch, *command, "--ways", "memory", "none", "--keep") == 0
    after = json.loads(out.read_text())
    assert after["prompt"] == before["prompt"] | {"commit": "long ago", "device": "cpu float32", "guidance": 1.0}
    assert (after["memory"]["recall"] == 0.456, "commit" in after["none"]) == (False, False)
    assert call(monkeypatch, *command, "--ways", "memory", "--keep", "--seed", "1") == 2
    out.write_text(json.dumps(before | {"model": "another 0123"}))
    assert call(monkeypatch, *command, "--ways", "memory", "--keep") == 2
    assert json.loads(out.read_text())["model"] == "another 0123"
    said = capsys.readouterr().err
    assert "is of other cases" in said
    assert "answered by another 0123" in said


def test_cases_that_cannot_be_read_end_in_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "cases").write_text("no case\n")
    assert call(monkeypatch, "--cases", str(tmp_path / "cases"), "--model", str(settings.model)) == 2
    assert "Line 1 is not a recall case" in capsys.readouterr().err


def test_a_model_that_is_not_there_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert call(monkeypatch, "--generate", "1", "--model", str(tmp_path / "nowhere")) == 2


@pytest.mark.parametrize("arguments", [[], ["--generate", "0"], ["--generate", "1", "--cases", "file"]])
def test_cases_are_asked_for_one_way_or_the_other(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, *arguments)

"""The form of what the full-size benchmark reports, from its tiny geometry; no test looks at a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.geometry import MISTRAL, TINY
from benchmarks.gpu import TURN_TOKENS, run
from core.device import Choice, resolve

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft calls it
KINDS = ("published", "gated")
USERS = 3


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return run(TINY, resolve(Choice("cpu")), USERS, repeats=1)


def sides(rows: list[dict[str, Any]]) -> list[str]:
    return [row["side"] for row in rows]


def test_the_result_is_json_and_says_where_it_came_from(result: dict[str, Any]) -> None:
    again = json.loads(json.dumps(result, allow_nan=False))
    assert {"geometry", "users", "repeats", "attention", "bytes", "skipped", "commit"} <= set(again)
    assert (again["model"], again["device"]) == ("tiny random", "cpu float32")


def test_a_fold_of_each_length_is_held_against_the_bare_forward_pass(result: dict[str, Any]) -> None:
    assert [row["tokens"] for row in result["fold"] if row["side"] == "bare forward"] == [*TURN_TOKENS]
    ways = ("contribution", "into nothing", "into a memory")
    assert sides(result["fold"]) == ["bare forward", *(f"{kind}: {way}" for kind in KINDS for way in ways)] * 2


def test_an_adapter_is_held_against_the_bare_forward_pass(result: dict[str, Any]) -> None:
    assert sides(result["materialise"])[0] == "bare forward"
    assert {f"{kind}: adapter" for kind in KINDS} < set(sides(result["materialise"]))


@pytest.mark.parametrize("section", ["decode", "users_together"])
def test_replies_with_memory_and_through_peft_are_held_against_those_without(
    result: dict[str, Any], section: str
) -> None:
    ways = [f"{kind} memories{way}" for kind in KINDS for way in ("", " through peft")]
    assert sides(result[section]) == ["no memory", *ways]


@pytest.mark.parametrize("section", ["fold", "materialise", "decode", "users_together"])
def test_every_ratio_is_to_the_first_side_of_its_table(result: dict[str, Any], section: str) -> None:
    rows = result[section][: len(result[section]) // 2] if section == "fold" else result[section]
    assert rows[0]["ratio"] == 1
    assert all(row["ratio"] == pytest.approx(row["ms"] / rows[0]["ms"], abs=0.001) for row in rows)


@pytest.mark.parametrize(("section", "users"), [("decode", 1), ("users_together", USERS)])
def test_decoding_is_held_against_the_bytes_that_a_step_reads(result: dict[str, Any], section: str, users: int) -> None:
    bandwidth = result["copy_bytes_per_second"]
    embeddings = TINY.vocabulary * TINY.hidden_size * 4
    for row in result[section]:
        read = result["bytes"]["base"] - embeddings + row["adapter_bytes"]
        assert row["limit_ms"] == pytest.approx(1000 * read / bandwidth, abs=0.001)
        assert row["tokens_per_second"] == pytest.approx(1000 * users / row["ms"], rel=0.01)


def test_the_cpu_counts_no_peaks_and_the_result_says_so(result: dict[str, Any]) -> None:
    assert {row["peak_bytes"] for row in result["users_together"]} == {None}
    assert any("peak memory" in reason for reason in result["skipped"])


def test_without_peft_its_sides_are_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("benchmarks.gpu", "benchmarks.costs"):
        monkeypatch.setattr(f"{module}.peft_is_installed", lambda: False)
    result = run(TINY, resolve(Choice("cpu")), 1, repeats=1)
    assert sides(result["decode"]) == ["no memory", *(f"{kind} memories" for kind in KINDS)]
    assert any("peft" in reason for reason in result["skipped"])


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    return gpu.main()


def test_the_command_prints_tables_and_one_json_line_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "results" / "gpu.json"
    few = ("--geometry", "tiny", "--device", "cpu", "--users", "2", "--repeats", "1")
    assert call(monkeypatch, *few, "--json", str(out)) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert json.loads(printed[-1]) == json.loads(out.read_text())
    assert sum("x the limit" in line for line in printed) == 2 * (
        7 + 5
    )  # folds of two lengths, steps of one reply and of many


def test_full_size_without_a_gpu_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--geometry", MISTRAL.name, "--device", "cpu") == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "needs a GPU" in told.err


def test_memory_that_does_not_suffice_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu, "run", full)
    assert call(monkeypatch, "--geometry", "tiny", "--device", "cpu") == 2
    assert "fewer --users" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--users", "0"], ["--repeats", "0"], ["--geometry", "huge"]])
def test_what_cannot_be_measured_is_not_begun(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, *arguments)

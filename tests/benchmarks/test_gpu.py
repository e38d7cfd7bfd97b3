"""The form of what the full-size benchmark reports, from its tiny geometry; no test looks at a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import costs, gpu
from benchmarks.geometry import MISTRAL, TINY
from benchmarks.gpu import COMPILED, SECTIONS, TURN_TOKENS, run
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
    assert again["product_operations_per_second"]["float32"] > 0


def test_every_section_is_measured_but_the_compiled_ones_which_want_a_gpu(result: dict[str, Any]) -> None:
    measured = [name for name in SECTIONS if name not in COMPILED]
    assert [name for name in result if name in SECTIONS] == measured == [*result["seconds"]]
    assert result["failed"] == {}
    assert any("compiled" in reason for reason in result["skipped"])


def test_what_takes_a_decomposition_for_every_layer_comes_last_and_is_repeated_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [*SECTIONS][-2:] == ["materialise", "fold_decomposing"]
    asked = dict[str, int]()
    monkeypatch.setattr(costs, "fold", lambda *_, repeats, **__: asked.update(fold=repeats) or [])
    monkeypatch.setattr(costs, "materialise", lambda _, __, repeats: asked.update(materialise=repeats) or [])
    run(TINY, resolve(Choice("cpu")), 1, repeats=5, only=["materialise", "fold_decomposing"])
    assert asked == {"fold": 2, "materialise": 2}


def test_a_fold_of_each_length_is_held_against_the_bare_forward_pass(result: dict[str, Any]) -> None:
    assert [row["tokens"] for row in result["fold"] if row["side"] == "bare forward"] == [*TURN_TOKENS]
    plain = ["published: contribution", "published: into nothing"]
    plain += [f"gated: {way}" for way in ("contribution", "into nothing", "into a memory")]
    assert sides(result["fold"]) == ["bare forward", *plain] * 2
    assert sides(result["fold_decomposing"]) == ["bare forward", "published: into a memory"] * 2


def test_an_adapter_is_held_against_the_bare_forward_pass(result: dict[str, Any]) -> None:
    assert sides(result["materialise"])[0] == "bare forward"
    assert {f"{kind}: adapter" for kind in KINDS} < set(sides(result["materialise"]))


@pytest.mark.parametrize("section", ["decode", "users_together"])
def test_replies_with_memory_and_through_peft_are_held_against_those_without(
    result: dict[str, Any], section: str
) -> None:
    ways = [f"{kind} memories{way}" for kind in KINDS for way in ("", " through peft")]
    assert sides(result[section]) == ["no memory", *ways]


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in COMPILED])
def test_every_ratio_is_to_the_first_side_of_its_table(result: dict[str, Any], section: str) -> None:
    rows = result[section][: len(result[section]) // 2] if section.startswith("fold") else result[section]
    assert rows[0]["ratio"] == 1
    assert all(row["ratio"] == pytest.approx(row["ms"] / rows[0]["ms"], abs=0.001) for row in rows)


@pytest.mark.parametrize(("section", "users"), [("decode", 1), ("users_together", USERS)])
def test_decoding_is_held_against_what_a_step_reads_and_multiplies(
    result: dict[str, Any], section: str, users: int
) -> None:
    bandwidth, rate = result["copy_bytes_per_second"], result["product_operations_per_second"]["float32"]
    embeddings = TINY.vocabulary * TINY.hidden_size * 4
    weights = result["bytes"]["base"] - embeddings
    norms = 4 * TINY.hidden_size * (2 * TINY.layers + 1)
    for row in result[section]:
        read = weights + row["adapter_bytes"] + row["cache_bytes"]
        least = max(1000 * read / bandwidth, 1000 * 2 * users * (weights - norms) / 4 / rate)
        assert row["limit_ms"] >= least - 0.001
        if row["side"] == "no memory":
            assert row["limit_ms"] == pytest.approx(least, abs=0.001)
        assert row["tokens_per_second"] == pytest.approx(1000 * users / row["ms"], rel=0.01)


def test_the_cpu_counts_no_peaks_and_the_result_says_so(result: dict[str, Any]) -> None:
    assert {row["peak_bytes"] for row in result["users_together"]} == {None}
    assert any("peak memory" in reason for reason in result["skipped"])


def test_without_peft_its_sides_are_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("benchmarks.gpu", "benchmarks.costs"):
        monkeypatch.setattr(f"{module}.peft_is_installed", lambda: False)
    result = run(TINY, resolve(Choice("cpu")), 1, repeats=1, only=["decode"])
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
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    rows = {"fold": 2 * 6, "decode": 5, "users_together": 5, "sampled": 3, "fold_decomposing": 2 * 2}
    assert sum("x the limit" in line for line in printed) == sum(rows.values())


def test_what_was_measured_before_a_run_is_cut_off_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(costs, "decode_sampled", cut_off)
    out = tmp_path / "gpu.json"
    with pytest.raises(KeyboardInterrupt):
        run(TINY, resolve(Choice("cpu")), 1, repeats=1, only=["decode", "sampled", "materialise"], path=out)
    kept = json.loads(out.read_text())
    assert sides(kept["decode"])[0] == "no memory"
    assert not {"sampled", "materialise"} & set(kept)


def test_a_section_that_fails_is_named_and_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("no such argument\nand a long story")

    monkeypatch.setattr(costs, "decode_sampled", broken)
    few = ("--geometry", "tiny", "--device", "cpu", "--users", "1", "--repeats", "1")
    assert call(monkeypatch, *few, "--only", "materialise", "sampled") == 1
    told = capsys.readouterr()
    result = json.loads(told.out.strip().splitlines()[-1])
    assert result["failed"] == {"sampled": "no such argument"}
    assert told.err == "sampled: not measured (no such argument).\n"
    assert [name for name in result if name in SECTIONS] == ["materialise"]


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


@pytest.mark.parametrize("arguments", [["--users", "0"], ["--repeats", "0"], ["--geometry", "huge"], ["--only", "all"]])
def test_what_cannot_be_measured_is_not_begun(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, *arguments)

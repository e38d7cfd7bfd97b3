"""The loop: ends at its deadline with a checkpoint, goes on with workers as without, says how fast it was."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest
import torch

from tests.tiny import tiny_tokenizer
from tests.training.small import small_batcher, small_config, write_corpora
from training.codec import Codec
from training.config import TrainConfig
from training.remarks import load_small_talk
from training.run import CHECKPOINT, Progress, Run, matmul_rate
from training.sources import Sources
from training.train import LOG, author_of, everyday_author, follow_ups_of, main, speed, train

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # fewer cores than workers: slow only
CPU = torch.device("cpu")
HOUR = 60.0


def go_on(folder: Path, seconds: float, workers: int = 0, tokens: int = 20_000, settle: bool = False) -> Run:
    """Train what is in the folder for some seconds of a clock that ticks once whenever it is read."""
    config = replace(small_config(folder), workers=workers, tokens=tokens, save_minutes=HOUR)
    config = replace(config, settle=settle, minutes=seconds / 60)
    run, ticks = Run(config, tiny_tokenizer(), CPU), count()
    run.resume()
    train(run, small_batcher(Codec(run.tokenizer)), deadline=seconds, clock=lambda: float(next(ticks)))
    return run


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_a_run_stops_at_its_deadline_with_a_checkpoint(tmp_path: Path) -> None:
    stopped = go_on(tmp_path, seconds=10)
    assert 0 < stopped.progress.tokens < stopped.config.tokens
    again = Run(stopped.config, tiny_tokenizer(), CPU)
    assert again.resume()
    assert again.progress == stopped.progress
    assert len(records(tmp_path)) == stopped.progress.step


@pytest.mark.parametrize("settle", [False, True])
def test_a_start_that_settles_ends_with_a_low_rate(tmp_path: Path, settle: bool) -> None:
    run = go_on(tmp_path, seconds=40, tokens=200_000, settle=settle)
    share = run.optimizers[0].param_groups[0]["lr"] / run.config.lr
    assert run.progress.tokens < run.config.tokens / 2
    assert share < 0.6 if settle else share == min(1, run.progress.step / run.config.warmup_steps)


def test_a_stopped_run_goes_on_with_workers_as_without(tmp_path: Path) -> None:
    folders = [tmp_path / "alone", tmp_path / "workers"]
    runs = []
    for folder, workers in zip(folders, (0, 2), strict=True):
        folder.mkdir()
        go_on(folder, seconds=10, workers=workers)
        runs.append(go_on(folder, seconds=HOUR, workers=workers, tokens=4000))
    one, other = (dict(run.modules.named_parameters()) for run in runs)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert runs[0].progress.tokens == runs[1].progress.tokens >= 4000


def test_only_the_first_record_of_a_start_has_the_measured_rate(tmp_path: Path) -> None:
    go_on(tmp_path, seconds=10)
    first = len(records(tmp_path))
    go_on(tmp_path, seconds=10)
    rated = [record["step"] for record in records(tmp_path) if record.get("matmul_gflops", 0) > 0]
    assert rated == [1, first + 1]


def test_a_start_says_how_fast_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go_on(tmp_path, seconds=10)
    assert "of the measured matmul rate" in capsys.readouterr().out


def test_the_speed_is_of_this_start_alone() -> None:
    said = speed(Progress(5, 1000, 10.0), Progress(9, 3000, 20.0), flops_per_token=5e8, ceiling=1e12)
    assert said == "200 tokens/s, 100 model GFLOP/s, 10.0% of the measured matmul rate"


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    go_on(tmp_path, seconds=HOUR, tokens=1500)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    go_on(tmp_path, seconds=HOUR, tokens=1500)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


@pytest.mark.parametrize("base", [("--base", "NAME"), ("--base=NAME",)])
def test_a_generator_for_another_base_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *base, "--data", "absent.jsonl", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"absent\.jsonl cannot be read"):
        main()


def test_the_measured_rate_is_one_that_a_machine_can_have() -> None:
    assert 1e7 < matmul_rate(CPU, torch.float32) < 1e15


def test_everyday_talk_is_written_by_another_author(tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path)
    even = author_of(TrainConfig(tmp_path, corpora, wider=True), Sources(corpora))
    usual = everyday_author(even)
    assert usual.scenes and usual.slang and usual.together and usual.asked
    assert not (even.scenes or even.slang or even.together or even.asked)
    assert len(usual.kinds) > len(even.kinds) and len(usual.combined) > len(even.combined)
    asides = {load_small_talk("asides")(Random(seed))[0].user for seed in range(2000)}
    assert asides & {usual.chat(Random(seed))[0].user for seed in range(99)}
    assert not asides & {even.chat(Random(seed))[0].user for seed in range(99)}
    assert {*follow_ups_of(usual).asks} <= {*follow_ups_of(usual).kinds}

"""The scripts of training/runs/, with a stand-in for Python that notes what they ask for: only flags that there are."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from training.train import parse

RUNS = Path(__file__).parents[2] / "training" / "runs"
OTHERS = {"borrowed", "pack", "stages"}  # they begin no training but by these
NOTES = '#!/bin/sh\nprintf "%s\\n" "$*" >> "$NOTED"\n'


def trainings(tmp_path: Path, script: Path, **environment: str) -> list[list[str]]:
    """The arguments of each training that a script begins."""
    stand_in, noted = tmp_path / "python", tmp_path / "noted"
    stand_in.write_text(NOTES)
    stand_in.chmod(0o755)
    given = {**os.environ, "PYTHON": str(stand_in), "NOTED": str(noted), **environment}
    where = [str(tmp_path / name) for name in ("corpora", "out", "start")]
    subprocess.run(["bash", str(script), *where[: 2 if script.stem == "gpu" else 3]], env=given, check=True, timeout=30)
    calls = [shlex.split(line) for line in noted.read_text().splitlines() if line.startswith("-m training.train ")]
    return [call[2:] for call in calls]


@pytest.mark.parametrize("script", sorted(RUNS.glob("*.sh")), ids=lambda script: script.stem)
def test_a_run_asks_for_flags_that_there_are(tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)
    if script.stem in OTHERS:
        return
    begun = trainings(tmp_path, script)
    assert begun
    for arguments in begun:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        assert parse().corpora == tmp_path / "corpora"


@pytest.mark.parametrize("with_generator", [False, True])
def test_a_gpu_heals_a_base_alone_first(tmp_path: Path, with_generator: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "weights"
    (start / ("generator" if with_generator else "base")).mkdir(parents=True)
    begun = trainings(tmp_path, RUNS / "gpu.sh", START=str(start), TOKENS="1000000", SETTLE="1")
    configs = []
    for arguments in begun:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        configs.append(parse())
    *healing, last = configs
    assert [config.tokens for config in configs] == [20_000_000] * len(healing) + [1_000_000]
    assert (len(healing), last.start) == ((0, start) if with_generator else (1, None))
    assert last.pretrained == (start / "base" if with_generator else tmp_path / "out" / "healed" / "base")
    assert (last.everyday, last.settle, last.target) == (0.7, True, "mlp")

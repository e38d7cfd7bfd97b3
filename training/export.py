"""`python -m training.export RUN MODEL`: write the model folder of a run, in bfloat16, as the app opens it."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from core.checkpoint import fingerprint, save_checkpoint
from training.config import TrainConfig
from training.run import TOKENIZER, Run, load_tokenizer


def export(run_folder: Path, model_folder: Path) -> str:
    """Write base, tokenizer and generator; return the fingerprint."""
    stored = json.loads((run_folder / "run.json").read_text())
    values: dict[str, Any] = {
        f.name: Path(stored[f.name]) if f.type == "Path" else stored.get(f.name) for f in fields(TrainConfig)
    }
    run = Run(TrainConfig(**values | {"out": run_folder}), load_tokenizer(run_folder / TOKENIZER), torch.device("cpu"))
    if not run.resume():
        raise FileNotFoundError(f"{run_folder} holds no checkpoint yet.")
    save_checkpoint(model_folder, run.base.model, run.generator, run.tokenizer)
    return fingerprint(model_folder)


def main() -> None:
    """Export and print the fingerprint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    arguments = parser.parse_args()
    print(export(arguments.run, arguments.model))


if __name__ == "__main__":
    main()

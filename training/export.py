"""`python -m training.export RUN MODEL [--bits 8] [--guidance 1.25]`: write a run's model folder, as the app opens it.

In bfloat16, or the base in few bits (training.compression, which needs compressed-tensors).
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from core.checkpoint import MOST_GUIDANCE, fingerprint, save_checkpoint, save_guidance
from core.origin import Origin
from training.config import TrainConfig
from training.run import TOKENIZER, Run, load_tokenizer


def export(run_folder: Path, model_folder: Path, max_shard_size: str = "50GB") -> str:
    """Write base (in files of at most `max_shard_size`), tokenizer and generator; return the fingerprint."""
    stored = json.loads((run_folder / "run.json").read_text())
    values: dict[str, Any] = {
        f.name: Path(stored[f.name]) if f.type == "Path" else stored[f.name]
        for f in fields(TrainConfig)
        if f.name in stored
    }
    run = Run(TrainConfig(**values | {"out": run_folder}), load_tokenizer(run_folder / TOKENIZER), torch.device("cpu"))
    if not run.resume():
        raise FileNotFoundError(f"{run_folder} holds no checkpoint yet.")
    save_checkpoint(model_folder, run.base.model, run.generator, run.tokenizer, max_shard_size)
    return fingerprint(Origin(str(model_folder)).parts())


def export_in_bits(run_folder: Path, model_folder: Path, bits: int, max_shard_size: str = "50GB") -> str:
    """The same with the base in `bits` a weight; return the fingerprint."""
    from training.compression import compress  # its package is needed for nothing else

    with TemporaryDirectory() as folder:
        whole = Path(folder)
        export(run_folder, whole)
        compress(whole / "base", model_folder / "base", bits, max_shard_size)
        shutil.copytree(whole / "generator", model_folder / "generator", dirs_exist_ok=True)
    return fingerprint(Origin(str(model_folder)).parts())


def main() -> None:
    """Export and print the fingerprint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--max-shard-size", default="50GB", help="of the base's weight files, such as 14MB")
    parser.add_argument("--bits", type=int, choices=range(2, 9), help="of the base's weights (default: bfloat16)")
    parser.add_argument("--guidance", type=float, default=1.0, help="how far replies are guided by a memory")
    arguments = parser.parse_args()
    if not 1 <= arguments.guidance <= MOST_GUIDANCE:
        parser.error(f"--guidance is {arguments.guidance:g}; it has to be from 1 to {MOST_GUIDANCE:g}")
    where = arguments.run, arguments.model
    write = partial(export_in_bits, *where, arguments.bits) if arguments.bits else partial(export, *where)
    print(write(arguments.max_shard_size))
    save_guidance(arguments.model / "generator", arguments.guidance)


if __name__ == "__main__":
    main()

"""`python -m training.generator --base NAME_OR_FOLDER --data FILE... --out DIR [--config FILE]`: for any frozen base.

Trains a generator on documents (completion and reconstruction) and on questions about contexts, resumable at any
moment; `accelerate launch -m training.generator ...` spreads it over GPUs and machines. Leaves `DIR/generator`, which
`launch.py --model BASE --generator DIR/generator` opens.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tomllib
from dataclasses import asdict, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import AutoConfig, get_constant_schedule_with_warmup

from core.base import Base
from core.checkpoint import file_digest, load_generator, save_generator
from core.device import Placement, settle_attention
from core.errors import CheckpointError, CoreError, first_line
from core.generator import GatedGenerator, Generator, PublishedGenerator
from core.opening import load_base, load_tokenizer
from core.origin import Origin, folder_of
from core.published import save_published
from core.sizes import base_of, generator_of
from training.calibration import calibrate
from training.fitting import CHOICES, FitConfig, Fitting
from training.windows import Examples, read_entries, single

SAMPLED = 48, 192  # rows, and tokens in each, that a new generator is fitted to
LOG, RUN, CHECKPOINT, NEWER, OLDER = "log.jsonl", "run.json", "checkpoint", "checkpoint.new", "checkpoint.old"

MAY_CHANGE = ("steps", "epochs", "save_steps", "rows_at_once", "attention")
"""Of what a run records: what it may go on with another value of."""


class Fit:
    """One run: the generator, its optimiser, its examples, and how far it is."""

    def __init__(self, config: FitConfig, base: Base, generator: Generator, examples: Examples, out: Path) -> None:
        # The order of an epoch is its number's, so that a run goes on where it was.
        order = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed)
        each = config.batch // PartialState().num_processes
        self.accelerator = Accelerator(gradient_accumulation_steps=each, dataloader_config=order)
        self.config, self.out, self.base, self.examples = config, out, base, examples
        fitting = Fitting(base, generator.to(self.accelerator.device), config.rows_at_once)
        optimizer = torch.optim.AdamW(fitting.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        # The schedule is stepped once for each process, whatever their number.
        schedule = get_constant_schedule_with_warmup(optimizer, config.warmup_steps * self.accelerator.num_processes)
        loader = DataLoader(examples, batch_size=1, shuffle=True, collate_fn=single)
        self.fitting, self.optimizer, self.schedule, self.loader = self.accelerator.prepare(
            fitting, optimizer, schedule, loader
        )
        an_epoch = -(-len(self.loader) // each)
        self.steps = config.epochs * an_epoch if config.epochs else config.steps
        self.step = self.epoch = self.seen = 0
        self.accelerator.register_for_checkpointing(self)
        if kept := _kept(out):
            self._resume(kept)

    def _resume(self, kept: Path) -> None:
        try:
            self.accelerator.load_state(str(kept))
        except Exception as error:  # of safetensors, of torch, and of pickle: they share no root
            raise CheckpointError(
                f"The run in {kept} cannot be gone on with ({first_line(error)}); use another --out."
            ) from error

    def state_dict(self) -> dict[str, int]:
        """How far the run is: `seen` examples of this epoch."""
        return {"step": self.step, "epoch": self.epoch, "seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.step, self.epoch, self.seen = state["step"], state["epoch"], state["seen"]

    def train(self) -> None:
        """Step until the run is done; log every step and save now and then, and at the end."""
        bar = tqdm(total=self.steps, initial=self.step, unit="step", disable=not self.accelerator.is_main_process)
        while self.step < self.steps:
            self._train_epoch(bar)
        self._save()

    def _train_epoch(self, bar: Any) -> None:
        self.loader.set_epoch(self.epoch)
        self.examples.epoch = self.epoch
        losses = list[float]()
        for example in self.accelerator.skip_first_batches(self.loader, self.seen):
            with self.accelerator.accumulate(self.fitting):
                loss = self.fitting(example)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.fitting.parameters(), 1.0)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
            self.seen += 1
            losses.append(loss.item())
            if self.accelerator.sync_gradients:
                self._stepped(losses, bar)
                losses = []
            if self.step == self.steps:
                return
        self.epoch, self.seen = self.epoch + 1, 0

    def _stepped(self, losses: list[float], bar: Any) -> None:
        self.step += 1
        bar.update()
        if self.accelerator.is_main_process:
            with (self.out / LOG).open("a", encoding="utf-8") as log:
                print(json.dumps({"step": self.step, "loss": round(sum(losses) / len(losses), 4)}), file=log)
        if not self.step % self.config.save_steps:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint so that a kill at any moment leaves a whole one."""
        self.accelerator.save_state(str(self.out / NEWER))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(self.out / OLDER, ignore_errors=True)
            if (self.out / CHECKPOINT).is_dir():
                (self.out / CHECKPOINT).rename(self.out / OLDER)
            (self.out / NEWER).rename(self.out / CHECKPOINT)
            shutil.rmtree(self.out / OLDER, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def export(self, base: str) -> None:
        """Write the generator, for a base of this name, in the format of its kind."""
        generator = self.accelerator.unwrap_model(self.fitting).generator
        if not self.accelerator.is_main_process:
            return
        if isinstance(generator, GatedGenerator):
            save_generator(self.out / "generator", generator, base)
        elif isinstance(generator, PublishedGenerator):
            save_published(self.out / "generator", generator, self.base, base)


def main() -> None:
    """Train, or go on training, and export; end with one sentence where data or base cannot be used."""
    arguments, config = parse()
    try:
        run(arguments, config)
    except (CoreError, OSError, ValueError) as error:
        sys.exit(f"Nothing can be trained: {error}")


def run(arguments: argparse.Namespace, config: FitConfig) -> None:
    """One start of a run; what it cannot be is said before the base's weights are read and anything is written."""
    out: Path = arguments.out
    set_seed(config.seed)
    entries, processes = read_entries(arguments.data), Accelerator().num_processes
    if config.batch % processes:
        raise ValueError(f"batch is {config.batch}; it has to be a multiple of the {processes} devices.")
    record = _record(arguments, config, processes)
    _check_same_run(out, record)
    folder = folder_of(arguments.base)
    outline = _outline(folder, config)
    if config.window > outline.context_length:
        raise ValueError(
            f"window is {config.window}, but {arguments.base} reads {outline.context_length} tokens at most."
        )
    sizes = (config.window, config.windows, outline.context_length)
    examples = Examples(entries, load_tokenizer(folder), *sizes, seed=config.seed)
    generator = beginning(config, outline, out)
    out.mkdir(parents=True, exist_ok=True)
    base = _opened(folder, config)
    if isinstance(generator, GatedGenerator) and not config.start and not _kept(out):
        _calibrate(generator, base, examples)
    fit = Fit(config, base, generator.train(), examples, out)
    fit.accelerator.wait_for_everyone()  # all have read what a run before has left
    if fit.accelerator.is_main_process:
        (out / RUN).write_text(json.dumps(record, indent=1))
    fit.train()
    fit.export(Origin(record["base"]).base_name)


def _kept(out: Path) -> Path | None:
    """The checkpoint to go on from: the older one is whole where a kill came between the two renames of a save."""
    return next((out / name for name in (CHECKPOINT, OLDER) if (out / name).is_dir()), None)


def _record(arguments: argparse.Namespace, config: FitConfig, processes: int) -> dict[str, Any]:
    """What a run depends on: its config, its base, its data and how many processes share them."""
    digests = "".join(file_digest(file) for file in arguments.data)
    return asdict(config) | {
        "base": str(Path(arguments.base).resolve()) if Path(arguments.base).is_dir() else arguments.base,
        "data_digest": sha256(digests.encode()).hexdigest()[:12],
        "processes": processes,
    }


def _check_same_run(out: Path, record: dict[str, Any]) -> None:
    """Raise ValueError, which names what changed, where the folder holds a run that depends on something else."""
    if not _kept(out):
        return
    try:
        then = json.loads((out / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{out / RUN}, which says what the run there is, cannot be read ({first_line(error)}); use another --out."
        ) from error
    changed = [
        f"{name} was {then[name]!r} and is {value!r}"
        for name, value in record.items()
        if name not in MAY_CHANGE and then.get(name, value) != value
    ]
    if changed:
        raise ValueError(f"{out} holds another run: {', '.join(changed)}; give what it had, or use another --out.")


def _outline(folder: Path, config: FitConfig) -> Base:
    """The base without its weights, to hold a config against."""
    try:
        shapes = AutoConfig.from_pretrained(folder, local_files_only=True)
        return base_of(shapes, target=config.target, before=config.before, after=config.after)
    except (OSError, ValueError, LookupError, ImportError) as error:
        raise CheckpointError(
            f"The base in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error


def _opened(folder: Path, config: FitConfig) -> Base:
    """The base with its weights, on the device of this process."""
    device = Accelerator().device
    settle_attention(device)
    placement = Placement(device, getattr(torch, config.dtype), config.attention, "training")
    return Base(load_base(folder, placement), config.target, config.before, config.after)


def beginning(config: FitConfig, base: Base, out: Path) -> Generator:
    """The generator as training begins: that of `start`, or a new one; a checkpoint's weights take its place."""
    if not config.start or _kept(out):
        return generator_of(config.shapes(base))
    generator = load_generator(folder_of(config.start), base)
    theirs, ours = replace(generator.config, window=config.window), config.shapes(base)
    if theirs != ours:
        raise ValueError(f"The generator to go on from is {theirs}, and this run's {ours}; give it those shapes.")
    return generator


def _calibrate(generator: GatedGenerator, base: Base, examples: Examples) -> None:
    """Fit a new one to what the base reads."""
    rows, length = SAMPLED
    sample = examples.sample(rows, min(length, base.context_length))
    calibrate(base, generator.to(base.device), sample.to(base.device).split(8))


def parse() -> tuple[argparse.Namespace, FitConfig]:
    """Where things are, and the config: a flag wins over --config, which wins over the default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="JSON lines, or .txt files of a document each"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="a TOML file, such as training/configs/paper.toml")
    for field in fields(FitConfig):
        kind = {"int": int, "float": float}.get(str(field.type), str)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, choices=CHOICES.get(field.name))
    arguments = parser.parse_args()
    flags = {field.name: getattr(arguments, field.name) for field in fields(FitConfig)}
    try:
        stated = _stated(arguments.config) if arguments.config else {}
        return arguments, FitConfig(**stated | {name: value for name, value in flags.items() if value is not None})
    except ValueError as error:
        parser.error(str(error))


def _stated(file: Path) -> dict[str, Any]:
    """What a config file says; raise ValueError that names the file where it cannot be read."""
    try:
        stated = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(f"{file} is not TOML ({first_line(error)}).") from error
    known = [field.name for field in fields(FitConfig)]
    if unknown := [name for name in stated if name not in known]:
        raise ValueError(f"{file} has {', '.join(unknown)}, which a run does not know; it knows {', '.join(known)}.")
    return stated


if __name__ == "__main__":
    main()

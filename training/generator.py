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
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_constant_schedule_with_warmup

from core.base import Base
from core.checkpoint import load_base, load_generator, load_tokenizer, save_generator
from core.config import GeneratorConfig, PublishedConfig
from core.device import Placement
from core.errors import CoreError
from core.families import Target
from core.generator import GatedGenerator, Generator, PublishedGenerator
from core.origin import folder_of
from core.published import save_published
from core.sizes import ends_of, generator_of
from training.calibration import calibrate
from training.fitting import Fitting
from training.windows import Examples, read_entries, single

SAMPLED = 48, 192  # rows, and tokens in each, that a new generator is fitted to
LOG, RUN, CHECKPOINT, NEWER, OLDER = "log.jsonl", "run.json", "checkpoint", "checkpoint.new", "checkpoint.old"

Kind = Literal["gated", "published"]
Dtype = Literal["bfloat16", "float32"]
CHOICES = {"kind": get_args(Kind), "dtype": get_args(Dtype), "target": get_args(Target)}


@dataclass(frozen=True)
class FitConfig:
    """A generator's shapes, its optimiser, and how long it trains. Sizes in tokens, lengths in optimiser steps.

    `epochs` times all of the data, or `steps` where that is 0. An example has up to `windows` windows; `batch` of them,
    on all devices together, make a step. `start` is a generator to go on from, of the same shapes. The first `before`
    and the last `after` layers get no adapter.
    """

    kind: Kind = "gated"
    target: Target = "attention"
    before: int = 0
    after: int = 0
    state_size: int = 128
    rank: int = 128
    alpha: float = 64.0
    window: int = 1024
    windows: int = 8
    lr: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    batch: int = 8
    steps: int = 15_259
    epochs: int = 0
    save_steps: int = 200
    rows_at_once: int = 1
    dtype: Dtype = "bfloat16"
    attention: str = "sdpa"
    seed: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it has to be one of {', '.join(known)}.")

        if self.kind == "published" and self.target != "attention":
            raise ValueError(f"target is {self.target!r}; the published kind changes what ends attention alone.")
        if self.kind == "published" and (self.before or self.after):
            raise ValueError(f"before is {self.before}, after {self.after}; the published kind changes every layer.")

    def shapes(self, base: Base) -> GeneratorConfig:
        """Of the generator to be trained."""
        sizes: dict[str, Any] = {"key_size": self.state_size, "value_size": self.state_size, "window": self.window}
        if self.kind == "gated":
            return GeneratorConfig(**ends_of(base), **sizes)
        return PublishedConfig(**ends_of(base), **sizes, rank=self.rank, scaling=self.alpha / self.state_size)


class Fit:
    """One run: the generator, its optimiser, its examples, and how far it is."""

    def __init__(self, config: FitConfig, base: Base, generator: Generator, examples: Examples, out: Path) -> None:
        # The order of an epoch is its number's, so that a run goes on where it was.
        order = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed)
        devices = PartialState().num_processes
        if config.batch % devices:
            raise ValueError(f"batch is {config.batch}; it has to be a multiple of the {devices} devices.")
        each = config.batch // devices
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
        # The older one is whole where a kill came between the two renames of a save.
        for kept in (out / CHECKPOINT, out / OLDER):
            if kept.is_dir():
                self.accelerator.load_state(str(kept))
                break

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
        """Write the generator, in the format of its kind."""
        generator = self.accelerator.unwrap_model(self.fitting).generator
        if not self.accelerator.is_main_process:
            return
        if isinstance(generator, GatedGenerator):
            save_generator(self.out / "generator", generator)
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
    """One start of a run."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    set_seed(config.seed)
    folder, device = folder_of(arguments.base), Accelerator().device
    placement = Placement(device, getattr(torch, config.dtype), config.attention, "training")
    base = Base(load_base(folder, placement), config.target, config.before, config.after)
    if config.window > base.context_length:
        raise ValueError(f"window is {config.window}, but {arguments.base} reads {base.context_length} tokens at most.")
    entries = read_entries(arguments.data)
    sizes = (config.window, config.windows, base.context_length)
    examples = Examples(entries, load_tokenizer(folder), *sizes, seed=config.seed)
    _check_same_run(out, config, arguments.base, base)
    fit = Fit(config, base, beginning(config, base, examples, out).train(), examples, out)
    fit.accelerator.wait_for_everyone()  # all have read what a run before has left
    if fit.accelerator.is_main_process:
        (out / RUN).write_text(json.dumps(asdict(config) | {"base": arguments.base}, indent=1))
    fit.train()
    fit.export(arguments.base)


def _is_begun(out: Path) -> bool:
    """Whether there is a run to go on with."""
    return any((out / name).is_dir() for name in (CHECKPOINT, OLDER))


def _check_same_run(out: Path, config: FitConfig, name: str, base: Base) -> None:
    """Raise ValueError where the folder holds a run of another base or of other shapes, before anything is written."""
    if not _is_begun(out):
        return
    then = json.loads((out / RUN).read_text(encoding="utf-8"))
    if folder_of(then["base"]).resolve() != folder_of(name).resolve():
        raise ValueError(f"{out} holds a run for the base {then['base']}, not {name}; use another --out.")
    known = {field.name: then[field.name] for field in fields(FitConfig) if field.name in then}
    theirs, ours = FitConfig(**known).shapes(base), config.shapes(base)
    if replace(theirs, window=ours.window) != ours:
        raise ValueError(f"{out} holds a run of {theirs}, not of {ours}; use another --out.")


def beginning(config: FitConfig, base: Base, examples: Examples, out: Path) -> Generator:
    """The generator as training begins: that of `start`; or a new one, fitted to what the base reads if it is gated."""
    if config.start:
        generator = load_generator(folder_of(config.start), base)
        theirs, ours = replace(generator.config, window=config.window), config.shapes(base)
        if theirs != ours:
            raise ValueError(f"The generator to go on from is {theirs}, and this run's {ours}; give it those shapes.")
        return generator
    generator = generator_of(config.shapes(base)).to(base.device)
    if isinstance(generator, GatedGenerator) and not _is_begun(out):
        rows, length = SAMPLED
        sample = examples.sample(rows, min(length, base.context_length))
        calibrate(base, generator, sample.to(base.device).split(8))
    return generator


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
    stated = tomllib.loads(arguments.config.read_text(encoding="utf-8")) if arguments.config else {}
    flags = {field.name: getattr(arguments, field.name) for field in fields(FitConfig)}
    try:
        return arguments, FitConfig(**stated | {name: value for name, value in flags.items() if value is not None})
    except (TypeError, ValueError) as error:
        parser.error(f"{arguments.config or 'flags'}: {error}")


if __name__ == "__main__":
    main()

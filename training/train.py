"""`python -m training.train --corpora DIR --out DIR`: train base and generator jointly, resumable at any moment.

Every step draws its own batch from (seed, step), so that a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from random import Random

import torch
from tqdm import tqdm

from training.batches import Batch, Batcher, Codec, load_at
from training.config import TrainConfig
from training.dialogues import Author
from training.facts import Values, load_kinds
from training.objective import Loss, loss_of
from training.run import TOKENIZER, Run, load_tokenizer
from training.sources import Sources
from training.tokenizer import train_tokenizer

LOG = "log.jsonl"


def main() -> None:
    """Train, or go on training, and leave checkpoint, tokenizer and loss log in `--out`."""
    config = parse()
    config.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(config.corpora)
    author = Author(load_kinds(held_out=False), sources.chat, Values(novel=0.25, words=sources.words))
    if config.start and not (config.out / TOKENIZER).exists():
        load_tokenizer(config.start / "base").save_pretrained(config.out / TOKENIZER)
    if not (config.out / TOKENIZER).exists():
        texts = [*sources.texts(Random(config.seed), 60_000), *memory_texts(author, 15_000)]
        train_tokenizer(texts, config.vocab_size).save_pretrained(config.out / TOKENIZER)
    tokenizer = load_tokenizer(config.out / TOKENIZER)
    (config.out / "run.json").write_text(json.dumps(asdict(config), default=str, indent=1))
    run = Run(config, tokenizer, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if not run.resume() and config.start:
        run.begin_from(config.start)
    train(run, Batcher(Codec(tokenizer), author, sources.plain))


def parse() -> TrainConfig:
    """One flag for each field of TrainConfig."""
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(TrainConfig):
        kind = {"int": int, "float": float, "Path": Path, "Path | None": Path}[str(field.type)]
        required = field.default is MISSING
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, required=required, default=field.default)
    return TrainConfig(**vars(parser.parse_args()))


def memory_texts(author: Author, count: int) -> list[str]:
    """Texts of synthetic dialogues, for the tokenizer."""
    rng = Random(1)
    memories = [author.memory(rng, 4, 0) for _ in range(count // 4)]
    turns = [turn for memory in memories for turn in memory.turns]
    turns += [author.ask(rng, fact).turn for memory in memories for fact in memory.facts]
    return [text for turn in turns for text in turn]


def train(run: Run, batcher: Batcher) -> None:
    """The loop: draw, step, log, save."""
    config, progress = run.config, run.progress
    bar = tqdm(total=config.tokens, initial=progress.tokens, unit="tok", unit_scale=True, mininterval=5)
    saved = time.monotonic()
    with (config.out / LOG).open("a") as log:
        while progress.tokens < config.tokens:
            started = time.monotonic()
            rng = Random(f"{config.seed}-{progress.step}")
            done = 1.0 if config.start else progress.tokens / config.tokens  # what was trained needs no curriculum
            batch = batcher.draw(rng, load_at(done, rng, config.batch_tokens))
            loss = step(run, batch)
            progress.step, progress.tokens = progress.step + 1, progress.tokens + batch.tokens
            progress.seconds += time.monotonic() - started
            record(run, loss, batch, log)
            bar.update(batch.tokens)
            bar.set_postfix(answers=f"{loss.answers:.2f}", exact=f"{loss.exact:.2f}", language=f"{loss.language:.2f}")
            if time.monotonic() - saved > 60 * config.save_minutes:
                run.save()
                saved = time.monotonic()
    run.save()


def step(run: Run, batch: Batch) -> Loss:
    """One optimiser step; the matrix products of base and generator in the number type that is fast here."""
    device = run.base.device
    for group in run.optimizer.param_groups:
        group["lr"] = run.config.lr * rate(run.config, run.progress.step, run.progress.tokens)
    with torch.autocast(device.type, torch.bfloat16, enabled=run.dtype == torch.bfloat16):
        loss = loss_of(run.base, run.generator, batch.to(device))
    run.optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_(run.modules.parameters(), 1.0)
    run.optimizer.step()
    return loss


def rate(config: TrainConfig, steps: int, tokens: int) -> float:
    """Share of the learning rate: linear warm-up, level, then a square-root fall to zero over the last 40 %."""
    left = max(0.0, 1 - tokens / config.tokens) / 0.4
    return float(min(1.0, (steps + 1) / config.warmup_steps) * min(1.0, left) ** 0.5)


def record(run: Run, loss: Loss, batch: Batch, log: object) -> None:
    """Append one line to the loss log."""
    values = {name: round(float(getattr(loss, name)), 4) for name in ("answers", "language", "exact")}
    values |= {"step": run.progress.step, "tokens": run.progress.tokens, "memories": batch.memories}
    values |= {"seconds": round(run.progress.seconds, 1)}
    print(json.dumps(values), file=log, flush=True)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()

"""`python -m training.train --corpora DIR --out DIR`: train base and generator jointly, resumable at any moment.

A start ends at the run's tokens or after `--minutes`, always with a checkpoint; the next one goes on from there.
With `--base NAME_OR_FOLDER --data FILE... --out DIR` it is `python -m training.generator`: a generator for any frozen
base.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from random import Random
from typing import Any, TextIO

import torch
from tqdm import tqdm

from core.families import checked_target
from training.batches import Batch, Batcher
from training.codec import Codec
from training.config import TrainConfig
from training.dialogues import Author
from training.everyday import ASIDES, CLOSE, IDENTITIES, PAIRS, SLANG, TOGETHER, everyday
from training.facts import Values
from training.followups import FollowUps, load_follow_ups
from training.kinds import load_kinds
from training.loading import drawn
from training.objective import Loss, loss_of, mean
from training.remarks import with_asides
from training.run import PRETRAINED, TOKENIZER, Progress, Run, fast_dtype, load_tokenizer, matmul_rate
from training.scenes import load_scenes
from training.sources import Sources
from training.tokenizer import train_tokenizer

LOG = "log.jsonl"
AMID, NEAR = 0.12, 0.5  # of what is told, and of what is asked and was never told: see Author
ASKED = 0.12  # of the facts: see Author
NOVEL = 0.2  # of the values are words of any sort: see Values
KINDS: dict[str, Any] = {"int": int, "float": float, "Path": Path, "Path | None": Path, "Target": checked_target}


def main() -> None:
    """Train, or go on training, and leave checkpoint, tokenizer and loss log in `--out`; with `--base`, hand over."""
    if any(argument.partition("=")[0] == "--base" for argument in sys.argv[1:]):
        from training import generator  # what spreads it over GPUs takes seconds to import, and nothing here needs it

        generator.main()
        return
    began = time.monotonic()
    config = parse()
    config.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(config.corpora)
    author = author_of(config, sources)
    base = config.pretrained or (config.start and config.start / "base")
    if base and not (config.out / TOKENIZER).exists():
        load_tokenizer(base).save_pretrained(config.out / TOKENIZER)
    if config.pretrained:
        shutil.copy(config.pretrained / "config.json", config.out / PRETRAINED)
    if not (config.out / TOKENIZER).exists():
        texts = [*sources.texts(Random(config.seed), 60_000), *memory_texts(author, 15_000)]
        train_tokenizer(texts, config.vocab_size).save_pretrained(config.out / TOKENIZER)
    tokenizer = load_tokenizer(config.out / TOKENIZER)
    (config.out / "run.json").write_text(json.dumps(asdict(config), default=str, indent=1))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Run(config, tokenizer, device, fast_dtype(device))
    drawn_from = Codec(tokenizer), author, sources.plain, sources.talk
    shares = config.never_told, config.besides, config.faint, config.recalled, config.everyday
    usual = everyday_author(author) if config.everyday else None
    batcher = Batcher(*drawn_from, *shares, usual=usual, follow_ups=follow_ups_of(usual) if usual else None)
    if not run.resume():
        if config.start:
            run.begin_from(config.start)
        elif config.pretrained:
            run.begin_with(config.pretrained, batcher.sample(Random(config.seed), 48, 192))
    if config.compile:
        run.compile()
    deadline = began + 60 * config.minutes if config.minutes else math.inf
    train(run, batcher, deadline)


def author_of(config: TrainConfig, sources: Sources) -> Author:
    """Who writes the run's memories, evenly of all there is."""
    held_out = {value.lower() for kind in load_kinds(held_out=True) for value in kind.values}
    words = [word for word in sources.words if word not in held_out]
    kinds = load_kinds(held_out=False, wider=config.wider)
    return Author(kinds, sources.chat, Values(novel=NOVEL, words=words), AMID, NEAR)


def everyday_author(author: Author) -> Author:
    """The same, who writes as people talk to a stranger."""
    kinds, combined = everyday(author.kinds), {**author.combined, **PAIRS}
    author = replace(author, kinds=kinds, combined=combined, together=TOGETHER, chat=with_asides(author.chat, ASIDES))
    return replace(author, asked=ASKED, near=CLOSE, scenes=load_scenes(), slang=SLANG, identities=IDENTITIES)


def follow_ups_of(author: Author) -> FollowUps:
    """What goes on from a question, of the kinds that an author knows."""
    kinds = {kind.name: kind for kind in author.kinds}
    return FollowUps(kinds, author.values, load_follow_ups(), author.together)


def parse() -> TrainConfig:
    """One flag for each field of TrainConfig."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for field in fields(TrainConfig):
        flag, required = f"--{field.name.replace('_', '-')}", field.default is MISSING
        if field.type == "bool":
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
            continue
        parser.add_argument(flag, type=KINDS[str(field.type)], required=required, default=field.default)
    return TrainConfig(**vars(parser.parse_args()))


def memory_texts(author: Author, count: int) -> list[str]:
    """Texts of synthetic dialogues, for the tokenizer."""
    rng = Random(1)
    memories = [author.memory(rng, 4, 0) for _ in range(count // 4)]
    turns = [turn for memory in memories for turn in memory.turns]
    turns += [author.ask(rng, fact).turn for memory in memories for fact in memory.facts]
    return [text for turn in turns for text in turn]


def train(run: Run, batcher: Batcher, deadline: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
    """The loop: wait for a batch, step, log, save; until the run's tokens are seen or `clock` is past `deadline`."""
    config, progress, device = run.config, run.progress, run.base.device
    if progress.tokens >= config.tokens:
        return
    before, ceiling = replace(progress), matmul_rate(device, run.base.dtype)
    others: dict[str, Any] = {"matmul_gflops": round(ceiling / 1e9)}  # once, in the first record of a start
    batches = drawn(config, batcher, progress.step * config.accumulate, pinned=device.type == "cuda")
    bar = tqdm(total=config.tokens, initial=progress.tokens, unit="tok", unit_scale=True, mininterval=5)
    began = started = saved = clock()
    with (config.out / LOG).open("a") as log, closing(batches), bar:
        while progress.tokens < config.tokens and started < deadline:
            parts = [next(batches) for _ in range(config.accumulate)]
            waited = clock() - started
            loss = step(run, parts, (deadline - started) / (deadline - began) if config.settle else 1.0)
            # Reading the loss waits for the device, so it comes before the clock is read.
            values = {name: f"{getattr(loss, name):.2f}" for name in ("answers", "exact", "language", "moved")}
            bar.set_postfix(values, refresh=False)
            tokens, memories = (sum(getattr(part, name) for part in parts) for name in ("tokens", "memories"))
            progress.step, progress.tokens = progress.step + 1, progress.tokens + tokens
            progress.seconds += clock() - started
            record(log, progress, loss, memories=memories, waited=round(waited, 3), **others)
            others = {}
            bar.update(tokens)
            if clock() - saved > 60 * config.save_minutes:
                run.save()
                saved = clock()
            started = clock()
    run.save()
    print(speed(before, progress, run.flops_per_token, ceiling))


def speed(before: Progress, after: Progress, flops_per_token: float, ceiling: float) -> str:
    """One line on how well a start used its machine, whose matrix products run at `ceiling` FLOP/s."""
    tokens = (after.tokens - before.tokens) / max(after.seconds - before.seconds, 1e-9)
    flops = tokens * flops_per_token
    return (
        f"{tokens:,.0f} tokens/s, {flops / 1e9:,.0f} model GFLOP/s, {flops / ceiling:.1%} of the measured matmul rate"
    )


def step(run: Run, batches: Sequence[Batch], time_left: float = 1.0) -> Loss:
    """One optimiser step by the mean loss of batches, with a share of the time left."""
    losses = []
    for batch in batches:
        loss = loss_of(run.base, run.generator, batch.to(run.base.device))
        run.backward(loss.total / len(batches))
        losses.append(replace(loss, total=loss.total.detach()))
    descend(run, time_left)
    return mean(losses)


def descend(run: Run, time_left: float = 1.0) -> None:
    """Step down the gradients there are, which are gone then, at the rate that the run's progress gives."""
    torch.nn.utils.clip_grad_norm_(run.modules.parameters(), 1.0)
    share = rate(run.config, run.progress.step, run.progress.tokens, time_left)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = run.config.lr * group["share"] * share
        optimizer.step()
    run.modules.zero_grad(set_to_none=True)
    run.show_weights()


def rate(config: TrainConfig, steps: int, tokens: int, time_left: float = 1.0) -> float:
    """Share of the learning rate: linear warm-up, level, then a square-root fall to zero over the last 40 %.

    Those are of the tokens or, if they are over sooner, of the time.
    """
    left = max(0.0, min(1 - tokens / config.tokens, time_left)) / 0.4
    return float(min(1.0, (steps + 1) / config.warmup_steps) * min(1.0, left) ** 0.5)


def record(log: TextIO, progress: Progress, loss: Loss, **others: Any) -> None:
    """Append one line to the loss log."""
    values = {name: round(float(getattr(loss, name)), 4) for name in ("answers", "language", "exact", "moved")}
    values |= {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds, 1)}
    print(json.dumps(values | others), file=log, flush=True)


if __name__ == "__main__":
    main()

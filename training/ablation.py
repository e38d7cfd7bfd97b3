"""`python -m training.ablation --corpora DIR --out FILE`: what each source of plain rows is worth.

Small bases from nothing read equally many tokens of the mix, and of the mix without one source, the others in its
place; then all read conversations that none was trained on. Two seeds of the whole mix say how much chance does.
Memory is left out: it does not begin within such budgets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from math import exp
from pathlib import Path
from random import Random
from typing import Any

import torch
from tqdm import tqdm

from core.generator import PADDING
from training.batches import PLAIN_ROW
from training.codec import BOTH, Codec, Window
from training.config import TrainConfig
from training.corpora import dialogue_turns, read_records
from training.objective import score
from training.packing import Rows, pack
from training.run import Run, fast_dtype
from training.sources import NAMES, Sources
from training.tokenizer import train_tokenizer
from training.train import descend

HELD_OUT = ("synthetic_persona_chat", "topical_chat", "woz")  # test splits
DIALOGUES, TURNS = 150, 5  # of each: as many first turns of so many dialogues
Mix = tuple[str, int, tuple[str, ...]]  # name, seed, sources left out


def mixes(seeds: int) -> list[Mix]:
    """The whole mix with several seeds, and the mix without each source with the first of them."""
    whole: list[Mix] = [(f"whole, seed {seed}", seed, ()) for seed in range(seeds)]
    return whole + [(f"without {name}", 0, (name,)) for name in NAMES]


def plain_rows(codec: Codec, sources: Sources, rng: Random, tokens: int) -> Rows:
    """About `tokens` tokens of what the sources give, packed."""
    windows: list[Window] = []
    while sum(len(window.ids) for window in windows) < tokens:
        drawn = sources.plain(rng)
        windows += codec.text(drawn, PLAIN_ROW) if isinstance(drawn, str) else [codec.window(drawn, BOTH)]
    return pack([(PADDING, windows)], [PLAIN_ROW])


def held_out_rows(codec: Codec, corpora: Path, source: str) -> Rows:
    """The beginnings of conversations of a test split."""
    records = list(read_records(corpora, source, "test"))
    chosen = Random(0).sample(records, min(DIALOGUES, len(records)))
    windows = [codec.window(dialogue_turns(record)[:TURNS], BOTH) for record in chosen]
    return pack([(PADDING, [window for window in windows if window.ids])], [PLAIN_ROW])


def read(run: Run, codec: Codec, sources: Sources, label: str) -> None:
    """Train the run's base on plain rows until its tokens are seen."""
    config, progress, rng = run.config, run.progress, Random(run.config.seed)
    with tqdm(total=config.tokens, desc=label, unit="tok", unit_scale=True, mininterval=5) as bar:
        while progress.tokens < config.tokens:
            rows = plain_rows(codec, sources, rng, config.batch_tokens)
            found = score(run.base, rows)
            run.backward(found.loss / found.weight)
            descend(run)
            seen = int((rows.windows != PADDING).sum())
            progress.step, progress.tokens = progress.step + 1, progress.tokens + seen
            bar.update(seen)


@torch.no_grad()
def perplexities(run: Run, held_out: Mapping[str, Rows]) -> dict[str, float]:
    """Of what both sides say in each."""
    scores = {name: score(run.base, rows) for name, rows in held_out.items()}
    return {name: round(exp(float(found.loss / found.weight)), 2) for name, found in scores.items()}


def ablate(config: TrainConfig, chosen: Sequence[Mix]) -> list[dict[str, Any]]:
    """One row for each mix."""
    tokenizer = train_tokenizer(Sources(config.corpora).texts(Random(0), 20_000), config.vocab_size)
    codec, rows = Codec(tokenizer), []
    held_out = {name: held_out_rows(codec, config.corpora, name) for name in HELD_OUT}
    device = torch.device("cpu")
    for name, seed, without in chosen:
        run = Run(TrainConfig(**vars(config) | {"seed": seed}), tokenizer, device, fast_dtype(device))
        read(run, codec, Sources(config.corpora, without), name)
        rows.append({"mix": name} | perplexities(run, held_out))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Print a row for each mix, and write all to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=1_200_000, help="that each base reads")
    parser.add_argument("--seeds", type=int, default=2, help="of the whole mix")
    arguments = parser.parse_args()
    config = TrainConfig(
        out=arguments.out, corpora=arguments.corpora, tokens=arguments.tokens, batch_tokens=6000, warmup_steps=20
    )
    rows = ablate(config, mixes(arguments.seeds))
    arguments.out.write_text(json.dumps({"tokens": arguments.tokens, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

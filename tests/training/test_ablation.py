"""What each source is worth: one base for each mix, all read the same conversations afterwards."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from core.generator import PADDING
from tests.training.small import TALK, small_config, write_corpora
from training.ablation import HELD_OUT, ablate, held_out_rows, mixes, plain_rows
from training.codec import Codec
from training.sources import NAMES, Sources
from training.tokenizer import train_tokenizer


def corpora_in(folder: Path) -> Path:
    write_corpora(folder)
    for source in HELD_OUT:
        with gzip.open(folder / f"{source}.test.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(json.dumps({"turns": [{"text": text} for text in TALK]}) + "\n")
    return folder


def test_every_source_is_left_out_once() -> None:
    left = [without for _, _, without in mixes(2)]
    assert left == [(), (), *((name,) for name in NAMES)]


def test_talk_like_what_was_read_is_less_of_a_surprise_than_without_it(tmp_path: Path) -> None:
    config = replace(small_config(tmp_path / "run"), corpora=corpora_in(tmp_path), tokens=20_000, batch_tokens=2000)
    rows = ablate(config, [("whole", 0, ()), ("without", 0, ("self_dialogue",))])
    whole, without = (row["woz"] for row in rows)
    assert [row["mix"] for row in rows] == ["whole", "without"]
    assert 1 < whole < 0.9 * without


def test_rows_are_as_many_tokens_as_asked_for(tmp_path: Path) -> None:
    corpora = corpora_in(tmp_path)
    codec = Codec(train_tokenizer(TALK * 9, 320))
    rows = plain_rows(codec, Sources(corpora), Random(0), 2000)
    assert 2000 <= int((rows.windows != PADDING).sum()) < 3000
    assert torch.equal(held_out_rows(codec, corpora, "woz").ids, held_out_rows(codec, corpora, "woz").ids)

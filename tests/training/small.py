"""A corpus, a catalogue and a run small enough for every test to have its own."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from training.batches import Batcher
from training.codec import Codec
from training.config import TrainConfig
from training.corpora import Turn
from training.dialogues import Author
from training.facts import Values
from training.kinds import Kind

TALK = ["have you seen the new film?", "I have, it was great", "what was it about?", "A dog that could talk."]
RECORDS: dict[str, list[dict[str, Any]]] = {
    "self_dialogue": [{"turns": [{"text": text} for text in TALK]}, {"turns": [{"text": "anybody there?"}]}],
    "synthetic_persona_chat": [
        {"turns": [{"text": text} for text in ("hi, who are you?", "A baker.")]},
        {"turns": [{"text": text} for text in ("I am (name)", "Hello!")]},
    ],
    "ms_chitchat": [
        {"turns": [{"text": "hello"}, {"text": "Hi!"}]},
        {"turns": [{"text": "good day"}, {"text": "Hi!"}]},
        {"turns": [{"text": "are you a robot?"}, {"text": "I am"}]},
    ],
    "african_storybook": [{"text": "Once there was a goat. " * 60}],
    "fairytale_stories": [{"text": "A king had three sons."}],
    "common_voice_sentences": [{"text": "the river is wide"}, {"text": "We left at noon."}],
}


def write_corpora(folder: Path) -> Path:
    """The files that `Sources` reads, in their published form."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, records in RECORDS.items():
        split = "valid" if source == "synthetic_persona_chat" else "train"
        with gzip.open(folder / f"{source}.{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
    return folder


def small_config(folder: Path) -> TrainConfig:
    """A run of four steps or so."""
    return TrainConfig(
        out=folder,
        corpora=folder,
        hidden_size=32,
        layers=2,
        heads=2,
        state_size=16,
        vocab_size=400,
        context_length=256,
        tokens=20_000,
        batch_tokens=700,
        warmup_steps=1,
        save_minutes=0.0,
    )


CITY = Kind(
    name="city",
    values=("Vienna", "Oslo", "Rome", "Cairo"),
    slots=("",),
    invented=False,
    clauses=("I live in {v}",),
    tells=("Home for me is {v}.",),
    change=("I moved from {old} to {v}.",),
    ask=("Where do I live?",),
    check=("Do I live in {v}?",),
    answer=("You live in {v}.",),
    unknown=("You haven't told me where you live.",),
    react=("{v} is lovely!",),
    others=("my boss lives in {v}",),
)
# Too many for any memory to tell of all: `unknown` asks until it finds what was not told.
RELATIVES: tuple[str, ...] = (
    "aunt",
    "uncle",
    "niece",
    "nephew",
    "cousin",
    "mother",
    "father",
    "son",
    "daughter",
    "wife",
)
RELATIVES += ("husband", "brother", "grandma", "grandpa", "stepmother", "stepfather", "godson", "granddaughter")
SISTER = replace(
    CITY,
    name="relative",
    values=("Marta", "Ines", "Ruth"),
    slots=("sister", "older sister", *RELATIVES),
    clauses=("my {s} is called {v}",),
    tells=(),
    change=("My {s} goes by {v} now.",),
    ask=("What is my {s} called?",),
    check=(),
    answer=("Your {s} is called {v}.",),
    unknown=("You have not told me about your {s}.",),
    react=("Hello to {v}!",),
    others=("my neighbour's {s} is called {v}",),
)
JOB = replace(
    SISTER,
    name="relative_trade",
    values=("actor", "nurse", "engineer"),
    clauses=("my {s} works as a {v}",),
    change=("My {s} is a {v} now.",),
    ask=("What is my {s}'s job?",),
    answer=("Your {s} is a {v}.",),
    react=("A {v}, how nice!",),
    others=("my neighbour's {s} is a {v}",),
)
SMALL_KINDS = [CITY, SISTER, JOB]


def chat(rng: Random) -> list[Turn]:
    """Small talk."""
    return [Turn(rng.choice(["Nice weather!", "How are you?"]), "It is.")]


def small_author() -> Author:
    """Writes about cities and relatives only."""
    return Author(SMALL_KINDS, chat, Values())


def small_batcher(codec: Codec) -> Batcher:
    """Batches about cities and relatives, with one sentence for language."""
    river = [Turn("Is the river wide?", "It is wide."), Turn("And deep?", "Very deep.")]
    return Batcher(codec, small_author(), lambda _: river[:1], lambda _, most: river[:most], never_told=0.7)

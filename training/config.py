"""The options of one training run, saved beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.families import Target


@dataclass(frozen=True)
class TrainConfig:
    """Shape of the model, length of the run, optimiser. Every default runs; sizes in tokens, times in minutes."""

    out: Path
    corpora: Path
    start: Path | None = None
    pretrained: Path | None = None  # a base to go on from: its sizes, tokenizer and weights are the run's
    hidden_size: int = 256
    layers: int = 6
    heads: int = 4
    state_size: int = 128
    target: Target = "attention"  # the half of a layer that adapters change
    before: int = 0  # first layers, and
    after: int = 0  # last ones, that have no adapter
    vocab_size: int = 4096
    context_length: int = 1024
    tokens: int = 30_000_000
    batch_tokens: int = 12_000
    accumulate: int = 1  # batches a step of the optimiser goes by: each has one load, and what one says of it is noise
    lr: float = 2e-3
    base_lr: float = 1.0  # of it, for the base; 0: the base stays as it is, which takes half the time
    plain: float = 0.25  # of the tokens are read by the bare base alone, for its English
    weight_decay: float = 0.05
    warmup_steps: int = 100
    seed: int = 0
    save_minutes: float = 5.0
    minutes: float = 0.0  # of one start, after which it stops with a checkpoint; 0: no limit
    settle: bool = False  # the learning rate falls by the end of this start, however many tokens it sees
    workers: int = 0  # processes that draw batches ahead; 0: the training process draws them itself
    wider: bool = False  # draw also the phrasings, values and kinds of catalogue/wider/
    everyday: float = 0.0  # of what is drawn is what people tell a stranger most often, in plain words, most often
    heavy: float = 0.0  # of the steps with a full load have memories of 40 to 100 facts
    never_told: float = 0.7  # questions about what was never told, for each fact that is asked for
    recalled: float = 0.0  # of the answers to those stand beside what is known and could have been mistaken for it
    besides: float = 1.0  # of the memories of facts are also talked to about something else, from a fifth of the run on
    faint: float = 1.0  # memories are answered from at a strength between this and 1, by chance
    compile: bool = False  # fuse small kernels: a minute in which a run of hours gains an eighth to a quarter

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}.")
        if not 0 < self.plain < 1:
            raise ValueError(f"plain {self.plain} must be a share above 0 and below 1.")
        for name in ("everyday", "recalled"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must be a share from 0 to 1.")
        if not 0 < self.faint <= 1:
            raise ValueError(f"faint {self.faint} must be above 0 and at most 1.")
        if self.accumulate < 1:
            raise ValueError(f"accumulate {self.accumulate} must be at least 1.")
        if self.workers < 0 or self.minutes < 0:
            raise ValueError(f"workers {self.workers} and minutes {self.minutes} must not be negative.")
        if self.settle and not self.minutes:
            raise ValueError("settle needs the minutes that this start has.")
        if self.batch_tokens * self.accumulate > self.tokens:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} and accumulate {self.accumulate} make a step of more than "
                f"tokens {self.tokens}."
            )

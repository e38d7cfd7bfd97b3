"""Openings: what a beam search over whole sequences read anew finds, and of that what the memory speaks for most."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from core.chat import Message, encode
from core.decoding import Row, Sampling
from core.engine import Engine
from core.weighing import BRANCHING, OPENING, OPENINGS, Weighing, weighed
from tests.tiny import tiny_engine

NAMES, ASKED = ("Marta", "Ada", "Diego"), ("Who am I?", "Where do I live, and since when?", "Hi")
GREEDY = Sampling()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture(scope="module")
def rows(engine: Engine) -> list[Row]:
    return [row(engine, name, asked, 1.5) for name in NAMES for asked in ASKED]


def row(engine: Engine, name: str, asked: str, guidance: float, sampling: Sampling = GREEDY) -> Row:
    state = engine.fold(engine.empty_state(), [Message("user", f"My name is {name}.")])
    prompt = encode(engine.tokenizer, [Message("user", asked)], reply=True)
    return Row(prompt, engine.materialise(state), sampling, guidance)


def log_chances(engine: Engine, row: Row, written: Sequence[int], remembered: bool = True) -> torch.Tensor:
    """Of every token after each token of an opening, and of the first: the whole read anew."""
    with torch.inference_mode(), engine.base.adapted(row.adapter if remembered else None):
        logits = engine.base.model(input_ids=torch.tensor([[*row.prompt, *written]]), use_cache=False).logits[0]
    return logits[len(row.prompt) - 1 :].log_softmax(-1)


def likelihood(engine: Engine, row: Row, written: Sequence[int], remembered: bool = True) -> float:
    chances = log_chances(engine, row, written, remembered)
    return sum(float(chances[i, token]) for i, token in enumerate(written))


def searched(engine: Engine, row: Row, ends: Sequence[int]) -> list[list[int]]:
    """The openings, token by token and without a cache."""
    openings = [list[int]()]
    for length in range(OPENING):
        longer = list[list[int]]()
        for opening in openings:
            if opening and opening[-1] in ends:
                longer.append(opening)
                continue
            best = log_chances(engine, row, opening)[-1].topk(OPENINGS if length < BRANCHING else 1)
            longer += [[*opening, token] for token in best.indices.tolist()]
        if length < BRANCHING:
            longer = sorted(longer, key=lambda opening: -likelihood(engine, row, opening))[:OPENINGS]
        openings = longer
    return openings


def best_of(engine: Engine, row: Row, openings: Sequence[list[int]]) -> list[int]:
    def weight(opening: list[int]) -> float:
        told, bare = (likelihood(engine, row, opening, remembered) for remembered in (True, False))
        return told + (row.guidance - 1) * (told - bare)

    return max(openings, key=weight)


def until_an_end(opening: list[int], ends: Sequence[int]) -> list[int]:
    return next((opening[: i + 1] for i, token in enumerate(opening) if token in ends), opening)


def test_what_goes_on_is_the_opening_that_the_memory_speaks_for_most(engine: Engine, rows: list[Row]) -> None:
    expected = [best_of(engine, row, searched(engine, row, ())) for row in rows]
    assert weighed(engine.base, rows, ())[1].tolist() == expected
    assert expected != [searched(engine, row, ())[0] for row in rows]  # nor is it the likeliest each time


def test_an_opening_may_end_early(engine: Engine, rows: list[Row]) -> None:
    said = [searched(engine, row, ())[0] for row in rows]
    ends = sorted({said[0][4], said[3][6]})
    expected = [best_of(engine, row, searched(engine, row, ends)) for row in rows]
    openings = weighed(engine.base, rows, ends)[1].tolist()
    assert [until_an_end(opening, ends) for opening in openings] == expected
    assert len({len(opening) for opening in expected}) > 2


def test_nothing_more_is_written_once_all_have_ended(engine: Engine, rows: list[Row]) -> None:
    weighing = Weighing(engine.base, rows[:1], range(len(engine.tokenizer)))
    weighing.step()
    assert weighing.is_done
    assert weighing.weighed()[1].shape == (1, 1)


def test_a_reply_goes_on_from_its_opening_as_if_it_had_been_read(engine: Engine, rows: list[Row]) -> None:
    decoding, openings = weighed(engine.base, rows, ())
    said = [[*row.prompt, *opening] for row, opening in zip(rows, openings.tolist(), strict=True)]
    for _ in range(5):
        after = [
            int(log_chances(engine, row, ids[len(row.prompt) :])[-1].argmax())
            for row, ids in zip(rows, said, strict=True)
        ]
        assert decoding.step() == after
        for ids, token in zip(said, after, strict=True):
            ids.append(token)


def test_an_opening_does_not_depend_on_the_others(engine: Engine, rows: list[Row]) -> None:
    together = weighed(engine.base, rows, ())[1]
    assert [weighed(engine.base, [row], ())[1][0].tolist() for row in rows] == together.tolist()


def test_openings_share_the_adapter_of_their_memory(engine: Engine, rows: list[Row]) -> None:
    weighing = Weighing(engine.base, rows[:2], ())
    for _ in range(BRANCHING + 1):
        weighing.step()
    adapter = weighing._told._adapters.whole
    assert adapter and adapter.rows == 2


def test_dice_fall_on_an_opening_as_often_as_it_weighs(engine: Engine) -> None:
    def warm(seed: int, temperature: float = 0.3) -> list[int]:
        sampling = Sampling(temperature=temperature, seed=seed)
        opening: list[int] = weighed(engine.base, [row(engine, "Ada", "Who am I?", 1.5, sampling)], ())[1][0].tolist()
        return opening

    greedy = warm(0, 0.0)
    fallen = [warm(seed) for seed in range(40)]
    assert fallen[:5] == [warm(seed) for seed in range(5)]
    counts = {tuple(opening): fallen.count(opening) for opening in fallen}
    assert 1 < len(counts) <= OPENINGS
    assert max(counts, key=lambda opening: counts[opening]) == tuple(greedy)

"""Packing: every token once, windows apart, targets and weights where they belong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
import torch

from benchmarks.cases import ADMISSIONS
from core.base import Base
from core.generator import PADDING
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.small import JOB, SISTER, SMALL_KINDS, small_author, small_batcher
from training.batches import (
    ASKED,
    NEWS,
    PLAIN_ROW,
    PROMPT_WEIGHT,
    QUESTIONS,
    REMARKS,
    ROWS,
    TALK_WEIGHT,
    TOKENS_A_MEMORY,
    UNMOVED,
    Batcher,
    Load,
    load_at,
)
from training.codec import VALUE_WEIGHT, Codec, Window
from training.corpora import Turn
from training.dialogues import Memory
from training.facts import Fact
from training.followups import FollowUp, FollowUps
from training.packing import IGNORED, pack
from training.remarks import NOTHING_YET

TURNS = [Turn("My brother is a nurse.", "Your brother is a nurse.")]
LENGTHS = [5, 9, 1, 7, 12, 3, 8, 2, 16]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(tiny_tokenizer())


def window(size: int, start: int = 10, weight: float = 1.0, age: float = 0.0) -> Window:
    return Window(list(range(start, start + size)), [0.0] + [weight] * (size - 1), age)


def windows() -> list[Window]:
    return [window(size, start=10 + 20 * i) for i, size in enumerate(LENGTHS)]


def decoded(window: Window, places: Iterable[int]) -> str:
    return str(tiny_tokenizer().decode([window.ids[i] for i in places]))


def test_every_token_is_in_a_row_once() -> None:
    rows = pack([(0, windows())], [16])
    packed = rows.ids[rows.windows != PADDING].tolist()
    assert sorted(packed) == sorted(token for window in windows() for token in window.ids)


def test_a_window_stays_in_one_piece() -> None:
    rows = pack([(0, windows())], [16])
    pieces = [
        ids[numbers == number].tolist()
        for ids, numbers in zip(rows.ids, rows.windows, strict=True)
        for number in range(int(numbers.max()) + 1)
    ]
    assert sorted(pieces) == sorted(window.ids for window in windows())


def test_owners_do_not_share_a_row() -> None:
    rows = pack([(0, [window(3)]), (1, [window(3, 30)]), (PADDING, [window(3, 60)])], [16])
    assert rows.owner.tolist() == [0, 1, PADDING]
    assert rows.ids[:, 0].tolist() == [10, 30, 60]


def test_short_windows_share_a_row() -> None:
    assert len(pack([(0, [window(3), window(4, 30), window(5, 60)])], [16]).ids) == 1


def test_positions_begin_anew_with_each_window() -> None:
    rows = pack([(0, [window(3), window(4)])], [10])
    assert rows.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1, 2]]


def test_a_label_is_the_next_token_of_its_window() -> None:
    rows = pack([(0, windows())], [16])
    for r, i in (rows.labels != IGNORED).nonzero().tolist():
        assert rows.labels[r, i] == rows.ids[r, i + 1]
        assert rows.windows[r, i] == rows.windows[r, i + 1] != PADDING


def test_the_last_token_of_a_window_has_no_label() -> None:
    rows = pack([(0, windows())], [16])
    last = torch.ones_like(rows.windows, dtype=torch.bool)
    last[:, :-1] = rows.windows[:, :-1] != rows.windows[:, 1:]
    assert (rows.labels[last] == IGNORED).all()


def test_what_has_no_weight_has_no_label() -> None:
    rows = pack([(0, [Window([5, 6, 7, 8], [0.0, 0.0, 2.0, 1.0])])], [4])
    assert rows.labels.tolist() == [[IGNORED, 7, 8, IGNORED]]
    assert rows.weights.tolist() == [[0.0, 2.0, 1.0, 0.0]]


def test_an_age_is_that_of_every_token() -> None:
    rows = pack([(0, [window(3, age=2.5)])], [4])
    assert rows.ages.tolist() == [[2.5, 2.5, 2.5, 0.0]]


def test_a_window_longer_than_a_row_loses_its_end() -> None:
    rows = pack([(0, [window(9)])], [4])
    assert rows.ids.tolist() == [[10, 11, 12, 13]]
    assert rows.labels.tolist() == [[11, 12, 13, IGNORED]]


def test_the_base_reads_a_packed_row_as_each_window_alone() -> None:
    base = Base(tiny_model())
    rows = pack([(0, [window(6), window(9, 40), window(4, 80)])], [24])
    base.decoder.eval()
    with torch.no_grad():
        packed = base.decoder(input_ids=rows.ids, position_ids=rows.positions, use_cache=False).last_hidden_state
        for number in range(3):
            here = rows.windows == number
            alone = base.decoder(input_ids=rows.ids[here][None], use_cache=False).last_hidden_state
            torch.testing.assert_close(packed[here], alone[0])


def test_a_batch_asks_only_memories_that_it_tells(codec: Codec) -> None:
    batch = small_batcher(codec).draw(Random(0), Load(2, 1, 1500))
    told, asked = set(batch.contexts.owner.tolist()), set(batch.asked.owner.tolist())
    assert told == asked == set(range(batch.memories))
    assert set(batch.plain.owner.tolist()) == {PADDING}


def test_every_token_of_talk_counts_little(codec: Codec) -> None:
    told, asked = small_batcher(codec).conversation(Random(0))
    assert not any(weight for window in told for weight in window.weights)
    assert {weight for window in asked for weight in window.weights} == {0.0, TALK_WEIGHT}


def test_a_conversation_is_gone_on_with_and_said_again(codec: Codec) -> None:
    told, asked = small_batcher(codec).conversation(Random(0))
    texts = [decoded(window, range(len(window.ids))) for window in (*told, *asked)]
    assert len(told) == 1
    assert "deep" in texts[1] and "deep" not in texts[0]
    assert texts[2] == texts[0]


def test_the_bare_base_learns_to_deny_what_a_stranger_asks_and_to_answer_other_remarks(codec: Codec) -> None:
    batcher = small_batcher(codec)
    drawn = [batcher.plain_windows(Random(seed)) for seed in range(60)]
    strangers = [windows for windows in drawn if len(windows) == QUESTIONS + REMARKS]
    assert strangers
    for window in (window for windows in strangers for window in windows):
        assert set(window.weights) == {0.0, PROMPT_WEIGHT}  # no value among them, which would count more
    answers = [
        [decoded(one, [i for i, weight in enumerate(one.weights) if weight]) for one in windows]
        for windows in strangers
    ]
    for denied in (answer for said in answers for answer in said[:QUESTIONS]):
        assert any(admission in denied for admission in (*ADMISSIONS, *NOTHING_YET))
    assert all("It is." in answer for said in answers for answer in said[QUESTIONS:])


def test_no_more_facts_of_a_memory_are_asked_than_may_be(codec: Codec) -> None:
    said = small_author().memory(Random(0), 17, 0)
    asked = small_batcher(codec).question_windows(Random(0), said)
    assert len(said.facts) > ASKED
    assert 0 <= sum(VALUE_WEIGHT in window.weights for window in asked) - 2 * ASKED <= NEWS


def test_what_is_garbled_is_never_a_target(codec: Codec) -> None:
    batcher = small_batcher(codec)
    author = replace(batcher.author, values=replace(batcher.author.values, words=["zzz"]))
    batcher = Batcher(codec, author, batcher.plain, batcher.talk, batcher.never_told)
    windows = [
        w for seed in range(60) for w in batcher.context_windows(Random(seed), author.memory(Random(seed), 5, 0))
    ]
    garbled = [window for window in windows if "zzz" in decoded(window, range(len(window.ids)))]
    targets = [decoded(window, [i for i, weight in enumerate(window.weights) if weight]) for window in garbled]
    assert len(garbled) > 5
    assert any(targets)  # the reply to hasty words
    assert "zzz" not in " ".join(targets)


def test_now_and_then_words_come_in_lower_case_with_their_names(codec: Codec) -> None:
    batcher = small_batcher(codec)
    author = replace(batcher.author, values=replace(batcher.author.values, words=["zzz"]))
    batcher = Batcher(codec, author, batcher.plain, batcher.talk, batcher.never_told)
    windows = [
        w for seed in range(90) for w in batcher.context_windows(Random(seed), author.memory(Random(seed), 5, 0))
    ]
    texts = [decoded(window, range(len(window.ids))) for window in windows]
    assert any("vienna" in text and "live in Vienna" in text for text in texts)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 5, 17), (1.0, 18, 24)])
def test_a_share_of_the_memories_is_written_by_the_usual_author(
    codec: Codec, share: float, least: int, most: int
) -> None:
    even = small_author()
    usual = replace(even, kinds=[replace(kind, answer=("Usually it is {v}.",)) for kind in even.kinds])
    batcher = replace(small_batcher(codec), everyday=share, usual=usual)
    drawn = [batcher.draw(Random(seed), Load(1, 0, 1), 0.0).asked.ids.tolist() for seed in range(24)]
    texts = [str(tiny_tokenizer().decode([token for row in rows for token in row])) for rows in drawn]
    assert least <= sum("Usually" in text for text in texts) <= most


def test_a_batch_asks_every_fact_twice(codec: Codec) -> None:
    for seed in range(20):
        said = small_author().memory(Random(seed), 3, 0)
        asked = small_batcher(codec).question_windows(Random(seed), said)
        others = sum(VALUE_WEIGHT in window.weights for window in asked) - 2 * len(said.facts)
        assert 0 <= others <= NEWS + 1  # or a summary


def test_some_questions_lead_to_another_whose_answer_alone_is_learnt(codec: Codec) -> None:
    asks = {SISTER.name: FollowUp(("and {his} name?",))}
    follow_ups = FollowUps({kind.name: kind for kind in SMALL_KINDS}, small_author().values, asks, ())
    batcher, said = replace(small_batcher(codec), follow_ups=follow_ups), Memory(TURNS, [Fact(JOB, "nurse", "brother")])
    asked = [one for seed in range(40) for one in batcher.question_windows(Random(seed), said, 0)]
    followed = [one for one in asked if "his name" in decoded(one, range(len(one.ids))).lower()]
    assert followed
    for one in followed:
        learnt = decoded(one, [place for place, weight in enumerate(one.weights) if weight])
        assert "nurse" not in learnt and "You have not told me about your brother." in learnt


def test_a_batch_has_about_the_tokens_asked_for(codec: Codec) -> None:
    for seed in range(5):
        batch = small_batcher(codec).draw(Random(seed), Load(2, 2, 3000))
        assert 2400 < batch.tokens < 4500
        plain = int((batch.plain.windows != PADDING).sum())
        assert 0.15 < plain / batch.tokens < 0.35


def test_a_batch_has_no_more_memories_than_it_may(codec: Codec) -> None:
    batcher = small_batcher(codec)
    batcher.besides = 0.0  # short memories, of which more would find room
    draws = [batcher.draw(Random(seed), Load(1, 0, 6 * TOKENS_A_MEMORY)).memories for seed in range(20)]
    assert max(draws) == 6


def test_every_memory_is_as_strong_as_it_is_or_fainter(codec: Codec) -> None:
    batcher = small_batcher(codec)
    assert set(batcher.draw(Random(0), Load(1, 0, 3000)).strengths.tolist()) == {1.0}
    batcher.faint = 0.5
    batch = batcher.draw(Random(0), Load(1, 0, 3000))
    assert all(0.5 <= strength <= 1 for strength in batch.strengths)
    assert len(set(batch.strengths.tolist())) == batch.memories > 1


def test_the_same_dice_draw_the_same_batch(codec: Codec) -> None:
    one, two = (small_batcher(codec).draw(Random("0-7"), Load(2, 1, 900)) for _ in range(2))
    assert torch.equal(one.contexts.ids, two.contexts.ids)
    assert torch.equal(one.plain.labels, two.plain.labels)
    assert torch.equal(one.asked.weights, two.asked.weights)


def test_rows_have_the_length_that_wastes_least(codec: Codec) -> None:
    assert pack([(0, [window(40)]), (1, [window(30)])], ROWS).ids.shape == (2, 48)
    assert pack([(0, [window(40), window(50)])], ROWS).ids.shape == (1, 96)
    assert pack([(0, [window(400)])], ROWS).ids.shape == (1, ROWS[-1])
    batch = small_batcher(codec).draw(Random(0), Load(1, 1, 900))
    assert {batch.contexts.ids.shape[1], batch.asked.ids.shape[1]} <= set(ROWS)
    assert batch.plain.ids.shape[1] == PLAIN_ROW


def test_a_later_turn_is_younger(codec: Codec) -> None:
    for seed in range(20):
        said = small_author().memory(Random(seed), 3, 3)
        ages = [window.age for window in small_batcher(codec).context_windows(Random(seed), said)]
        assert ages == sorted(ages, reverse=True)
        assert all(age >= len(ages) - 1 - i for i, age in enumerate(ages))


def test_training_begins_with_one_fact_and_no_small_talk() -> None:
    loads = [load_at(0.0, Random(seed), 100) for seed in range(30)]
    assert {(load.facts, load.fillers) for load in loads} == {(1, 0)}


def test_talk_besides_comes_later_than_questions() -> None:
    assert [load_at(progress, Random(0), 100).besides for progress in (0.0, 0.1, 0.2, 1.0)] == [0.0, 0.5, 1.0, 1.0]


def test_from_half_way_on_the_load_is_full() -> None:
    half, end = ([load_at(progress, Random(seed), 100) for seed in range(300)] for progress in (0.5, 1.0))
    assert half == end
    assert max(load.facts for load in half) <= 40


def test_a_share_of_the_full_loads_may_be_heavy() -> None:
    loads = [load_at(1.0, Random(seed), 100, heavy=0.3) for seed in range(300)]
    assert 0.1 < sum(load.facts > 40 for load in loads) / len(loads) < 0.25
    assert any(load.fillers > 60 and load.facts < 20 for load in loads)  # with talk in the place of facts
    assert max(load.facts for load in loads) <= 100
    assert max(load_at(0.4, Random(seed), 100, heavy=1.0).facts for seed in range(300)) <= 40


def test_memories_of_facts_are_talked_to_about_something_else_as_often_as_asked_for(codec: Codec) -> None:
    batcher = small_batcher(codec)
    many, few = (len(asked) for _, asked in (batcher.facts(Random(1), Load(1, 0, 1500)), quiet(batcher)))
    assert many - few >= NEWS


def quiet(batcher: Batcher) -> tuple[list[Window], list[Window]]:
    batcher.besides = 0.0
    return batcher.facts(Random(1), Load(1, 0, 1500))


def test_a_sample_begins_as_windows_do(codec: Codec) -> None:
    sample = small_batcher(codec).sample(Random(0), 6, 40)
    assert sample.shape == (6, 40)
    assert set(sample[:, 0].tolist()) == {codec.user}


def test_what_no_memory_should_move_is_talk_of_others_and_every_word_of_it_counts(codec: Codec) -> None:
    batcher = small_batcher(codec)
    windows = batcher.unmoved_windows(Random(0), 1.0)
    assert len(windows) == UNMOVED
    assert all("deep" in decoded(window, range(len(window.ids))) for window in windows)
    assert {weight for window in windows for weight in window.weights} == {0.0, 1.0}
    assert not batcher.unmoved_windows(Random(0), 0.0)


def test_every_memory_may_be_read_through_by_talk(codec: Codec) -> None:
    batch = small_batcher(codec).draw(Random(0), Load(2, 0, 3000))
    assert set(batch.unmoved.owner.tolist()) == set(range(batch.memories))

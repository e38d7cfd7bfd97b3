"""The corpora as they are stored, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.training.small import TALK, write_corpora
from training.corpora import Turn, dialogue_turns, read_records, tidy
from training.sources import Sources, without_introductions


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(write_corpora(tmp_path))


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("hello  there\n", "Hello there."),
        ("why?", "Why?"),
        ("he said 'no'", "He said 'no'"),
        ("", ""),
        (" ", ""),
        ("éa", "Éa."),
    ],
)
def test_a_text_begins_with_a_capital_and_ends_with_a_stop(text: str, tidied: str) -> None:
    assert tidy(text) == tidied


def test_an_unanswered_last_line_is_dropped() -> None:
    assert dialogue_turns({"turns": [{"text": text} for text in ("a", "b", "c")]}) == [Turn("A.", "B.")]


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.train\.jsonl\.gz"):
        list(read_records(tmp_path, "nowhere"))


def test_a_dialogue_of_one_side_is_left_out(sources: Sources) -> None:
    assert sources.dialogues["self_dialogue"] == [[Turn(*map(tidy, TALK[:2])), Turn(*map(tidy, TALK[2:]))]]


def test_talk_with_a_name_left_out_is_not_learnt(sources: Sources) -> None:
    assert sources.dialogues["synthetic_persona_chat"] == [[Turn("Hi, who are you?", "A baker.")]]


def test_talk_is_so_many_turns_of_one_conversation(sources: Sources) -> None:
    whole = [turns for found in sources.dialogues.values() for turns in found]
    for seed in range(50):
        assert sources.talk(Random(seed), 9) in whole
        assert any(sources.talk(Random(seed), 1)[0] in turns for turns in whole)


def test_small_talk_is_grouped_by_its_answer(sources: Sources) -> None:
    assert sorted(len(group) for group in sources.chitchat) == [1, 2]


def test_small_talk_is_one_whole_turn(sources: Sources) -> None:
    drawn = [sources.chat(Random(seed)) for seed in range(100)]
    assert all(len(turns) == 1 and all(turns[0]) for turns in drawn)


def test_plain_rows_come_of_every_source(sources: Sources) -> None:
    drawn = [sources.plain(Random(seed)) for seed in range(200)]
    texts = [text for text in drawn if isinstance(text, str)]
    assert any(isinstance(turns, list) for turns in drawn)
    for part in ("goat", "king", "river", "noon"):
        assert any(part in text for text in texts)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("self_dialogue", "A dog that could talk"),
        ("synthetic_persona_chat", "A baker."),
        ("ms_chitchat", "assistant='I am.'"),
        ("stories", "goat"),
        ("common_voice_sentences", "river"),
    ],
)
def test_a_source_that_is_left_out_is_never_drawn(tmp_path: Path, name: str, told: str) -> None:
    corpora = write_corpora(tmp_path)
    with_it, without = (
        [str(sources.plain(Random(seed))) for seed in range(300)]
        for sources in (Sources(corpora), Sources(corpora, without=[name]))
    )
    assert any(told in text for text in with_it)
    assert not any(told in text for text in without)


def test_a_story_is_cut_to_a_row_or_so(sources: Sources) -> None:
    drawn = [sources.plain(Random(seed)) for seed in range(200)]
    assert max(len(text) for text in drawn if isinstance(text, str)) == 900


def test_texts_for_the_tokenizer_are_repeatable(sources: Sources) -> None:
    assert list(sources.texts(Random(5), 20)) == list(sources.texts(Random(5), 20))


@pytest.mark.parametrize(
    "reply", ["I'm Zoe.", "Hi, my name is Zoe.", "I'm a nurse.", "I am 34.", "I live in Rome.", "My dog is called Rex."]
)
def test_talk_is_cut_where_the_one_who_answers_is_somebody(reply: str) -> None:
    before, at, after = Turn("Hi!", "Hello."), Turn("I'm Max.", reply), Turn("Nice.", "I'm glad to hear it.")
    assert list(without_introductions([before, at, after])) == [[before], [after]]
    assert list(without_introductions([at])) == []

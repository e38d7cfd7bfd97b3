"""Clauses made messages and questions varied: as people write, and nothing lost."""

from __future__ import annotations

from random import Random

from training.sentences import favoured, garbled, joined, question, sentence

SEEDS = range(200)


def test_the_first_options_are_favoured() -> None:
    drawn = [favoured(Random(seed), ["a", "b", "c", "d"]) for seed in range(400)]
    assert drawn.count("a") > 2 * drawn.count("c") > 0


def test_a_message_keeps_its_clause() -> None:
    assert all("i live in rome" in sentence(Random(seed), "I live in Rome").lower() for seed in SEEDS)


def test_a_question_keeps_its_words() -> None:
    assert all("where do i live" in question(Random(seed), "Where do I live?").lower() for seed in SEEDS)


def test_joining_keeps_both_clauses_in_either_order() -> None:
    said = [joined(Random(seed), ["I ski", "I read"]) for seed in SEEDS]
    assert all("I ski" in text and "I read" in text for text in said)
    assert {text.index("I ski") < text.index("I read") for text in said} == {True, False}


def test_garbling_changes_words_but_none_that_are_kept() -> None:
    text, kept = (
        "I've just moved to The Hague with my older sister, and Oslo is far.",
        {"The Hague", "older sister", ""},
    )
    garbled_texts = [garbled(Random(seed), text, kept, ["lamp"]) for seed in range(100)]
    assert all("The Hague" in changed and "older sister" in changed for changed in garbled_texts)
    assert len(set(garbled_texts)) > 50
    assert any("lamp" in changed for changed in garbled_texts)
    assert any("Oslo" not in changed for changed in garbled_texts)


def test_a_kept_word_inside_another_is_no_longer_that_word() -> None:
    assert {garbled(Random(seed), "carpet", {"car"}, ["lamp"]) for seed in range(200)} > {"carpet", "lamp", ""}


def test_a_text_without_anything_to_keep_is_garbled_too() -> None:
    assert len({garbled(Random(seed), "who are you", (), ["lamp"]) for seed in range(50)}) > 5

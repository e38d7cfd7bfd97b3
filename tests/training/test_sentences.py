"""Clauses made messages and questions varied: as people write, and nothing lost."""

from __future__ import annotations

from random import Random

from training.sentences import favoured, joined, question, sentence

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

"""The readout benchmark: what counts as shown, right and never told."""

from __future__ import annotations

import pytest

from benchmarks.readout import FACTS, Asked, asked, ranking, summed
from tests.tiny import tiny_engine

ANSWERS = [
    Asked(9.0, told=True, right=True),
    Asked(8.0, told=True, right=False),
    Asked(7.0, told=False, right=False),
    Asked(1.0, told=True, right=True),
    Asked(0.5, told=False, right=False),
]


def test_only_right_answers_about_what_was_told_count_as_known() -> None:
    result = summed(ANSWERS, 4.0)
    assert (result["shown"], result["right_of_shown"]) == (3, pytest.approx(1 / 3, abs=1e-3))
    assert (result["shown_of_told"], result["shown_of_never_told"]) == (pytest.approx(1 / 3, abs=1e-3), 0.5)


def test_a_ranking_is_the_chance_that_a_right_answer_comes_first() -> None:
    assert ranking(ANSWERS) == pytest.approx(4 / 6, abs=1e-3)
    assert ranking([Asked(1.0, True, True), Asked(1.0, False, False)]) == 0.5
    assert ranking(ANSWERS[:1]) is None


def test_as_many_facts_are_asked_that_were_never_told() -> None:
    answers = asked(tiny_engine(), "0-1")
    assert [answer.told for answer in answers].count(True) == FACTS == len(answers) / 2
    assert answers == asked(tiny_engine(), "0-1")

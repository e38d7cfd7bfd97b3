"""Questions that go on from the one before: whom they are about, what they may be answered with, and when not."""

from __future__ import annotations

import re
from random import Random

import pytest

from benchmarks.recall import is_admission
from tests.training.test_facts import normal
from training.everyday import TOGETHER
from training.facts import Fact, Values
from training.followups import FollowUps, load_follow_ups
from training.kinds import load_kinds

KINDS = {kind.name: kind for kind in load_kinds(held_out=False, wider=True)}
DRAWN = FollowUps(KINDS, Values(), load_follow_ups(), TOGETHER)
NAME = Fact(KINDS["relative_name"], "Diego", "brother")
JOB = Fact(KINDS["relative_job"], "chef", "brother")
SISTER = Fact(KINDS["relative_name"], "Marta", "sister")
SEEDS = range(300)


def drawn(fact: Fact, *others: Fact) -> list[tuple[str, str, tuple[str, ...]]]:
    """What was asked second, its answer, and the values in it."""
    pairs = [DRAWN.draw(Random(seed), fact, [fact, *others]) for seed in SEEDS]
    return [(then.turn.user.lower(), then.turn.assistant, then.values) for _, then in filter(None, pairs)]


def test_every_kind_and_all_that_it_comes_after_is_of_the_catalogue() -> None:
    asks = load_follow_ups()
    assert {*asks} <= {*KINDS}
    assert {name for follow_up in asks.values() for name in follow_up.after} <= {*KINDS}
    assert all(len({*map(normal, follow_up.ask)}) >= 3 for follow_up in asks.values())
    assert all(follow_up.after or KINDS[name].slots != ("",) for name, follow_up in asks.items())


def test_what_is_known_of_the_same_person_is_answered_without_naming_them_again() -> None:
    known = [(asked, said) for asked, said, values in drawn(NAME, JOB) if values]
    assert 0.4 * len(SEEDS) < len(known) < 0.8 * len(SEEDS)
    assert all("chef" in said for _, said in known)
    assert all({"he", "his", "job"} & {*re.findall(r"\w+", asked)} for asked, _ in known)
    assert not any("brother" in asked or " she" in asked for asked, _ in known)


def test_what_was_never_told_of_them_is_denied() -> None:
    unknown = [(asked, said) for asked, said, values in drawn(NAME) if not values]
    assert len(unknown) == len(SEEDS)
    assert all(is_admission(said) for _, said in unknown)
    assert any("how old" in asked for asked, _ in unknown)


def test_another_person_is_asked_for_by_the_word_alone() -> None:
    said = [(asked, said) for asked, said, values in drawn(NAME, SISTER) if values]
    assert said and all("sister" in asked and "name" not in asked and "Marta" in answer for asked, answer in said)


@pytest.mark.parametrize("told", [SISTER, JOB])
def test_nothing_that_was_told_is_denied(told: Fact) -> None:
    denied = {said for _, said, values in drawn(NAME, told) if not values}
    assert denied and not denied & {told.say(text) for text in told.kind.unknown}


def test_of_the_user_only_what_comes_after_such_a_question_is_asked() -> None:
    job, city = Fact(KINDS["job"], "nurse"), Fact(KINDS["home_city"], "Ghent")
    age = Fact(KINDS["age"], "34")
    assert {values for _, _, values in drawn(job, city, age) if values} == {("Ghent",), ("34",)}
    assert DRAWN.draw(Random(0), Fact(KINDS["shoe_size"], "42"), []) is None

"""The catalogue: every template fits its kind, and the two sides of the split stay apart."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from benchmarks.cases import ADMISSIONS
from tests.training.small import CITY, SISTER
from training.facts import HELD_OUT_ONSETS, ONSETS, OPEN, Fact, Values, draw_facts, invented_name
from training.kinds import CATALOGUE, PHRASINGS, Kind, group_of, load_kinds, load_unseen_kinds

TRAINED, HELD_OUT = load_kinds(held_out=False, wider=True), load_kinds(held_out=True)
UNSEEN = load_unseen_kinds()
EVERY = TRAINED + HELD_OUT + UNSEEN
SIDES = list(zip(TRAINED, HELD_OUT, strict=False))  # training has more kinds, after those of both
TEMPLATES = (*PHRASINGS, "answer", "unknown", "react", "others")


def templates(kind: Kind, fields: tuple[str, ...] = TEMPLATES) -> Iterator[str]:
    for field in fields:
        yield from getattr(kind, field)


def normal(text: str) -> str:
    """What `sentences.question` may make of a question."""
    return text.lower().rstrip("?.")


def pools() -> dict[str, list[str]]:
    files = (tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(CATALOGUE.glob("*.toml")))
    return {
        f"{number}-{name}": pool for number, data in enumerate(files) for name, pool in data.get("pools", {}).items()
    }


def test_both_sides_have_the_same_kinds() -> None:
    assert [one.name for one, _ in SIDES] == [other.name for _, other in SIDES]
    assert len(SIDES) == len(HELD_OUT) < len(TRAINED)


def test_kinds_have_names_of_their_own() -> None:
    assert len({kind.name for kind in TRAINED}) == len(TRAINED)


def test_unseen_kinds_are_in_no_training() -> None:
    assert len(UNSEEN) >= 8
    assert {kind.name for kind in UNSEEN}.isdisjoint(kind.name for kind in TRAINED)


def test_every_kind_is_told_and_asked_in_25_ways_and_there_are_60() -> None:
    assert len(TRAINED) >= 60
    both = {
        one.name: (len(one.clauses + one.tells + other.clauses + other.tells), len(one.ask + other.ask))
        for one, other in SIDES
    }
    assert [name for name, (told, asked) in both.items() if told < 25 or asked < 25] == []


def test_the_sides_share_no_phrasing_of_a_kind() -> None:
    shared = [
        (one.name, text)
        for one, other in SIDES
        for field in PHRASINGS
        for text in set(getattr(one, field)) & set(getattr(other, field))
    ]
    assert shared == []


def test_what_only_training_knows_is_of_known_kinds_and_parts() -> None:
    paths = [*(CATALOGUE / "trained").glob("*.toml"), *(CATALOGUE / "wider" / "phrasings").glob("*.toml")]
    files = [tomllib.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert len(files) > 4
    assert {name for data in files for name in data} <= {kind.name for kind in TRAINED}
    assert {part for data in files for parts in data.values() for part in parts} <= set(PHRASINGS)


def test_what_is_wider_is_drawn_only_where_it_is_asked_for() -> None:
    tried = load_kinds(held_out=False)
    assert len(tried) == len(HELD_OUT) < len(TRAINED)
    assert sum(len(kind.values) for kind in tried) + 3000 < sum(len(kind.values) for kind in TRAINED[: len(tried)])
    assert all(set(kind.ask) < set(grown.ask) for kind, grown in zip(tried, TRAINED, strict=False))


def test_a_kind_that_only_training_knows_takes_no_phrasing_from_the_other_side() -> None:
    held_out = {normal(text) for kind in HELD_OUT + UNSEEN for field in PHRASINGS for text in getattr(kind, field)}
    own = TRAINED[len(HELD_OUT) :]
    assert [text for kind in own for text in templates(kind) if normal(text) in held_out] == []


def test_a_held_out_question_is_no_trained_one_in_lower_case() -> None:
    shared = {normal(text) for one, other in SIDES for text in other.ask if normal(text) in set(map(normal, one.ask))}
    assert shared == set()


def test_the_sides_share_no_value_of_a_large_pool() -> None:
    large = [(one, other) for one, other in SIDES if len({*one.values, *other.values}) >= 30]
    assert len(large) > 30
    assert [one.name for one, other in large if set(one.values) & set(other.values)] == []


def test_only_small_pools_are_on_both_sides() -> None:
    both = [one for one, other in SIDES if set(one.values) & set(other.values)]
    assert all(len(kind.values) < 30 for kind in both)


def test_a_value_is_on_the_same_side_in_every_large_pool() -> None:
    large = [(one, other) for one, other in SIDES if not set(one.values) & set(other.values)]
    trained = {value.lower() for one, _ in large for value in one.values}
    assert not trained & {value.lower() for _, other in large for value in other.values}


def test_every_kind_can_be_told_and_asked_on_both_sides() -> None:
    assert [kind.name for kind in EVERY if not (kind.values and kind.clauses and kind.ask)] == []


def test_a_kind_that_changes_does_so_on_both_sides() -> None:
    assert [one.name for one, other in SIDES if bool(one.change) != bool(other.change)] == []


def test_no_template_leaves_a_brace() -> None:
    filled = [
        Fact(kind, kind.values[0], slot, "before").say(text)
        for kind in EVERY
        for slot in kind.slots[:2]
        for text in templates(kind)
    ]
    assert [text for text in filled if "{" in text or "}" in text] == []


def test_no_kind_without_a_slot_names_one() -> None:
    assert [text for kind in EVERY if kind.slots == ("",) for text in templates(kind) if "{s}" in text] == []


def test_only_a_change_names_the_old_value() -> None:
    fields = tuple(field for field in TEMPLATES if field != "change")
    assert [text for kind in EVERY for text in templates(kind, fields) if "{old}" in text] == []


def test_what_tells_or_changes_names_the_value() -> None:
    fields = ("clauses", "tells", "change", "check", "others")
    assert [text for kind in EVERY for text in templates(kind, fields) if "{v}" not in text] == []


def test_every_answer_names_the_value() -> None:
    assert [text for kind in EVERY for text in kind.answer if "{v}" not in text] == []


def test_no_question_and_no_admission_gives_the_value_away() -> None:
    assert [text for kind in EVERY for text in templates(kind, ("ask", "unknown")) if "{v}" in text] == []


def test_every_unknown_is_an_admission_that_counts() -> None:
    missed = [text for kind in EVERY for text in kind.unknown if not any(word in text.lower() for word in ADMISSIONS)]
    assert missed == []


def test_no_value_holds_a_brace_or_stray_space() -> None:
    odd = [value for pool in pools().values() for value in pool if value != value.strip() or set(value) & set("{}")]
    assert odd == []


def test_no_pool_lists_a_value_twice() -> None:
    assert [name for name, pool in pools().items() if len(set(pool)) != len(pool)] == []


@pytest.mark.parametrize(
    ("value", "said"),
    [("actor", "an actor"), ("nurse", "a nurse"), ("university teacher", "a university teacher"), ("Opel", "an Opel")],
)
def test_a_becomes_an_before_a_vowel(value: str, said: str) -> None:
    assert Fact(CITY, value).say("She is a {v}.") == f"She is {said}."
    assert Fact(CITY, value).say("A {v}!") == f"{said.capitalize()[: -len(value)]}{value}!"


def test_a_stays_where_it_ends_another_word() -> None:
    assert Fact(CITY, "Oslo").say("Ana {v}, via {v}") == "Ana Oslo, via Oslo"


def test_a_becomes_an_before_a_slot_too() -> None:
    assert Fact(SISTER, "Marta", "aunt").say("I have a {s} called {v}") == "I have an aunt called Marta"


def test_no_template_has_an_before_a_value() -> None:
    """`say` only ever turns "a" into "an"."""
    assert [text for kind in EVERY for text in templates(kind) if re.search(r"\b[Aa]n \{v\}", text)] == []


def test_a_changed_fact_knows_its_old_value() -> None:
    fact = Fact(CITY, "Rome").changed("Oslo")
    assert (fact.value, fact.old, fact.key) == ("Oslo", "Rome", ("city", ""))


def test_two_kinds_of_a_group_are_never_told_together() -> None:
    for seed in range(150):
        facts = draw_facts(Random(seed), TRAINED, 24, Values())
        owners = {(group_of(fact.kind)[0], fact.kind.name) for fact in facts}
        assert len({group for group, _ in owners}) == len(owners)


def test_a_memory_does_not_hold_two_facts_of_overlapping_slots() -> None:
    for seed in range(100):
        slots = [fact.slot for fact in draw_facts(Random(seed), [SISTER], 12, Values())]
        assert not {"sister", "older sister"} <= set(slots)


def test_a_catalogue_of_few_kinds_gives_fewer_facts_than_asked() -> None:
    assert len(draw_facts(Random(0), [CITY], 5, Values())) == 1


def test_the_held_out_sides_invented_names_begin_as_no_trained_one_does() -> None:
    onsets = sorted(ONSETS, key=len, reverse=True)
    for seed in range(500):
        for held_out in (False, True):
            name = invented_name(Random(seed), held_out=held_out).lower()
            onset = next(onset for onset in onsets if name.startswith(onset))
            assert (onset in HELD_OUT_ONSETS) == held_out


def test_only_kinds_that_allow_it_get_invented_values() -> None:
    always = Values(rare=1.0)
    assert always.draw(Random(0), CITY) in CITY.values
    assert always.draw(Random(0), replace(CITY, invented=True)) not in CITY.values


def test_a_novel_value_is_of_the_given_words_and_spelt_as_its_kind() -> None:
    novel = Values(novel=1.0, words=("river", "wide"))
    assert set(novel.draw(Random(0), replace(CITY, values=("Rome",) * OPEN)).split()) <= {"River", "Wide"}
    assert set(novel.draw(Random(0), replace(CITY, values=("nurse",) * OPEN)).split()) <= {"river", "wide"}


def test_a_kind_of_few_values_has_no_novel_ones() -> None:
    months = replace(CITY, values=("May", "June"))
    assert Values(novel=1.0, words=("river",)).draw(Random(0), months) in months.values

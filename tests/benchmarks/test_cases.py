"""Recall cases: read as the fixture has them, generated from the held-out side only, the same for the same seed."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases import ADMISSIONS, KINDS, Case, Mix, Probe, _spellings, generate_cases, read_cases
from training.facts import HELD_OUT_ONSETS, Fact
from training.kinds import load_kinds

HOME = Path(__file__).parents[2]
SAMPLE = HOME / "tests" / "fixtures" / "cases" / "recall_sample.jsonl"
TRAINED, HELD_OUT = load_kinds(held_out=False), load_kinds(held_out=True)
LARGE = [(one, other) for one, other in zip(TRAINED, HELD_OUT, strict=False) if not set(one.values) & set(other.values)]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(generate_cases(150, 3))


@pytest.fixture(scope="module")
def probes(cases: list[Case]) -> list[Probe]:
    return [probe for case in cases for probe in case.probes]


def said(case: Case) -> str:
    return "\n".join(text for conversation in case.conversations for text in conversation).lower()


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def line(**changes: Any) -> str:
    probe = {"ask": "Where do I live?", "any": ["Oslo"], "kind": "recall"}
    values = {"id": "a", "conversations": [["I live in Oslo."]], "probes": [probe]} | changes
    return json.dumps(values, ensure_ascii=False)


def test_the_sample_is_read_line_by_line() -> None:
    read = read_cases(SAMPLE)
    assert len(read) == len(SAMPLE.read_text(encoding="utf-8").splitlines())
    assert read[0].conversations == (("Hi, I'm Marta!", "Nice to meet you."),)
    assert read[0].probes[0] == Probe("What is my name?", ("Marta",), (), "recall")


def test_the_sample_has_only_known_kinds() -> None:
    assert {probe.kind for case in read_cases(SAMPLE) for probe in case.probes} <= set(KINDS)


def test_what_must_not_be_answered_is_read(tmp_path: Path) -> None:
    probe = {"ask": "Where?", "any": ["Oslo"], "not": ["Rome"], "kind": "update"}
    assert read_cases(write(tmp_path / "c", line(probes=[probe])))[0].probes[0].none_of == ("Rome",)


def test_what_is_typed_before_a_question_is_read(tmp_path: Path) -> None:
    probe = {"ask": "And my dad?", "any": ["Oslo"], "kind": "recall", "before": ["Where does my mum live?"]}
    assert read_cases(write(tmp_path / "c", line(probes=[probe])))[0].probes[0].before == ("Where does my mum live?",)


@pytest.mark.parametrize("broken", ["{", "[]", "7", '{"id": "b"}', '{"id": "b", "conversations": [], "probes": [{}]}'])
def test_a_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    path = write(tmp_path / "c", line(), line(), broken)
    with pytest.raises(ValueError, match="Line 3 is not a recall case"):
        read_cases(path)


def test_a_blank_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Line 2 is not a recall case"):
        read_cases(write(tmp_path / "c", line(), "", line()))


@pytest.mark.parametrize("changes", [{"any": "Oslo"}, {"kind": "recal"}, {"before": "Hi."}])
def test_a_probe_that_would_be_misread_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    probe = {"ask": "Where?", "any": ["Oslo"], "kind": "recall"} | changes
    with pytest.raises(ValueError, match="Line 1"):
        read_cases(write(tmp_path / "c", line(probes=[probe])))


def test_a_line_separator_within_a_message_ends_no_case(tmp_path: Path) -> None:
    assert len(read_cases(write(tmp_path / "c", line(conversations=[["I live\u2028in Oslo."]])))) == 1


def test_the_same_seed_generates_the_same_cases(cases: list[Case]) -> None:
    assert list(generate_cases(150, 3)) == cases


def test_another_seed_generates_other_cases(cases: list[Case]) -> None:
    others = list(generate_cases(150, 4))
    assert not {case.conversations for case in cases} & {case.conversations for case in others}


def test_more_cases_begin_with_the_same_ones(cases: list[Case]) -> None:
    assert list(generate_cases(5, 3)) == cases[:5]


def test_cases_have_ids_of_their_own(cases: list[Case]) -> None:
    assert len({case.id for case in cases}) == len(cases)


def test_no_conversation_is_empty(cases: list[Case]) -> None:
    assert all(case.probes and all(case.conversations) for case in cases)


def test_a_case_asks_no_more_facts_than_it_may() -> None:
    counts = [len([p for p in case.probes if p.kind != "abstain"]) for case in generate_cases(60, 1, Mix(most_facts=2))]
    assert set(counts) == {1, 2}


def test_a_heavy_case_has_all_its_facts() -> None:
    for case in generate_cases(3, 1, Mix(30, 30)):
        assert len([probe for probe in case.probes if probe.kind != "abstain"]) == 30


def test_what_comes_later_is_small_talk_and_wrong_replies() -> None:
    case = next(generate_cases(1, 1, Mix(2, 2, unrelated=5, planted=20)))
    assert len(case.later) == 25
    told = [answer for probe in case.probes if probe.kind != "abstain" for answer in probe.any_of]
    assert [turn for turn in case.later if any(answer in turn.user for answer in told)] == []


def test_kinds_never_trained_have_other_questions(probes: list[Probe]) -> None:
    unseen = {probe.ask for case in generate_cases(100, 3, Mix(unseen_kinds=True)) for probe in case.probes}
    assert not unseen & {probe.ask for probe in probes}


def test_what_was_seen_comes_from_the_trained_side() -> None:
    trained = {kind.name: kind for kind in TRAINED}
    for kind in Mix(seen=("telling", "value")).kinds():
        assert (kind.clauses, kind.values) == (trained[kind.name].clauses, trained[kind.name].values)
        assert not set(kind.ask) & set(trained[kind.name].ask)


def test_every_kind_is_generated(probes: list[Probe]) -> None:
    assert {probe.kind for probe in probes} == set(KINDS)


def test_every_answer_was_typed(cases: list[Case]) -> None:
    told = [(probe, said(case)) for case in cases for probe in case.probes if probe.kind != "abstain"]
    assert [probe for probe, texts in told if not any(answer.lower() in texts for answer in probe.any_of)] == []


def test_no_question_gives_its_answer_away(probes: list[Probe]) -> None:
    asked = [probe for probe in probes if probe.kind != "abstain"]
    assert [probe for probe in asked if any(f" {answer} " in f" {probe.ask} " for answer in probe.any_of)] == []


def test_an_update_names_what_is_no_longer_true(cases: list[Case]) -> None:
    updates = [(probe, said(case)) for case in cases for probe in case.probes if probe.kind == "update"]
    assert len(updates) > 20
    for probe, texts in updates:
        assert all(old.lower() in texts and old not in probe.any_of for old in probe.none_of)
    assert sum(bool(probe.none_of) for probe, _ in updates) > 0.9 * len(updates)


def test_only_updates_have_something_to_avoid(probes: list[Probe]) -> None:
    assert [probe for probe in probes if probe.none_of and probe.kind != "update"] == []


def test_a_rare_value_is_invented_from_held_out_sounds(probes: list[Probe]) -> None:
    rare = [probe.any_of[0] for probe in probes if probe.kind == "rare"]
    listed = {value for kind in TRAINED + HELD_OUT for value in kind.values}
    assert len(rare) > 5
    assert all(name not in listed and name.lower().startswith(HELD_OUT_ONSETS) for name in rare)


def test_what_was_never_told_wants_an_admission(probes: list[Probe]) -> None:
    assert {probe.any_of for probe in probes if probe.kind == "abstain"} == {ADMISSIONS}


def test_no_answer_is_a_trained_value_of_a_split_kind(probes: list[Probe]) -> None:
    trained = {value for one, _ in LARGE for value in one.values}
    held_out = {value for _, other in LARGE for value in other.values}
    small = {value for kind in HELD_OUT for value in kind.values} - held_out
    answers = {probe.any_of[0] for probe in probes if probe.kind in ("recall", "update")}
    assert answers & trained <= small


def phrased(value: str, text: str, *fields: str) -> bool:
    """Whether the text has a held-out phrasing of a kind that the value may be of."""
    return any(
        re.search(re.escape(Fact(kind, value, "§").say(template).lower().rstrip("?.")).replace("§", ".+"), text.lower())
        for kind in HELD_OUT
        if value in kind.values or kind.invented
        for field in fields
        for template in getattr(kind, field)
    )


def test_every_fact_is_asked_in_a_held_out_phrasing(probes: list[Probe]) -> None:
    asked = [probe for probe in probes if probe.kind != "abstain"]
    assert [probe.ask for probe in asked if not phrased(probe.any_of[0], probe.ask, "ask")] == []


def test_every_single_fact_is_told_in_a_held_out_phrasing() -> None:
    """Two facts on one person may be told in one of the few clauses of COMBINED, which are not split."""
    for case in generate_cases(100, 5, Mix(most_facts=1)):
        if case.probes[0].kind in ("recall", "rare"):
            assert phrased(case.probes[0].any_of[0], said(case), "clauses", "tells")


@pytest.mark.parametrize(("value", "spellings"), [("7", ("7", "seven")), ("two", ("two", "2")), ("40.5", ("40.5",))])
def test_a_number_counts_as_a_word_and_in_digits(value: str, spellings: tuple[str, ...]) -> None:
    assert _spellings(value) == spellings


def test_near_misses_are_asked_after_the_same_was_told() -> None:
    usual, near = (list(generate_cases(60, 5, Mix(near=near))) for near in (False, True))
    texts = [[text for case in cases for talk in case.conversations for text in talk] for cases in (usual, near)]
    assert texts[0] == texts[1]
    asked = [[one.ask for case in cases for one in case.probes if one.kind == "abstain"] for cases in (usual, near)]
    assert len(asked[0]) == len(asked[1]) and asked[0] != asked[1]


@pytest.mark.parametrize(("near", "digest"), [(False, "645d0fb0"), (True, "0325e460")])
def test_the_cases_are_those_that_the_published_figures_were_measured_on(near: bool, digest: str) -> None:
    cases = [(case.conversations, case.probes) for case in generate_cases(60, 2027, Mix(near=near))]
    text = repr(cases).replace(", before=()", "")  # the digests are older than follow-ups, which no generated case has
    assert sha256(text.encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize(
    ("name", "least"), [("everyday", 150), ("second", 200), ("followups", 60), ("followups_second", 40)]
)
def test_cases_that_people_wrote_can_be_asked_and_answered(name: str, least: int) -> None:
    cases = read_cases(HOME / "benchmarks" / f"{name}.jsonl")
    assert len({case.id for case in cases}) == len(cases) >= least
    for probe in (probe for case in cases for probe in case.probes):
        assert probe.any_of and not set(probe.any_of) & set(probe.none_of)
        assert probe.kind != "abstain" or set(probe.any_of) <= set(ADMISSIONS)

"""Scenes are told as they are written, with values drawn: what they tell, change, and leave to others is known."""

from __future__ import annotations

from random import Random

from tests.training.small import CITY, JOB, SISTER, chat
from tests.training.test_facts import normal
from training.dialogues import Author
from training.facts import Fact, Values
from training.kinds import PHRASINGS, load_kinds
from training.scenes import PLACE, Scene, goes_with, load_scenes, play, read_scene

KINDS = {kind.name: kind for kind in load_kinds(held_out=False, wider=True)}
SMALL = {kind.name: kind for kind in (CITY, JOB, SISTER)}
SCENES = load_scenes()


def said(facts: list[Fact]) -> str:
    return ", ".join(f"{fact.slot or fact.kind.name} {fact.value}" for fact in facts)


def played(line: str, seed: int = 0) -> tuple[list[str], list[str], list[Fact]]:
    turns, facts = play(Random(seed), read_scene(line), SMALL, Values(), lambda _, facts: said(facts))
    return [turn.user for turn in turns], [turn.assistant for turn in turns], facts


def test_a_fact_is_one_value_wherever_it_stands_and_is_what_the_reply_is_about() -> None:
    line = f"I live in {{{CITY.name}}}. | {{{CITY.name}}}! My sis is {{{SISTER.name}@sister}}"
    texts, replies, (city, sister) = played(line)
    assert texts == [f"I live in {city.value}.", f"{city.value}! My sis is {sister.value}"]
    assert replies == [f"{CITY.name} {city.value}", f"{CITY.name} {city.value}, sister {sister.value}"]


def test_a_change_leaves_the_new_value_and_remembers_the_old() -> None:
    texts, replies, (city,) = played(f"I live in {{{CITY.name}}} | no, {{{CITY.name}>}}")
    assert city.old and city.value != city.old
    assert texts == [f"I live in {city.old}", f"no, {city.value}"] and replies[-1] == f"{CITY.name} {city.value}"


def test_what_is_somebody_elses_is_no_fact() -> None:
    for seed in range(20):
        texts, _, (city,) = played(f"I live in {{{CITY.name}}}, not in {{{CITY.name}~}}", seed)
        assert texts[0].count(city.value) == 1


def test_what_tells_nothing_has_the_reply_that_was_written() -> None:
    assert played("hello => Hi there!") == (["hello"], ["Hi there!"], [])


def test_a_value_in_a_message_without_capitals_may_have_none_but_the_reply_spells_it() -> None:
    written = {played(f"i live in {{{CITY.name}}}", seed)[0][0].split()[-1] for seed in range(20)}
    assert {text == text.lower() for text in written} == {True, False}
    assert all(played(f"i live in {{{CITY.name}}}", seed)[1][0][-1:].isalpha() for seed in range(3))


def test_an_article_is_mended() -> None:
    texts = {played(f"I'm a {{{JOB.name}}}", seed)[0][0] for seed in range(40)}
    assert all((" an " in text) == (text.split()[-1][0].lower() in "aeiou") for text in texts)


def test_scenes_go_with_facts_that_can_be_told_apart_from_theirs() -> None:
    scene = read_scene(f"I live in {{{CITY.name}}}")
    assert goes_with(scene, [Fact(JOB, "nurse")], SMALL, ())
    assert not goes_with(scene, [Fact(CITY, "Rome")], SMALL, ())


def test_an_author_tells_in_scenes_and_knows_what_they_told() -> None:
    scenes = [read_scene(f"so, {{{CITY.name}}} is home"), read_scene(f"my sis {{{SISTER.name}@sister}} is here")]
    author = Author([CITY, JOB, SISTER], chat, Values(), scenes=scenes)
    memories = [author.memory(Random(seed), 2, 0) for seed in range(60)]
    texts = [turn.user for memory in memories for turn in memory.turns]
    assert any(text.startswith("so, ") for text in texts) and any(text.startswith("my sis ") for text in texts)
    for memory in memories:
        assert len({fact.key for fact in memory.facts}) == len(memory.facts) >= 2
        everything = " ".join(turn.user.lower() for turn in memory.turns)
        assert all((fact.old or fact.value).lower() in everything for fact in memory.facts)


def test_every_scene_can_be_played() -> None:
    for scene in SCENES:
        _check(scene)
        turns, facts = play(Random(0), scene, KINDS, Values(), lambda _, facts: said(facts))
        assert {fact.key for fact in facts} == set(scene.keys) and all(turn.assistant for turn in turns), scene


def _check(scene: Scene) -> None:
    told = set[tuple[str, str]]()
    for text, reply in scene.messages:
        places = PLACE.findall(text)
        assert not set("{}") & set(PLACE.sub("", text)), text
        assert bool(reply) != any(mark != "~" for *_, mark in places), text
        for _, name, slot, mark in places:
            kind = KINDS[name]
            assert mark == "~" or slot in kind.slots, text
            assert mark != ">" or ((name, slot) in told and kind.change), text
            told |= {(name, slot)} if not mark else set()


def test_no_message_of_a_scene_is_a_held_out_phrasing() -> None:
    held_out = {
        normal(text.replace("{s}", slot))
        for kind in load_kinds(held_out=True)
        for name in PHRASINGS
        for text in getattr(kind, name)
        for slot in kind.slots
    }
    messages = {PLACE.sub(r"\1{v}", text) for scene in SCENES for text, _ in scene.messages}
    assert [text for text in messages if normal(text) in held_out] == []

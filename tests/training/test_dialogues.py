"""Synthetic memories: told, then changed, then asked; and what was never told is never answered."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.training.small import CITY, JOB, SISTER, chat, small_author
from training.corpora import Turn
from training.dialogues import Author, Memory, Step
from training.facts import COMBINED, Fact, Values
from training.kinds import load_kinds
from training.remarks import NOTHING_YET, load_small_talk

KINDS = load_kinds(held_out=False)
SEEDS = range(200)


def memory(seed: int, count: int = 3, fillers: int = 2) -> Memory:
    return small_author().memory(Random(seed), count, fillers)


def filled(fact: Fact, *fields: str) -> list[str]:
    return [fact.say(text).lower() for field in fields for text in getattr(fact.kind, field)]


def places(said: Memory, texts: list[str]) -> list[int]:
    return [i for i, turn in enumerate(said.turns) if any(text.rstrip(".") in turn.user.lower() for text in texts)]


def test_the_same_seed_writes_the_same_memory() -> None:
    assert memory(7) == memory(7)


def test_every_fact_is_told() -> None:
    for seed in SEEDS:
        said = memory(seed)
        users = " ".join(turn.user.lower() for turn in said.turns)
        assert all((fact.old or fact.value).lower() in users for fact in said.facts)


def test_a_fact_is_told_before_it_changes() -> None:
    changed = [(said, fact) for said in map(memory, SEEDS) for fact in said.facts if fact.old and fact.kind is CITY]
    assert len(changed) > 20
    for said, fact in changed:
        told = places(said, filled(Fact(CITY, fact.old), "clauses", "tells"))
        assert min(told) < max(places(said, filled(fact, "change", "clauses")))


def test_a_fact_is_told_before_it_changes_even_where_its_value_is_part_of_a_word() -> None:
    author, travel, pet = small_author(), Fact(CITY, "car"), Fact(SISTER, "Oscar", "aunt")
    for seed in SEEDS:
        steps = [Step([Turn("My aunt is Oscar.", "Hi!")], (pet,)), Step([Turn("I live in car.", "Fine.")], (travel,))]
        author._changed_later(Random(seed), travel, steps)
        assert steps[1].told == (travel,)


def test_the_final_value_is_the_newest() -> None:
    for seed in SEEDS:
        said = memory(seed, fillers=0)
        for fact in (fact for fact in said.facts if fact.old and fact.kind is CITY):
            newer = places(said, filled(fact, "change", "clauses"))
            older = places(said, filled(Fact(CITY, fact.old), "clauses", "tells"))
            assert max(newer) > max(older)


def test_about_a_quarter_of_the_facts_change() -> None:
    facts = [fact for seed in SEEDS for fact in memory(seed).facts]
    assert 0.1 < sum(bool(fact.old) for fact in facts) / len(facts) < 0.3


def test_a_kind_without_change_stays_as_told() -> None:
    author = Author([replace(CITY, change=())], chat, Values())
    assert not any(fact.old for seed in SEEDS for fact in author.memory(Random(seed), 1, 0).facts)


def test_fillers_add_turns_but_no_facts() -> None:
    said = memory(3, count=1, fillers=9)
    assert len(said.facts) == 1
    assert len(said.turns) >= 10


def test_no_message_is_empty_or_has_a_brace_left() -> None:
    author = Author(KINDS, chat, Values())
    for seed in SEEDS:
        said = author.memory(Random(seed), 6, 3)
        texts = [text for turn in said.turns for text in turn]
        assert [text for text in texts if not text.strip() or "{" in text] == []


def test_every_combined_kind_is_in_the_catalogue() -> None:
    names = {kind.name for kind in KINDS}
    assert {name for pair in COMBINED for name in pair} <= names


def test_combined_clauses_name_both_values() -> None:
    assert all("{v}" in text and "{w}" in text for clauses in COMBINED.values() for text in clauses)


def test_a_becomes_an_in_a_combined_clause_too() -> None:
    fact = Fact(replace(SISTER, name="relative_name"), "Marta", "sister")
    partner = Fact(replace(JOB, name="relative_job"), "actor", "sister")
    said = [small_author()._combined_turn(Random(seed), fact, partner).user for seed in SEEDS]
    assert [text for text in said if " a actor" in text] == []


def test_an_answer_holds_the_value_and_its_question_does_not() -> None:
    for seed in SEEDS:
        asked = small_author().ask(Random(seed), Fact(SISTER, "Marta", "sister"))
        assert asked.values == ("Marta",)
        assert "Marta" in asked.turn.assistant
        assert "Marta" not in asked.turn.user


def test_a_check_is_answered_yes_only_for_the_true_value() -> None:
    checks = [small_author().ask(Random(seed), Fact(CITY, "Rome")).turn for seed in range(600)]
    checks = [turn for turn in checks if turn.user.startswith("Do I") and " or " not in turn.user]
    assert len(checks) > 20
    for turn in checks:
        assert turn.assistant.startswith("Yes, " if "Rome" in turn.user else "No, ")
        assert "Rome" in turn.assistant


def test_either_or_is_answered_with_the_true_value_alone() -> None:
    turns = [small_author().ask(Random(seed), Fact(CITY, "Rome")).turn for seed in range(600)]
    either = [turn for turn in turns if " or " in turn.user]
    assert len(either) > 10
    assert {turn.user.index("Rome") < turn.user.index(" or ") for turn in either} == {True, False}
    assert [turn for turn in either if "Rome" not in turn.assistant or turn.assistant.startswith(("Yes", "No"))] == []


def test_a_summary_holds_every_value_of_a_few_facts() -> None:
    facts = [Fact(SISTER, "Marta", "sister"), Fact(CITY, "Rome")]
    asked = small_author().summary(Random(0), facts)
    assert set(asked.values) == {"Marta", "Rome"}
    assert all(value in asked.turn.assistant for value in asked.values)
    assert asked == small_author().summary(Random(0), facts[::-1])  # one order, however it was told


def test_a_summary_of_nothing_says_so() -> None:
    assert small_author().summary(Random(0), []).turn.assistant in NOTHING_YET


def test_a_planted_fact_is_the_assistants_alone() -> None:
    planted = [small_author().planted(Random(seed), [Fact(CITY, "Rome")]) for seed in range(50)]
    told = set(CITY.values) | set(SISTER.values)
    assert [turn for turn in planted if any(value in turn.user for value in told)] == []
    assert any(value in turn.assistant for turn in planted for value in told)


def test_a_reply_to_news_mostly_says_all_that_was_understood() -> None:
    facts = [Fact(CITY, "Rome"), Fact(SISTER, "Marta", "sister")]
    replies = [small_author().tell_turn(Random(seed), facts).assistant for seed in SEEDS]
    whole = [text for text in replies if "You live in Rome." in text and "Your sister is called Marta." in text]
    assert 0.9 < len(whole) / len(replies) < 1


def test_a_reply_to_a_change_says_what_is_true_now() -> None:
    changed = Fact(CITY, "Rome").changed("Oslo")
    replies = [small_author().change_turn(Random(seed), changed).assistant for seed in SEEDS]
    assert sum("You live in Oslo." in text for text in replies) > 0.75 * len(replies)
    assert [text for text in replies if "Rome" in text] == []


def test_news_tell_something_new_or_change_what_was_told() -> None:
    told = [Fact(SISTER, "Marta", "sister")]
    drawn = [small_author().news(Random(seed), told) for seed in SEEDS]
    assert all(fact.value in turn.user for turn, facts in drawn for fact in facts)
    assert {len(facts) for _, facts in drawn} == {1, 2, 3}
    news = [turn for turn, _ in drawn]
    assert any(value in turn.user for turn in news for value in CITY.values)
    assert [turn for turn in news if not turn.user or not turn.assistant] == []


def test_a_misheard_turn_keeps_what_the_user_said() -> None:
    turn = Turn("I live in Rome.", "How nice!")
    for seed in SEEDS:
        assert small_author().misheard(Random(seed), turn, [Fact(CITY, "Rome")]).user == turn.user


def test_what_was_never_told_is_never_about_a_told_fact() -> None:
    facts = [Fact(CITY, "Rome"), Fact(SISTER, "Marta", "aunt")]
    for seed in SEEDS:
        asked = small_author().unknown(Random(seed), facts)
        assert asked.values == ()
        assert "where you live" not in asked.turn.assistant
        assert asked.turn.assistant != SISTER.unknown[0].replace("{s}", "aunt") or "job" in asked.turn.user


def test_what_was_never_told_is_not_of_a_told_group() -> None:
    pet = next(kind for kind in KINDS if kind.name == "favorite_animal")
    near = next(kind for kind in KINDS if kind.name == "pet_kind")
    author = Author([pet, near, CITY], chat, Values())
    for seed in SEEDS:
        asked = author.unknown(Random(seed), [Fact(pet, "dog")])
        assert asked.turn.assistant in CITY.unknown


def test_a_sister_is_not_unknown_where_an_older_sister_was_told() -> None:
    author = Author([SISTER], chat, Values())
    asked = [author.unknown(Random(seed), [Fact(SISTER, "Marta", "older sister")]).turn.user for seed in SEEDS]
    assert [text for text in asked if "sister" in text] == []


def test_small_talk_is_one_exchange_of_the_catalogue() -> None:
    talk = load_small_talk()
    drawn = [talk(Random(seed)) for seed in SEEDS]
    assert all(len(turns) == 1 and all(turns[0]) for turns in drawn)
    assert len(set(map(tuple, drawn))) > 50


def test_a_near_question_is_about_what_could_be_mistaken_for_something_told() -> None:
    trade, name = replace(CITY, name="trade", values=("actor", "nurse")), replace(SISTER, name="relative_name")
    pet = replace(SISTER, name="pet_name", values=("Rex",), slots=("dog",), ask=("What is my {s} called?",))
    told = [Fact(pet, "Rex", "dog")]
    for near, least, most in ((0.0, 0.2, 0.5), (0.9, 0.85, 1.0)):
        author = Author([trade, CITY, name, pet], chat, Values(), near=near)
        asked = [author.unknown(Random(seed), told).turn.user.lower() for seed in range(300)]
        assert least < sum("called" in text for text in asked) / 300 < most
        assert not any("my dog" in text for text in asked)


def test_a_telling_stands_amid_other_talk_as_often_as_asked_for() -> None:
    author = replace(small_author(), amid=0.3)
    told = [author.tell_turn(Random(seed), [Fact(CITY, "Rome")]) for seed in range(400)]
    amid = [turn for turn in told if "Nice weather!" in turn.user or "How are you?" in turn.user]
    plain = [small_author().tell_turn(Random(seed), [Fact(CITY, "Rome")]).user for seed in range(400)]
    leading = sum("How are you?" in text for text in plain)
    assert 0.2 < (len(amid) - leading) / 400 < 0.4
    assert all("Rome" in turn.user for turn in told)


def test_a_fact_is_asked_for_before_it_is_told_and_at_once_afterwards() -> None:
    author = replace(small_author(), asked=0.3)
    orders = set()
    for seed in SEEDS:
        said = author.memory(Random(seed), 1, 0)
        fact = replace(said.facts[0], value=said.facts[0].old or said.facts[0].value)
        asks = places(said, [question.rstrip("?") for question in filled(fact, "ask")])
        if asks and asks[0] == 0:
            assert said.turns[0].assistant in [fact.say(text) for text in fact.kind.unknown]
            orders.add("before")
        elif asks:
            assert asks[0] == 1 and fact.value in said.turns[1].assistant
            orders.add("after")
    assert orders == {"before", "after"}
    assert not any(places(said, filled(said.facts[0], "ask")) for said in (memory(seed, 1, 0) for seed in SEEDS))


def test_what_is_misheard_may_be_denied_though_it_was_just_told() -> None:
    author, fact = small_author(), Fact(CITY, "Rome")
    told = Turn("I live in Rome.", "You live in Rome.")
    replies = [author.misheard(Random(seed), told, [fact]).assistant for seed in SEEDS]
    assert {fact.say(text) for text in CITY.unknown} & set(replies)

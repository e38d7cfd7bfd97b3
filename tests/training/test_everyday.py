"""What people tell most often is drawn most often, in plain words that evaluation does not use."""

from __future__ import annotations

import tomllib
from collections import Counter
from random import Random

from benchmarks.recall import is_admission
from tests.training.test_facts import normal
from training.dialogues import Author
from training.everyday import ASIDES, CLOSE, PAIRS, PLAIN, SLANG, TOGETHER, USUAL, everyday
from training.facts import COMBINED, Fact, Values, draw_facts
from training.kinds import CATALOGUE, PHRASINGS, load_kinds
from training.remarks import held_out_asides, load_small_talk, with_asides
from training.untold import Untold

KINDS = load_kinds(held_out=False, wider=True)
DRAWN = everyday(KINDS)
HELD_OUT = {kind.name: kind for kind in load_kinds(held_out=True)}


def test_the_usual_kinds_are_kinds_and_most_of_what_is_drawn() -> None:
    assert {*USUAL} <= {kind.name for kind in KINDS} == {kind.name for kind in DRAWN}
    usual = sum(kind.name in USUAL for kind in DRAWN)
    assert 0.5 < usual / len(DRAWN) < 0.75


def test_what_is_plain_is_half_of_what_is_said() -> None:
    pet = next(kind for kind in DRAWN if kind.name == "pet_name")
    assert pet.clauses[0] == "I have a {s} called {v}"
    for phrasings in (pet.clauses, pet.ask):
        many = {phrasing for phrasing, times in Counter(phrasings).items() if times > 1}
        assert len(many) > PLAIN and 0.4 < sum(phrasing in many for phrasing in phrasings) / len(phrasings) < 0.65
    slots = Counter(pet.slots)
    assert slots["dog"] > slots["cat"] > slots["rabbit"] > slots["cuttlefish"] == 1


def test_nothing_is_lost_and_no_held_out_phrasing_is_taken() -> None:
    for kind in DRAWN:
        whole = next(one for one in KINDS if one.name == kind.name)
        assert all({*getattr(whole, name)} <= {*getattr(kind, name)} for name in (*PHRASINGS, "slots"))
        if other := HELD_OUT.get(kind.name):
            held_out = {normal(text) for name in PHRASINGS for text in getattr(other, name)}
            added = {*kind.clauses, *kind.change, *kind.ask} - {*whole.clauses, *whole.change, *whole.ask}
            assert not held_out & {normal(text) for text in added}


def test_kinds_that_people_tell_together_are_told_together_where_that_is_asked_for() -> None:
    pairs = [kind for kind in KINDS if kind.name in ("favorite_food", "disliked_food", "favorite_dessert")]
    told = [{fact.kind.name for fact in draw_facts(Random(seed), pairs, 3, Values(), TOGETHER)} for seed in range(99)]
    assert {"favorite_food", "disliked_food"} in told
    assert not any("favorite_dessert" in names and len(names) > 1 for names in told)
    assert all(len({fact.kind.name for fact in draw_facts(Random(0), pairs, 3, Values())}) == 1 for _ in range(9))


def test_two_facts_of_one_person_are_told_in_one_message() -> None:
    pair = [kind for kind in KINDS if kind.name in ("name", "job")]
    author = Author(pair, load_small_talk(), Values(), combined={**COMBINED, **PAIRS})
    said = [author.memory(Random(seed), 2, 0).turns[0].user.lower() for seed in range(200)]
    assert any(" and i'm a" in text for text in said)


def test_questions_name_people_by_other_words_and_answers_by_their_own() -> None:
    assert {*SLANG} <= {slot for kind in KINDS for slot in kind.slots}
    author = Author(KINDS, load_small_talk(), Values(), slang=SLANG)
    wife = Fact(next(kind for kind in KINDS if kind.name == "relative_name"), "Ada", "wife")
    asked = [author.ask(Random(seed), wife).turn for seed in range(200)]
    slangy = [turn for turn in asked if "missus" in turn.user or "wifey" in turn.user]
    assert 10 < len(slangy) < 80 and all("wife" in turn.assistant or "Ada" in turn.assistant for turn in slangy)


def test_after_one_of_a_pair_the_other_is_asked_for_and_was_never_told() -> None:
    pair = [kind for kind in KINDS if kind.name in ("instrument", "sport_played", "eye_color")]
    told = [Fact(next(kind for kind in pair if kind.name == "instrument"), "cello")]
    drawn = {
        together: Counter(
            Untold(pair, Values(), 0.9, together).draw(Random(seed), told).kind.name for seed in range(99)
        )
        for together in ((), TOGETHER)
    }
    assert drawn[TOGETHER]["sport_played"] > 80 > 60 > drawn[()]["sport_played"]


def test_after_the_name_of_a_dog_that_of_another_animal_is_asked_for_and_the_dogs_age() -> None:
    told = [Fact(next(kind for kind in DRAWN if kind.name == "pet_name"), "Biscuit", "dog")]
    untold = Untold(DRAWN, Values(), CLOSE, TOGETHER)
    drawn = Counter(fact.key for fact in (untold.draw(Random(seed), told) for seed in range(400)))
    names = sum(times for (kind, animal), times in drawn.items() if kind == "pet_name" and animal != "dog")
    others = sum(times for (_, animal), times in drawn.items() if animal == "dog")
    assert names > 60 and others > 30 and drawn["pet_age", "dog"] > 5
    assert ("pet_name", "dog") not in drawn


def test_a_denial_may_go_on_with_what_is_known_of_the_same_animal() -> None:
    told = [Fact(next(kind for kind in DRAWN if kind.name == "pet_name"), "Biscuit", "dog")]
    author = Author(DRAWN, load_small_talk(), Values(), near=CLOSE, together=TOGETHER)
    told_more = 0
    for seed in range(200):
        plain, more = (author.unknown(Random(seed), told, recalled) for recalled in (0.0, 0.99))
        assert plain.values == () and "Biscuit" not in plain.turn.assistant
        assert more.turn.user == plain.turn.user
        assert plain.turn.assistant[1:-1] in more.turn.assistant
        assert ("Biscuit" in more.turn.assistant) == (more.values == ("Biscuit",))
        told_more += bool(more.values)
    assert 100 < told_more < 190  # the rest is like nothing that was told


def test_asides_ask_for_no_fact_and_get_an_answer_that_states_and_denies_none() -> None:
    exchanges = tomllib.loads((CATALOGUE / "asides.toml").read_text(encoding="utf-8"))["exchange"]
    asides = [text for exchange in exchanges for text in (*exchange["user"], exchange["held_out"])]
    asked = {normal(text) for kind in (*KINDS, *HELD_OUT.values()) for text in (*kind.ask, *kind.check)}
    assert not asked & {normal(text) for text in asides} and len({*map(normal, asides)}) == len(asides) > 400
    replies = [text for exchange in exchanges for text in exchange["reply"]]
    assert not [text for text in replies if is_admission(text) or text.startswith("Your ")]


def test_training_draws_no_held_out_aside() -> None:
    draw = load_small_talk("asides")
    drawn = {draw(Random(seed))[0].user for seed in range(9000)}
    assert len(drawn) > 380 and not drawn & {*held_out_asides()}


def test_a_share_of_everyday_talk_is_asides() -> None:
    asides, plain = load_small_talk("asides"), load_small_talk()
    known = {turn.user for seed in range(9000) for turn in asides(Random(seed))}
    drawn = [with_asides(plain, ASIDES)(Random(seed))[0].user for seed in range(500)]
    assert abs(sum(text in known for text in drawn) / 500 - ASIDES) < 0.1

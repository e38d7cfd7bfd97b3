"""Questions that name a value: who somebody is."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from training.dialogues import Author
from training.everyday import IDENTITIES
from training.facts import Fact, Question, Values
from training.kinds import load_kinds
from training.questions import NOBODY
from training.remarks import load_small_talk

KINDS = load_kinds(held_out=False, wider=True)
NAMES = [kind for kind in KINDS if kind.name == "relative_name"]
TOM = Fact(NAMES[0], "Tom", "husband")
EVEN = Author(NAMES, load_small_talk(), Values())
USUAL = Author(NAMES, load_small_talk(), Values(), identities=IDENTITIES)


def about_whose(questions: list[Question], name: str) -> list[Question]:
    """Those that name somebody and ask who that is."""
    return [
        asked for asked in questions if name.lower() in asked.turn.user.lower() and "who" in asked.turn.user.lower()
    ]


def test_whose_a_name_is_gets_asked_where_that_is_wanted_and_is_a_kind_of_the_catalogue() -> None:
    assert {*IDENTITIES} <= {kind.name for kind in KINDS}
    asked = about_whose([USUAL.ask(Random(seed), TOM) for seed in range(300)], "Tom")
    assert 20 < len(asked) < 90
    assert {(question.turn.assistant, question.values) for question in asked} == {
        ("Tom is your husband.", ("husband",))
    }
    assert all("husband" not in EVEN.ask(Random(seed), TOM).values for seed in range(300))


def test_who_was_never_told_is_not_known_and_who_was_is_never_denied() -> None:
    drawn = [USUAL.unknown(Random(seed), [TOM]) for seed in range(300)]
    denials = {text.partition("{v}")[0] for text in NOBODY}
    denied = [asked for asked in drawn if asked.turn.assistant.startswith(tuple(denials))]
    assert 20 < len(denied) < 90 and all(asked.values == () for asked in denied)
    assert not about_whose(drawn, "Tom")


def test_who_is_one_of_two_told_in_one_breath_is_never_denied() -> None:
    pair = next(kind for kind in KINDS if kind.name == "pet_names")
    kinds, both = [pair, replace(NAMES[0], values=("Miso",))], Fact(pair, "Miso and Gravy", "cats")
    author = Author(kinds, load_small_talk(), Values(), identities=IDENTITIES)
    drawn = [author.unknown(Random(seed), [both]) for seed in range(200)]
    assert not any(asked.turn.assistant.endswith(("who Miso is.", "Miso to me.")) for asked in drawn)

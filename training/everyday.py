"""What people tell a stranger about themselves most often, in their plainest words, drawn most often.

The catalogue has every kind, word and phrasing once, for range; drawn evenly, a dog's name is as rare as that of a
cuttlefish. Works on kinds as they were loaded, and knows the usual ones by name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from training.kinds import CATALOGUE, Kind

USUAL = (
    *("name", "age", "home_city", "origin", "job", "employer", "study_subject", "relative_name", "number_of_children"),
    *("friend_name", "pet_name", "pet_kind", "hobby", "sport_played", "instrument", "favorite_food", "disliked_food"),
    *("favorite_drink", "allergy", "favorite_color", "music_genre", "language", "vehicle", "birthday_date"),
    *(
        "travel_plan",
        "favorite_film",
        "favorite_book",
        "favorite_band",
        "relative_city",
        "relative_job",
        "relative_age",
    ),
    *("pet_breed", "pet_names", "children_names", "relative_study", "relative_origin", "subject_taught"),
    *("business_kind", "former_job", "study_city", "home_region", "health_condition", "usual_exercise"),
)
"""The kinds, those first that are said first when all that is known is asked for."""

EVERYDAY = CATALOGUE / "everyday"
TIMES = 8  # a usual kind is drawn as often as so many others
PLAIN, SHARE = 12, 0.5  # of what is told and asked, so much is in the plain phrasings and so many first ones
OFTEN = 60  # the first of the words that a kind is about ("dog") is drawn as often as so many of the last

CLOSE = 0.7  # of what is asked and was never told, so much could be taken for what was told: see Author
ASIDES = 0.5  # of small talk: questions with the words of those about oneself, to which no fact is an answer

TOGETHER = (
    frozenset({"favorite_food", "disliked_food"}),
    frozenset({"home_city", "origin"}),
    frozenset({"job", "employer"}),
    frozenset({"job", "workplace_city"}),
    frozenset({"study_subject", "university"}),
    frozenset({"favorite_book", "favorite_author"}),
    frozenset({"pet_name", "pet_age"}),
    frozenset({"pet_name", "pet_color"}),
    frozenset({"pet_age", "pet_color"}),
    frozenset({"instrument", "sport_played"}),
    frozenset({"age", "birthday_date"}),
    frozenset({"name", "age"}),
    frozenset({"name", "surname"}),
    frozenset({"favorite_film", "tv_show"}),
    frozenset({"favorite_drink", "favorite_food"}),
    frozenset({"favorite_band", "favorite_song"}),
    frozenset({"number_of_children", "relative_name"}),
    frozenset({"relative_name", "relative_age"}),
    frozenset({"relative_city", "home_city"}),
    frozenset({"travel_plan", "home_city"}),
    frozenset({"moving_to", "home_city"}),
    frozenset({"years_lived_here", "home_city"}),
    frozenset({"years_at_job", "job"}),
    frozenset({"number_of_children", "children_names"}),
    frozenset({"relative_origin", "relative_city"}),
    frozenset({"relative_study", "relative_job"}),
    frozenset({"friend_name", "friend_job"}),
    frozenset({"pet_name", "pet_breed"}),
    frozenset({"pet_age", "pet_breed"}),
    frozenset({"pet_color", "pet_breed"}),
    frozenset({"study_subject", "study_city"}),
    frozenset({"business_kind", "business_name"}),
    frozenset({"age", "birth_year"}),
    frozenset({"birthday_date", "birth_year"}),
    frozenset({"wedding_month", "wedding_place"}),
)
"""Kinds that are easily taken for each other. People tell both, or one, and ask for the other."""

PAIRS = {
    ("name", "age"): ["I'm {v}, {w}", "I'm {v} and I'm {w} years old", "my name is {v} and I'm {w}"],
    ("name", "home_city"): ["I'm {v} and I live in {w}", "{v} here, living in {w}", "my name is {v}, I live in {w}"],
    ("name", "origin"): ["I'm {v} from {w}", "my name is {v} and I'm from {w}"],
    ("name", "job"): ["I'm {v}, a {w}", "my name is {v} and I'm a {w}", "I'm {v} and I work as a {w}"],
    ("job", "employer"): ["I'm a {v} at {w}", "I work for {w} as a {v}", "I work as a {v} at {w}"],
    ("home_city", "origin"): ["I live in {v} but I'm from {w}", "I'm from {w} and live in {v}"],
    ("pet_name", "pet_breed"): ["my {s} {v} is a {w}", "{v} is our {s}, a {w}", "we have a {s}, {v}, she's a {w}"],
    ("relative_name", "relative_study"): ["my {s} {v} studies {w}", "my {s} {v} is studying {w}"],
    ("relative_name", "relative_origin"): ["my {s} {v} is from {w}", "my {s} {v} comes from {w}"],
    ("study_subject", "study_city"): ["I study {v} in {w}", "I'm studying {v} in {w}", "studying {v} in {w} atm"],
    ("job", "years_at_job"): ["I've been a {v} for {w}", "I have worked as a {v} for {w}"],
    ("home_city", "years_lived_here"): ["I've lived in {v} for {w}", "been living in {v} for {w}"],
    ("name", "subject_taught"): ["I'm {v}, I teach {w}", "my name is {v} and I teach {w}"],
    ("business_name", "business_kind"): ["I run a {w} called {v}", "{v} is my own {w}"],
    ("favorite_food", "disliked_food"): ["I love eating {v} but hate {w}", "I like {v}, but I don't like {w}"],
}
"""Two facts on one person, told as one: see `dialogues.COMBINED`."""


SLANG = {
    "girlfriend": ("gf", "missus"),
    "boyfriend": ("bf",),
    "husband": ("hubby", "hubs"),
    "wife": ("missus", "wifey"),
    "mother": ("mum", "mom", "mam"),
    "father": ("dad", "papa"),
    "sister": ("sis",),
    "brother": ("bro",),
    "grandmother": ("nan", "gran", "grandma"),
    "grandfather": ("grandad", "grandpa"),
    "son": ("boy",),
    "daughter": ("girl",),
    "dog": ("pup", "doggo"),
    "cat": ("kitty",),
}
"""Other words for those that facts are about, as questions have them."""

IDENTITIES = {
    "relative_name": "{v} is your {s}.",
    "pet_name": "{v} is your {s}.",
    "two_animals": "{v} is your {s}.",
    "coworker_name": "{v} is your {s}.",
    "boss_or_teacher_name": "{v} is your {s}.",
}
"""What somebody is whose name is known, by the kind that told it."""


def everyday(kinds: Sequence[Kind]) -> list[Kind]:
    """The kinds, the usual ones many times, each with its plain phrasings and its common words many times."""
    plain = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(EVERYDAY.glob("*.toml"))]
    own = {kind.name: _plainer(kind, [phrasings.get(kind.name, {}) for phrasings in plain]) for kind in kinds}
    return [kind for name, kind in own.items() for _ in range(TIMES if name in USUAL else 1)]


def _plainer(kind: Kind, plain: Sequence[dict[str, list[str]]]) -> Kind:
    phrasings: dict[str, Any] = {
        name: _weighted([text for one in plain for text in one.get(name, ())], getattr(kind, name))
        for name in ("clauses", "change", "ask")
    }
    slots = tuple(slot for i, slot in enumerate(kind.slots) for _ in range(max(1, OFTEN // (i + 1))))
    return replace(kind, slots=slots, **phrasings)


def _weighted(plain: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """All of them, the plain ones and the first options so many times that they are a SHARE of the whole."""
    first, rest = [*plain, *options[:PLAIN]], options[PLAIN:]
    times = max(1, round(SHARE / (1 - SHARE) * len(rest) / max(1, len(first))))
    return (*(first * times), *rest)

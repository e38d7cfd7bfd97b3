"""The catalogue of facts: kinds, their phrasings and values, and the split between training and held-out.

Reads `catalogue/*.toml`. Knows single facts and sentences about them; dialogues.py makes conversations of them.
"""

from __future__ import annotations

import re
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

CATALOGUE = Path(__file__).parent / "catalogue"
UNSEEN = "unseen.toml"
TRAINED = "trained"  # a folder of phrasings that are all of the training side
PHRASINGS = ("clauses", "tells", "change", "ask", "check")
# Questions of these kinds can mean each other, so at most one kind of a group is told in a memory, and a question
# about another of the group never stands for "never told".
GROUPS = (
    ("birthday_month", "birthday_date"),
    ("boss_or_teacher_name", "neighbor_name"),
    ("event_day", "exam_day"),
    ("favorite_drink", "coffee_order"),
    ("home_city", "hometown_name", "home_country", "origin"),
    ("name", "nickname"),
    ("favorite_animal", "pet_kind", "pet_name", "pet_age", "pet_color"),
    ("activity", "hobby", "sport_played", "weekend_plan", "weekend_outing"),
    ("favorite_food", "favorite_dessert", "favorite_fruit", "diet", "disliked_food"),
    ("job", "dream_job", "employer", "workplace_city"),
    ("music_genre", "favorite_band", "favorite_song", "band_name"),
    ("favorite_film", "film_genre", "tv_show"),
    ("favorite_book", "favorite_author"),
    ("study_subject", "university", "favorite_subject", "school_name"),
    ("favorite_holiday_place", "travel_plan", "last_trip"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of fact: what it may be, and every way it is told, changed, asked, answered."""

    name: str
    values: tuple[str, ...]
    slots: tuple[str, ...]
    invented: bool
    clauses: tuple[str, ...]
    tells: tuple[str, ...]
    change: tuple[str, ...]
    ask: tuple[str, ...]
    check: tuple[str, ...]
    answer: tuple[str, ...]
    unknown: tuple[str, ...]
    react: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """A value of a kind; `slot` is the word it is about ("sister"), `old` the value it replaced."""

    kind: Kind
    value: str
    slot: str = ""
    old: str = ""
    key: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.kind.name, self.slot))

    def say(self, template: str) -> str:
        """Fill a template of this fact's kind; "a {v}" becomes "an {v}" before a vowel."""
        for place, word in (("{v}", self.value), ("{s}", self.slot), ("{old}", self.old)):
            if word[:1].lower() in tuple("aeiou") and not word.lower().startswith(("uni", "eu", "one")):
                template = re.sub(rf"\b([Aa]) {re.escape(place)}", rf"\1n {place}", template)
            template = template.replace(place, word)
        return template

    def changed(self, value: str) -> Fact:
        """The same fact with a new value."""
        return replace(self, value=value, old=self.value)


def load_kinds(*, held_out: bool, folder: Path = CATALOGUE) -> list[Kind]:
    """The kinds that training knows, with the phrasings and values of one side of the split."""
    paths = sorted(path for path in folder.glob("*.toml") if path.name != UNSEEN)
    kinds = [kind for path in paths for kind in _read(path, held_out)]
    return kinds if held_out else _with_trained(kinds, folder)


def _with_trained(kinds: list[Kind], folder: Path) -> list[Kind]:
    """The kinds with the phrasings that came after the split was made, so that what is held out stays as it was."""
    more: dict[str, dict[str, list[str]]] = {}
    for path in sorted((folder / TRAINED).glob("*.toml")):
        more |= tomllib.loads(path.read_text(encoding="utf-8"))
    return [_with_phrasings(kind, more.get(kind.name, {})) for kind in kinds]


def _with_phrasings(kind: Kind, more: dict[str, list[str]]) -> Kind:
    grown: dict[str, Any] = {name: (*getattr(kind, name), *texts) for name, texts in more.items()}
    return replace(kind, **grown)


def load_unseen_kinds(folder: Path = CATALOGUE) -> list[Kind]:
    """The kinds that only evaluation knows, whole: training sees no phrasing of theirs."""
    return _read(folder / UNSEEN, None)


def _read(path: Path, held_out: bool | None) -> list[Kind]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return [_kind(entry, data["pools"], held_out) for entry in data.get("kind", [])]


def _kind(entry: dict[str, object], pools: dict[str, list[str]], held_out: bool | None) -> Kind:
    phrasings = {name: tuple(_side(entry.get(name, []), held_out)) for name in PHRASINGS}  # type: ignore[arg-type]
    fixed: dict[str, tuple[str, ...]] = {name: tuple(entry[name]) for name in ("answer", "unknown", "react", "others")}  # type: ignore[arg-type]
    return Kind(
        name=str(entry["name"]),
        values=tuple(_values(pools[str(entry["pool"])], held_out)),
        slots=tuple(pools[str(entry["slot"])]) if "slot" in entry else ("",),
        invented=bool(entry.get("invented", False)),
        **phrasings,
        **fixed,
    )


def _side(phrasings: list[str], held_out: bool | None) -> list[str]:
    """Every sixth phrasing is held out, unless it differs from a trained one in capitals and stops only."""
    if held_out is None:
        return phrasings
    trained = [text for i, text in enumerate(phrasings) if i % 6 != 5]
    if not held_out:
        return trained
    known = {_letters(text) for text in trained}
    return [text for text in phrasings[5::6] if _letters(text) not in known]


def _letters(text: str) -> str:
    return re.sub(r"[^\w{}]+", " ", text.lower().replace("'", "")).strip()


def _values(pool: list[str], held_out: bool | None) -> list[str]:
    """One value in seven is held out, by its digest: the same in every pool. Small pools (months) are not split."""
    if held_out is None or len(pool) < 30:
        return pool
    return [value for value in pool if (zlib.crc32(value.lower().encode()) % 7 == 0) == held_out]


def group_of(kind: Kind) -> tuple[str, ...]:
    """The names of the kinds whose questions may mean this one's."""
    return next((group for group in GROUPS if kind.name in group), (kind.name,))


ONSETS = [
    "b",
    "br",
    "c",
    "cl",
    "cr",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
]
VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ia", "io", "oo", "or", "ar", "en", "an", "el"]
ENDINGS = ["", "", "n", "r", "s", "l", "x", "th", "rk", "na", "la", "ra", "wick", "ton", "dell", "mir", "vi", "by"]
HELD_OUT_ONSETS = ("qu", "kr", "dr")


def invented_name(rng: Random, *, held_out: bool) -> str:
    """A name that no list has; those that begin with certain sounds are kept for evaluation."""
    onsets = [onset for onset in ONSETS if (onset in HELD_OUT_ONSETS) == held_out]
    syllables = [rng.choice(onsets) + rng.choice(VOWELS)]
    syllables += [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((0, 1, 1)))]
    return ("".join(syllables) + rng.choice(ENDINGS)).capitalize()


@dataclass(frozen=True)
class Values:
    """Draws values: of the kind's pool, with chance `rare` an invented name where the kind has them.

    With chance `novel` it is some of `words` instead, whatever they mean: a value is to be copied, not guessed from
    the kind, and the values that people will tell are in no list.
    """

    held_out: bool = False
    rare: float = 0.3
    novel: float = 0.0
    words: Sequence[str] = ()

    def draw(self, rng: Random, kind: Kind) -> str:
        """One value of a kind."""
        if rng.random() < self.novel:
            value = " ".join(rng.choice(self.words) for _ in range(rng.choice((1, 1, 2, 2, 3))))
            return value.title() if kind.values[0][0].isupper() else value
        if kind.invented and rng.random() < self.rare:
            return invented_name(rng, held_out=self.held_out)
        return rng.choice(kind.values)


def draw_facts(rng: Random, kinds: list[Kind], count: int, values: Values) -> list[Fact]:
    """Draw `count` facts whose questions cannot mean each other."""
    facts: dict[tuple[str, str], Fact] = {}
    owner: dict[str, str] = {}  # group -> the one kind of it that is told
    for _ in range(20 * count):
        if len(facts) == count:
            break
        kind = rng.choice(kinds)
        group = group_of(kind)[0]
        if owner.setdefault(group, kind.name) != kind.name:
            continue
        fact = Fact(kind, values.draw(rng, kind), rng.choice(kind.slots))
        if not any(alike(fact.key, key) for key in facts):
            facts[fact.key] = fact
    return list(facts.values())


def alike(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two facts are of one kind and their slot words overlap ("sister", "older sister")."""
    return one[0] == other[0] and bool(set(one[1].split()) & set(other[1].split()) or one[1] == other[1])

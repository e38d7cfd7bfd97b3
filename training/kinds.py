"""The catalogue of facts: kinds, their phrasings and values, and the split between training and held-out.

Reads `catalogue/*.toml`, which holds both sides, and what came after the split and is all of the training side:
phrasings in `catalogue/trained/`, and in `catalogue/wider/` more phrasings, values and kinds, which only the
last stages draw. Knows no single fact.
"""

from __future__ import annotations

import re
import tomllib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parent / "catalogue"
UNSEEN = "unseen.toml"
TRAINED, WIDER = "trained", "wider"  # folders of what came after the split: all of the training side
PHRASINGS = ("clauses", "tells", "change", "ask", "check")
# Questions of these kinds can mean each other, so at most one kind of a group is told in a memory, and a question
# about another of the group never stands for "never told".
GROUPS = (
    ("birthday_month", "birthday_date"),
    ("boss_or_teacher_name", "neighbor_name", "coworker_name"),
    ("event_day", "exam_day"),
    ("favorite_drink", "coffee_order"),
    ("home_city", "hometown_name", "home_country", "origin", "home_region", "origin_region"),
    ("name", "nickname"),
    ("favorite_animal", "pet_kind", "pet_name", "pet_age", "pet_color", "pet_breed", "pet_names", "two_animals"),
    ("activity", "hobby", "sport_played", "weekend_plan", "weekend_outing", "dance_style", "usual_exercise"),
    ("favorite_food", "favorite_dessert", "favorite_fruit", "diet", "disliked_food"),
    ("job", "dream_job", "employer", "workplace_city", "subject_taught", "business_kind", "former_job"),
    ("music_genre", "favorite_band", "favorite_song", "band_name"),
    ("favorite_film", "film_genre", "tv_show"),
    ("favorite_book", "favorite_author"),
    ("study_subject", "university", "favorite_subject", "school_name", "study_city"),
    ("illness_or_injury", "health_condition", "surgery"),
    ("allergy", "intolerance"),
    ("shift_start", "work_hours"),
    ("saving_for", "next_purchase"),
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


def load_kinds(*, held_out: bool, wider: bool = False, folder: Path = CATALOGUE) -> list[Kind]:
    """The kinds of one side of the split; `wider` adds to training's, and more kinds after those of both sides."""
    paths = sorted(path for path in folder.glob("*.toml") if path.name != UNSEEN)
    if held_out:
        return [kind for path in paths for kind in _read(path, True)]
    later = [folder / TRAINED, *([folder / WIDER / "phrasings"] if wider else [])]
    phrasings = [_tables(path.glob("*.toml")) for path in later]
    values = _tables((folder / WIDER).glob("values.toml")) if wider else {}
    kinds = [kind for path in paths for kind in _read(path, False, values)]
    more = sorted((folder / WIDER / "kinds").glob("*.toml")) if wider else []
    own = [_kind(entry, {}, False) for path in more for entry in _entries(path)]
    return [_with_phrasings(kind, [more.get(kind.name, {}) for more in phrasings]) for kind in kinds] + own


def load_unseen_kinds(folder: Path = CATALOGUE) -> list[Kind]:
    """The kinds that only evaluation knows, whole: training sees no phrasing of theirs."""
    return _read(folder / UNSEEN, None)


def _tables(paths: Iterable[Path]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for path in sorted(paths):
        tables |= tomllib.loads(path.read_text(encoding="utf-8"))
    return tables


def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["kind"]
    return entries


def _with_phrasings(kind: Kind, later: Iterable[dict[str, list[str]]]) -> Kind:
    grown: dict[str, Any] = {
        name: sum((tuple(more.get(name, ())) for more in later), getattr(kind, name)) for name in PHRASINGS
    }
    return replace(kind, **grown)


def _read(path: Path, held_out: bool | None, more: dict[str, list[str]] | None = None) -> list[Kind]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    pools = {name: [*pool, *(more or {}).get(name, [])] for name, pool in data.get("pools", {}).items()}
    return [_kind(entry, pools, held_out) for entry in data.get("kind", [])]


def _kind(entry: dict[str, Any], pools: dict[str, list[str]], held_out: bool | None) -> Kind:
    """A kind has its values in a pool, or as its own; and so its slots. Those with their own are not split."""
    own = "values" in entry
    phrasings = {name: tuple(_side(entry.get(name, []), None if own else held_out)) for name in PHRASINGS}
    fixed = {name: tuple(entry[name]) for name in ("answer", "unknown", "react", "others")}
    slots = entry.get("slots") or (pools[entry["slot"]] if "slot" in entry else [""])
    return Kind(
        name=entry["name"],
        values=tuple(_values(entry["values"] if own else pools[entry["pool"]], held_out)),
        slots=tuple(slots),
        invented=entry.get("invented", False),
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

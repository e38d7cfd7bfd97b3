"""The API as it describes itself: whatever is asked is answered as described, and a stranger is told nothing.

schemathesis makes the requests from /v1/openapi.json: first every edge of what is described and what just misses it,
then others by chance, the same ones each time.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from app.api import build_api
from app.service import Service
from app.settings import Settings
from storage.database import Database
from storage.store import Store
from tests.app.conftest import say

CHOICES = {
    "seed": 1,
    "suppress-health-check": ["all"],  # the database is a fixture, and outlives an example
    "generation": {"max-examples": 15, "deterministic": True, "database": "none", "with-security-parameters": False},
    "phases": {"coverage": {"unexpected-methods": []}},
}
SCHEMA = schemathesis.openapi.from_dict(
    build_api(cast(Service, None)).openapi(), config=schemathesis.Config.from_dict(CHOICES)
)
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short replies: what they say does not matter here."""
    return settings.model_copy(update={"reply_tokens": 4})


@pytest.fixture
def api(remembering: Service) -> FastAPI:
    return build_api(remembering)


def aim(case: schemathesis.Case, turn_id: int) -> None:
    """Have every other number be that of a turn: what is drawn by chance hardly ever is one."""
    for given, name in ((case.path_parameters, "turn_id"), (case.query, "since")):
        if isinstance(number := (given or {}).get(name), int) and number % 2 == 0:
            given[name] = turn_id


def documented(case: schemathesis.Case) -> set[str]:
    return set(case.operation.definition.raw["responses"]) - {"default"}


@SCHEMA.parametrize()
def test_every_answer_is_one_that_is_described(
    case: schemathesis.Case, api: FastAPI, remembering: Service, store: Store
) -> None:
    owner = store.ensure_user("Ada")
    if not store.held_turns(owner.id):
        say(remembering, owner, "I am Ada")
    aim(case, store.held_turns(owner.id)[0].id)
    key = remembering.accounts.issue_key(owner.id, "test")
    answer = case.call(app=api, headers={"Authorization": f"Bearer {key}"})
    case.validate_response(answer, checks=CHECKS)
    assert str(answer.status_code) in documented(case)


@SCHEMA.parametrize()
def test_a_stranger_is_refused_whatever_is_asked_and_nothing_changes(
    case: schemathesis.Case, api: FastAPI, remembering: Service, store: Store, database: Database
) -> None:
    owner = store.ensure_user("Ada")
    if not store.held_turns(owner.id):
        say(remembering, owner, "I am Ada")
    aim(case, 1)
    heads: list[dict[str, Any]] = [{}, {"Authorization": "Bearer imprint-wrong"}, {"Authorization": "Basic QWRhOng="}]
    with database.watched() as version:
        before = version()
        for head in heads:
            answer = case.call(app=api, headers=head)
            case.validate_response(answer, checks=CHECKS)
            assert answer.status_code == 401
        assert version() == before

"""Logs: lines for people or JSON for machines, and nothing of what anybody wrote in either."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from app.errors import BadMessage, log_error
from app.logs import set_up_logging
from app.service import Service
from storage.records import User
from tests.app.conftest import say


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_turn_is_one_line_of_json_without_its_text(
    service: Service, ada: User, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("json", "INFO")
    say(service, ada, "My cat is red")
    written = capfd.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    (turn,) = [line for line in lines if line["message"] == "remembered"]
    assert (turn["user"], turn["turn"], turn["level"], turn["logger"]) == (ada.id, 1, "info", "app.service")
    assert turn["fold_seconds"] >= 0 and turn["reply_seconds"] >= 0 and turn["prompt_tokens"] > 0
    assert "cat" not in written and "Ada" not in written


def test_a_quiet_log_has_warnings_only(service: Service, ada: User, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    say(service, ada, "My cat is red")
    log_error(RuntimeError("My cat is red"))
    written = capfd.readouterr().err
    assert "WARNING app.errors: RuntimeError" in written
    assert "cat" not in written and "remembered" not in written


def test_an_error_on_purpose_is_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    log_error(BadMessage("My cat is red"))
    assert capfd.readouterr().err == ""

"""What is done now and then goes on, also after it went wrong, until it is over."""

import logging
from threading import Event

import pytest

from app.rounds import every


def test_it_goes_on_until_it_is_over() -> None:
    third, calls = Event(), list[int]()

    def task() -> None:
        calls.append(1)
        if len(calls) == 3:
            third.set()

    with every(0.01, task, "test"):
        assert third.wait(10)
    count = len(calls)
    assert not Event().wait(0.05) and len(calls) == count


def test_it_goes_on_after_it_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    twice, calls = Event(), list[int]()

    def task() -> None:
        calls.append(1)
        if len(calls) == 2:
            twice.set()
        raise ValueError("what somebody wrote")

    with caplog.at_level(logging.WARNING), every(0.01, task, "test"):
        assert twice.wait(10)
    assert "test: ValueError" in caplog.text and "wrote" not in caplog.text

"""Of each person one thing at a time, and no crowd that waits for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import UserBusy
from app.gates import OTHERS, Gates


def test_whoever_waits_too_long_is_told() -> None:
    gates = Gates(0.01)
    with gates.alone(1), pytest.raises(UserBusy, match=r"after 0\.01 seconds"), gates.alone(1):
        pass
    with gates.alone(1):
        pass


def test_a_crowd_is_turned_away_at_once_and_others_go_on() -> None:
    gates = Gates(60)

    def pass_through() -> None:
        with gates.alone(1):
            pass

    with ThreadPoolExecutor(OTHERS + 1) as pool:
        with gates.alone(1):
            waiting = [pool.submit(pass_through) for _ in range(OTHERS + 1)]
            while gates._waiting[1] <= OTHERS:
                time.sleep(0.001)
            with pytest.raises(UserBusy, match="Several messages"), gates.alone(1):
                pass
            with gates.alone(2):
                pass
        assert [one.result(timeout=10) for one in waiting] == [None] * (OTHERS + 1)
    pass_through()
    assert gates._waiting[1] == 0

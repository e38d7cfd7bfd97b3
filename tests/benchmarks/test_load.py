"""Many clients at once: a run against a real server, and what is made of its numbers."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from app.settings import load_settings
from benchmarks.load import Client, chatted, mentions, percentile, served, signed_up, summed
from storage.database import file_url


def test_everybody_has_a_name_and_a_key_of_their_own(tmp_path: Path) -> None:
    clients = signed_up(file_url(tmp_path / "load.db"), 20, Random(0))
    assert len({client.name for client in clients}) == len({client.key for client in clients}) == 20
    assert all(len(client.name) > 5 for client in clients)


@pytest.mark.slow
def test_every_message_of_every_client_is_answered(tmp_path: Path) -> None:
    url = file_url(tmp_path / "load.db")
    clients = signed_up(url, 4, Random(0))
    with served(load_settings(), url) as (address, process):
        resident = chatted(clients, address, process, minutes=0.1, seed=0)
    found = summed(clients, resident, 0.1)
    assert (found["errors"], found["told_anothers_name"]) == (0, 0)
    assert all(len(client.replies) >= 3 for client in clients)
    assert 0 < found["first_piece_p50"] <= found["first_piece_p95"]
    assert found["resident_mb"] > 50


def test_a_reply_with_anothers_name_is_found() -> None:
    clients = [
        Client("Ada", "", [0.1, 0.2], [0.3, 0.4], ["Hello Ada", "You are Ada."]),
        Client("Bo", "", [0.1], [0.5], ["Bored?", "You are Ada."], errors=1),
    ]
    found = summed(clients, [(0.0, 100.0), (60.0, 100.0), (120.0, 102.0)], 2.0)
    assert (found["recalled"], found["told_anothers_name"], found["errors"]) == (1, 1, 1)
    assert found["resident_mb_a_minute"] == 2.0
    assert not mentions("Adam", {"Ada"})


def test_percentiles_are_of_the_values() -> None:
    assert percentile([float(value) for value in range(101)], 95) == pytest.approx(95.0)

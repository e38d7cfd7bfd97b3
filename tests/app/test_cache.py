"""Adapters at hand: the newest of each memory, the least used go first."""

from __future__ import annotations

import torch

from app.cache import AdapterCache
from tests.fakes import FakeAdapter

ADAPTER = FakeAdapter(("tea",))


def made() -> FakeAdapter:
    """One of its own: what a test still holds is in use."""
    return FakeAdapter(("tea",))


def test_an_adapter_is_found_by_its_exact_version() -> None:
    cache = AdapterCache(1000)
    cache.keep(1, 7, ADAPTER)
    assert (cache.find(1, 7), cache.find(1, 8), cache.find(2, 7)) == (ADAPTER, None, None)


def test_a_newer_version_takes_the_place_of_the_older() -> None:
    cache = AdapterCache(1000)
    cache.keep(1, 7, ADAPTER)
    cache.keep(1, 8, ADAPTER)
    assert (cache.find(1, 7), cache.nbytes) == (None, 100)


def test_the_least_recently_used_goes_when_the_bytes_are_full() -> None:
    cache = AdapterCache(200)
    cache.keep(1, 1, made())
    cache.keep(2, 1, made())
    cache.find(1, 1)
    cache.keep(3, 1, made())
    assert [bool(cache.find(user, 1)) for user in (1, 2, 3)] == [True, False, True]


def test_what_is_in_use_counts_and_is_found_until_it_is_not() -> None:
    cache = AdapterCache(200)
    cache.keep(1, 1, made())
    in_use = cache.find(1, 1)
    for user in (2, 3):
        cache.keep(user, 1, made())
    assert cache.find(1, 1) is in_use and cache.find(2, 1) is None and cache.find(3, 1)
    assert cache.nbytes == 200
    del in_use  # it was found, so that it is held again
    assert cache.find(1, 1)


def test_what_adapters_have_in_common_is_there_once() -> None:
    cache, common = AdapterCache(1000), torch.zeros(50)
    for user in (1, 2):
        cache.keep(user, 1, FakeAdapter((), lora_A=(common,)))
    assert cache.nbytes == 200 + 2 * 100


def test_what_is_in_use_is_not_handed_out_once_it_is_forgotten() -> None:
    cache = AdapterCache(1000)
    cache.keep(1, 1, ADAPTER)
    cache.forget(1)
    assert cache.find(1, 1) is None


def test_a_forgotten_persons_adapter_is_gone() -> None:
    cache = AdapterCache(1000)
    cache.keep(1, 1, ADAPTER)
    cache.forget(1)
    assert cache.nbytes == 0

"""How soon it is there: a real start, of which both times are told in the right order."""

from __future__ import annotations

import pytest

from app.settings import load_settings
from benchmarks.start import started


@pytest.mark.slow
def test_the_page_is_there_before_the_first_word() -> None:
    page, word = started(load_settings())
    assert 0 < page < word

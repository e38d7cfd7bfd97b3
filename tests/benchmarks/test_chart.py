"""The picture of recall shows what the results say, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import chart
from benchmarks.figures import HOME


def test_the_picture_is_that_of_the_results(tmp_path: Path) -> None:
    chart.draw(tmp_path / "once.svg")
    chart.draw(tmp_path / "again.svg")
    drawn = (tmp_path / "once.svg").read_text()
    assert drawn == (tmp_path / "again.svg").read_text()
    for label in ("memory", "prompt", "facts held", *chart.FACTS.values(), *chart.DISTANCES.values()):
        assert f">{label}<" in drawn


def test_a_picture_of_other_results_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chart.draw(tmp_path / "once.svg")
    monkeypatch.setitem(chart.DISTANCES, "after_50", "51")
    chart.draw(tmp_path / "again.svg")
    assert (tmp_path / "once.svg").read_text() != (tmp_path / "again.svg").read_text()


def test_the_picture_in_the_docs_is_of_the_newest_results() -> None:
    assert chart.described() in (HOME / "docs" / "recall.svg").read_text()

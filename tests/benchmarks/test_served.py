"""The benchmark of another server finds the same replies where there are the same, and what is left there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.cases import Probe
from benchmarks.served import Asked, figures, run, seen_in
from core.adapter import Adapter
from core.checkpoint import load_checkpoint
from core.device import Choice, resolve
from core.engine import Engine
from core.lora import save_lora
from core.origin import Origin
from core.served import ServedEngine, Server
from tests.bundled import BUNDLED
from tests.core.lora_server import LoraServer, serving


def test_replies_are_compared_one_by_one_and_at_once(tmp_path: Path) -> None:
    checkpoint = replace(load_checkpoint(Origin(str(BUNDLED)), resolve(Choice("cpu"))), guidance=1.0)
    with serving(LoraServer(BUNDLED / "base", "vllm", rank=256)) as url:
        server = Server(url, "vllm", tmp_path / "loras", loras=2)
        result = run(Engine(checkpoint), ServedEngine(checkpoint, server), people=1, seed=0, at_once=2)
        assert list(result["ways"]) == ["here", "here, at once", "there", "there, at once"]
        assert {row["as_here"] for row in result["ways"].values()} == {1.0}
        assert seen_in(server) == {"server": "vllm of unknown version", "left": 0}
        here = Engine(checkpoint)
        save_lora(tmp_path / "left", here.base, here.materialise(here.empty_state()))
        asked = {"lora_name": "left", "lora_path": str(tmp_path / "left")}
        httpx.post(f"{url}/v1/load_lora_adapter", json=asked).raise_for_status()
        assert seen_in(server)["left"] == 1


def test_a_reply_that_differs_is_counted() -> None:
    written = [("You live in Vienna.", 0.1), ("You live in Rome.", 0.3)]
    asked = [Asked(Probe("Where do I live?", ("Vienna",), (), "recall"), Adapter((), ()))] * 2
    row = figures(asked, written, seconds=2.0, expected=["You live in Vienna.", "You live in Oslo."])
    assert row == {"median_s": 0.2, "replies_a_s": 1.0, "right": 0.5, "as_here": 0.5}

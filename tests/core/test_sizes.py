"""Sizes are those of what is really made, and the page that states them is what the command prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from transformers import AutoConfig

from app import settings
from app.cli import program
from app.errors import SettingsError
from app.sizes_commands import cautions, in_words
from core.base import Base
from core.chat import Message
from core.checkpoint import Checkpoint
from core.config import PublishedConfig
from core.engine import Engine
from core.errors import CheckpointError
from core.generator import Generator, PublishedGenerator
from core.origin import Origin
from core.sizes import ends_of, generator_config_of, sizes_of, sizes_of_known, sizes_of_origin
from tests.core.families import FAMILIES, generator_for, model_of
from tests.tiny import tiny_folder, tiny_tokenizer

ROOT = Path(__file__).parent.parent.parent
PARAMETERS = {
    "GPT-2": 124e6,
    "SmolLM2-135M": 135e6,
    "Llama-3.2-1B": 1.24e9,
    "Mistral-7B": 7.24e9,
    "Llama-3.1-8B": 8.03e9,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["gated", "published"])
def test_they_are_the_bytes_of_what_is_made(family: str, kind: str) -> None:
    base = Base(model_of(family))
    generator: Generator = generator_for(base)
    if kind == "published":
        generator = PublishedGenerator(PublishedConfig(**ends_of(base), key_size=8, value_size=8, rank=4))
    engine = Engine(Checkpoint(family, "f" * 64, base, generator, tiny_tokenizer()))
    sizes = sizes_of(base, generator.config)
    state = engine.fold(engine.empty_state(), [Message("user", "My name is Marta.")])
    assert sizes.state == state.nbytes
    assert sizes.generator == sum(weight.nbytes for weight in generator.parameters())
    assert 2 * sizes.base == sum(weight.nbytes for weight in base.model.parameters())
    assert 2 * sizes.adapter == engine.materialise(state).nbytes  # this base computes in float32
    with torch.inference_mode():
        cache = base.model(input_ids=torch.arange(5, 15)[None], use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 2 * 10 * sizes.cache_a_token == held


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    (folder / "base" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="What tiny takes cannot be read"):
        sizes_of_origin(Origin(str(folder)))


def written(folder: Path, kind: str) -> Path:
    """A folder with the config of a model of this kind, of its usual shapes."""
    AutoConfig.for_model(kind).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gemma4_text", r"projections have the sizes \[\(2048, 2304\), \(4096, 2304\)\]"),
        ("gemma3n_text", r"is \(4, 1, 2,"),
    ],
)
def test_a_base_that_cannot_be_folded_gets_no_sizes(kind: str, said: str, tmp_path: Path) -> None:
    for state in (None, 16):
        with pytest.raises(CheckpointError, match=said):
            sizes_of_origin(Origin(str(written(tmp_path / kind, kind))), state)


def test_a_config_that_does_not_have_what_is_asked_of_it_is_said(tmp_path: Path) -> None:
    base, generator = written(tmp_path / "gemma", "gemma4_text"), tmp_path / "generator"
    shapes = dict.fromkeys(("layers", "hidden_size", "input_size", "output_size", "key_size", "value_size"), 8)
    generator.mkdir()
    (generator / "generator_config.json").write_text(json.dumps({"format": 1, "target": "mlp", **shapes}))
    said = r"^What gemma takes cannot be read from its configs \('head_dim' is a per-layer attribute [^.]*\)\.$"
    with pytest.raises(CheckpointError, match=said):
        sizes_of_origin(Origin(str(base), str(generator)))


def test_a_state_of_no_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    for ask in (lambda: sizes_of_origin(Origin(str(folder)), 0), lambda: sizes_of_known(0)):
        with pytest.raises(CheckpointError, match="key_size is 0"):
            ask()
    with pytest.raises(SettingsError, match="A --state cannot be 0"):
        printed(capsys, "--state", "0")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, int]]:
    """What the command says of which models."""
    capsys.readouterr()
    typer.main.get_command(program)(["sizes", "--json", *arguments], standalone_mode=False)
    found: dict[str, dict[str, int]] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_measures_the_model_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_folder(tmp_path / "models" / "tiny")
    monkeypatch.setattr(settings, "HOME", tmp_path)
    assert "Mistral-7B" in printed(capsys)
    (with_another,) = printed(capsys, "--generator", str(folder / "generator")).values()
    monkeypatch.setenv("IMPRINT_MODEL", str(folder))
    assert printed(capsys) == {"tiny": with_another}


def test_what_slows_many_people_down_is_said() -> None:
    known = sizes_of_known()
    assert cautions(known["GPT-2"], "bfloat16", 256 * 2**20, 32) == []
    (room,) = cautions(known["Llama-3.1-8B"], "bfloat16", 256 * 2**20, 32)
    assert "at least 4 adapters" in room
    base = Base(model_of("Llama"))
    base.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    turned = replace(known["Gemma-2-2B"], together=sizes_of(base, generator_config_of(base, 16)).together)
    alone, room = cautions(turned, "float32", 256 * 2**20, 32)
    assert "N passes" in alone and "at least 4 adapters" in room


def test_known_bases_have_the_parameters_that_they_are_named_for() -> None:
    known = sizes_of_known()
    for name, parameters in PARAMETERS.items():
        assert known[name].base / 2 == pytest.approx(parameters, rel=0.01)
    # The published generator: 537 M numbers, 32 M in a state (METHOD 3 and 5); its state is in float32 here.
    assert known["Mistral-7B"].generator / 4 == pytest.approx(537e6, rel=0.001)
    assert known["Mistral-7B"].state / 4 == 32 * 1024**2
    assert known["Mistral-7B"].break_even == 1024
    assert all(sizes.own <= sizes.adapter for sizes in known.values())


def test_a_folder_is_measured_from_its_configs_alone(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    found = sizes_of_origin(Origin(str(folder)))
    assert "a memory" in in_words(found, "bfloat16")
    alone = sizes_of_origin(Origin(str(folder / "base")), state_size=16)
    assert (alone, sizes_of_origin(Origin(str(folder)), state_size=16)) == (found, found)
    assert sizes_of_origin(Origin(str(folder / "base"))).state == 4 * 2 * 1024**2  # as the published


def test_what_is_said_before_loading_is_of_the_number_type_that_is_loaded() -> None:
    mistral = sizes_of_known()["Mistral-7B"]
    said = [in_words(mistral, *how) for how in (("bfloat16",), ("float32",), ("bfloat16", 4))]
    assert [one.partition(" of weights")[0] for one in said] == ["14.5 GB", "29 GB", "at least 3.62 GB"]
    assert said[1].endswith("134 MB its adapter")


@pytest.mark.parametrize(("mark", "state"), [("published", None), ("gated", 128)])
def test_the_page_says_what_the_command_does(
    mark: str, state: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typer.main.get_command(program)(["sizes", *(["--state", str(state)] if state else [])], standalone_mode=False)
    page = (ROOT / "docs" / "sizes.md").read_text(encoding="utf-8")
    assert f"<!-- {mark} -->\n{capsys.readouterr().out}<!-- /{mark} -->" in page

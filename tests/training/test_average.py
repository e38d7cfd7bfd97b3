"""The mean of weights: each with its share, and only where they mean the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.checkpoint import load_checkpoint, save_checkpoint, save_guidance
from core.generator import GatedGenerator
from core.origin import Origin
from tests.tiny import tiny_folder, tiny_generator, tiny_model, tiny_tokenizer
from training.average import CPU, average
from training.growth import widened


def larger(folder: Path, by: float) -> Path:
    """The tiny model with something added to every weight."""
    tokenizer, generator = tiny_tokenizer(), tiny_generator()
    model = tiny_model(len(tokenizer))
    with torch.no_grad():
        for parameter in (*model.parameters(), *generator.parameters()):
            parameter += by
    save_checkpoint(folder, model, generator, tokenizer)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    opened = load_checkpoint(Origin(str(folder)), CPU)
    return {**opened.base.model.state_dict(), **opened.generator.state_dict()}


def test_each_counts_by_its_share_and_the_result_opens(tmp_path: Path) -> None:
    one, other = tiny_folder(tmp_path / "one"), larger(tmp_path / "other", 4.0)
    name = average(tmp_path / "mean", [(one, 3.0), (other, 1.0)])
    assert load_checkpoint(Origin(str(tmp_path / "mean")), CPU).fingerprint == name
    mean, plain = weights(tmp_path / "mean"), weights(one)
    for key, value in plain.items():
        torch.testing.assert_close(mean[key], value + 1.0, rtol=2e-2, atol=2e-2)  # it is kept in bfloat16


def test_a_model_by_itself_stays_as_it_is(tmp_path: Path) -> None:
    one = tiny_folder(tmp_path / "one")
    save_guidance(one / "generator", 1.5)
    average(tmp_path / "mean", [(one, 0.5)])
    assert load_checkpoint(Origin(str(tmp_path / "mean")), CPU).guidance == 1.5
    mean, plain = weights(tmp_path / "mean"), weights(one)
    assert [key for key in plain if not torch.equal(mean[key], plain[key])] == []


def test_each_layer_remembers_as_strongly_as_it_is_told_to(tmp_path: Path) -> None:
    one = tiny_folder(tmp_path / "one")
    average(tmp_path / "mean", [(one, 1.0)], [0.5] + [2.0] * (tiny_generator().config.layers - 1))
    mean, plain = weights(tmp_path / "mean"), weights(one)
    changed = {key: mean[key] / plain[key] for key in plain if not torch.equal(mean[key], plain[key])}
    assert set(changed) == {key for key in plain if key.endswith(".scale")}
    assert sorted(float(value) for value in changed.values()) == [0.5] + [2.0] * (len(changed) - 1)


def test_so_many_strengths_as_layers_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 strengths"):
        average(tmp_path / "mean", [(tiny_folder(tmp_path / "one"), 1.0)], [1.0, 1.0, 1.0])


def test_models_of_different_shapes_have_no_mean(tmp_path: Path) -> None:
    one, tokenizer = tiny_folder(tmp_path / "one"), tiny_tokenizer()
    save_checkpoint(tmp_path / "other", tiny_model(len(tokenizer) + 8), tiny_generator(), tokenizer)
    with pytest.raises(ValueError, match="different shapes"):
        average(tmp_path / "mean", [(one, 1.0), (tmp_path / "other", 1.0)])


def test_a_narrower_state_is_widened_first(tmp_path: Path) -> None:
    tokenizer, model, narrow = tiny_tokenizer(), tiny_model(len(tiny_tokenizer())), tiny_generator()
    size = narrow.config.key_size
    wide = GatedGenerator(replace(narrow.config, key_size=size + 2, value_size=size + 2))
    wide.load_state_dict(widened(narrow.state_dict(), size, size + 2))
    save_checkpoint(tmp_path / "wide", model, wide, tokenizer)
    save_checkpoint(tmp_path / "narrow", model, narrow, tokenizer)
    average(tmp_path / "mean", [(tmp_path / "narrow", 1.0), (tmp_path / "wide", 1.0)])
    mean, both = weights(tmp_path / "mean"), weights(tmp_path / "wide")
    for key, value in both.items():
        torch.testing.assert_close(mean[key], value, rtol=1e-2, atol=1e-2)


def test_models_of_different_tokenizers_have_no_mean(tmp_path: Path) -> None:
    one, other = tiny_folder(tmp_path / "one"), tiny_folder(tmp_path / "other")
    path = other / "base" / "tokenizer.json"
    path.write_text(path.read_text().replace("<|user|>", "<|person|>"))
    with pytest.raises(ValueError, match="different tokenizers"):
        average(tmp_path / "mean", [(one, 1.0), (other, 1.0)])

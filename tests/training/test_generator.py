"""A generator for any base: what is cut, that a few steps lower the loss for every family, and that a run goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.base import Base
from core.chat import Message
from core.checkpoint import load_generator
from core.config import PublishedConfig
from core.device import Choice
from core.engine import Engine, load_engine
from core.generator import PADDING, GatedGenerator, Generator, PublishedGenerator
from core.origin import Origin
from core.reading import read_parallel, read_sequential
from core.sizes import ends_of, generator_config_of
from tests.core.families import FAMILIES, generator_for, model_of
from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from training.calibration import calibrate
from training.fitting import FitConfig, Fitting
from training.generator import LOG, main
from training.packing import IGNORED
from training.windows import Examples, document, question, read_entries

TEXT = "Marta lives in Vienna with her dog. The dog is called Waffles and likes the river. " * 4
QUESTION = {"context": TEXT, "question": "What is the dog called?", "answer": "The dog is called Waffles."}
STEPS = 4


def test_a_document_is_completed_and_reconstructed() -> None:
    example = document(list(range(10, 21)), window=4)
    assert example["ids"].tolist() == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 0]]
    assert example["windows"][-1].tolist() == [0, 0, 0, PADDING]
    assert example["after"].tolist() == [0, 1, 0, 1, 2]
    assert torch.equal(example["asked"], torch.cat([example["ids"][1:], example["ids"]]))
    assert example["labels"][1].tolist() == [18, 19, 20, IGNORED]


def test_completion_and_reconstruction_count_the_same() -> None:
    example = document(list(range(11)), window=4)
    predicted = (example["labels"][:, 1:] != IGNORED).sum(1)
    shares = predicted * example["weights"]
    assert shares[:2].sum() == pytest.approx(0.5) == shares[2:].sum()
    assert float(question(range(9), [50], [60, 61], window=4)["weights"]) == 0.5  # of two tokens


def test_what_is_longer_than_the_context_is_cut() -> None:
    for part in ("question", "answer"):
        example = Examples([QUESTION | {part: "Waffles. " * 200}], tiny_tokenizer(), 8, 3, 64, seed=0)[0]
        assert example["asked"].shape == example["labels"].shape
        assert 32 <= example["asked"].shape[1] <= 64
        assert 0 < int((example["labels"] != IGNORED).sum()) <= 32


def test_a_short_document_still_has_something_to_complete() -> None:
    assert document([1, 2, 3, 4], window=100)["ids"].tolist() == [[1, 2], [3, 4]]


def test_an_answer_is_read_after_the_whole_context() -> None:
    example = question(range(9), [50, 51], [60, 61], window=4)
    assert example["ids"].shape == (3, 3)
    assert example["labels"].tolist() == [[IGNORED, IGNORED, 60, 61]]
    assert example["after"].tolist() == [2]


def test_lines_that_are_neither_are_named(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "a"}) + "\n\n" + json.dumps({"question": "b"}))
    with pytest.raises(ValueError, match=r"line 3: neither `text` nor"):
        read_entries([tmp_path / "data.jsonl"])


def test_a_line_that_is_not_json_is_named_and_other_ends_of_lines_are_text(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "a\u2028b"}\n{', encoding="utf-8")
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_entries([tmp_path / "data.jsonl"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": null}', "line 1: `text` is None, which is no whole text"),
        ('{"context": "a", "question": "b", "answer": 3}', "line 1: `answer` is 3, which is no whole text"),
        (r'{"text": "half of an emoji: \ud83d"}', "line 1: `text` is .*, which is no whole text"),
        ('["text"]', "line 1: neither `text` nor"),
        (b"\xff", "data.jsonl is not text in UTF-8"),
    ],
)
def test_a_line_that_holds_no_text_is_named(tmp_path: Path, line: str | bytes, said: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(ValueError, match=said):
        read_entries([tmp_path / "data.jsonl"])


def test_a_long_document_is_read_elsewhere_in_another_epoch() -> None:
    examples = Examples([{"text": TEXT * 20}], tiny_tokenizer(), 8, 3, 256, seed=0)
    first = examples[0]["ids"]
    assert torch.equal(examples[0]["ids"], first)
    examples.epoch = 1
    assert not torch.equal(examples[0]["ids"], first)


def test_what_is_folded_is_sampled_in_rows() -> None:
    examples = Examples([{"text": TEXT * 20}, QUESTION], tiny_tokenizer(), 8, 3, 256, seed=0)
    tokens = tiny_tokenizer().encode(TEXT * 20, add_special_tokens=False)
    assert examples.sample(3, 10).tolist() == [tokens[i : i + 10] for i in (0, 10, 20)]
    assert examples.sample(10**6, 10).shape[1] == 10
    assert len(examples.sample(5, 10**6)) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "absent.jsonl"), "absent.jsonl cannot be read"),
        (("--data", "training"), "training cannot be read"),
        (("--data", "pyproject.toml"), "pyproject.toml, line 1 is not JSON"),
        (("--base", "absent"), "There is no model folder at absent"),
        (("--start", "absent"), "There is no model folder at absent"),
        (("--window", "1024"), "window is 1024, but .* reads 256 tokens at most"),
        (("--kind", "published", "--rank", "17"), "rank is 17; states of 16 on this base have 16 at most"),
        (("--kind", "published", "--rank", "33", "--state-size", "64"), "rank is 33; .* on this base have 32 at most"),
        (("--before", "2"), "Of the base's 2 layers none is left"),
    ],
)
def test_what_cannot_be_trained_is_said_before_the_base_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("training.generator.load_base", never)
    with pytest.raises(SystemExit, match=f"Nothing can be trained: .*{said}"):
        run(monkeypatch, folder, *flags)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("batch", "0", "batch is 0; it has to be a whole number above 0."),
        ("windows", "0", "windows is 0; it has to be a whole number above 0."),
        ("save-steps", "0", "save_steps is 0; it has to be a whole number above 0."),
        ("rows-at-once", "0", "rows_at_once is 0; it has to be a whole number above 0."),
        ("steps", "-1", "steps is -1; it has to be a whole number of 0 or more."),
        ("lr", "nan", "lr is nan; it has to be a number of 0 or more."),
        ("alpha", "inf", "alpha is inf; it has to be a number above 0."),
        ("config", "absent.toml", "absent.toml cannot be read (No such file or directory)."),
        ("config", "README.md", "README.md is not TOML (Expected"),
    ],
)
def test_a_value_that_no_run_can_have_is_said(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: str,
    said: str,
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, folder, f"--{flag}", value)
    assert said in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('kind = "gatd"', "kind is 'gatd'; it has to be one of gated, published."),
        ('batch = "2"', "batch is '2'; it has to be a whole number above 0."),
        ("start = 3", "start is 3; it has to be text."),
        ("warmup = 3", "config.toml has warmup, which a run does not know"),
    ],
)
def test_what_a_config_states_wrongly_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stated: str, said: str
) -> None:
    (folder / "config.toml").write_text(stated)
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, folder, "--config", str(folder / "config.toml"))
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin"])
def test_a_checkpoint_that_was_cut_off_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    run(monkeypatch, folder, "--steps", "1")
    os.truncate(folder / "out" / "checkpoint" / file, 1000)
    before = contents(folder / "out")
    with pytest.raises(SystemExit, match=r"The run in .*checkpoint cannot be gone on with \(.+\); use another --out"):
        run(monkeypatch, folder, "--steps", "2")
    assert contents(folder / "out") == before


def test_training_settles_attention_as_conversations_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = list[torch.device]()
    monkeypatch.setattr("training.generator.settle_attention", settled.append)
    run(monkeypatch, folder, "--steps", "1")
    assert settled == [opened(folder).base.device]


def test_a_kill_between_the_renames_of_a_save_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "3")
    (folder / "out" / "checkpoint").rename(folder / "out" / "checkpoint.old")
    assert len(run(monkeypatch, folder, "--steps", "4")) == 4


def test_a_document_of_one_token_has_no_loss_and_no_harm() -> None:
    base = Base(model_of("Llama"))
    fitting = Fitting(base, generator_for(base).requires_grad_())
    loss = fitting(document([7], window=12))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in fitting.parameters())


def test_the_published_kind_changes_nothing_but_attention() -> None:
    with pytest.raises(ValueError, match="changes what ends attention alone"):
        FitConfig(kind="published", target="mlp")
    with pytest.raises(ValueError, match="the published kind changes every layer"):
        FitConfig(kind="published", before=1)


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        Examples([{"text": ""}], tiny_tokenizer(), 8, 3, 256, seed=0)


def published_for(base: Base) -> PublishedGenerator:
    torch.manual_seed(1)
    sizes = {"key_size": 8, "value_size": 8, "rank": 4, "scaling": 8.0}
    return PublishedGenerator(PublishedConfig(**ends_of(base), **sizes))


def test_windows_are_read_in_sequence_as_an_engine_will() -> None:
    base = Base(model_of("Llama"))
    generator, example = published_for(base), document(range(5, 41), window=12)
    for layer in generator.layers:
        torch.nn.init.normal_(layer.B, std=0.5)
    adapters = Fitting(base, generator.requires_grad_()).adapters(example["ids"], example["windows"])
    seen, inputs = torch.arange(len(example["ids"])), torch.randn(1, 6, base.sizes[0])
    windows = list(example["ids"])
    for last in seen:
        then = read_sequential(base, generator, windows[: int(last) + 1], generator.empty_sums())
        with torch.inference_mode():
            expected = generator.materialise(then[None])
        for number in range(len(base.layers)):
            ours = adapters.row(last[None]).delta(number, inputs)
            torch.testing.assert_close(ours, expected.delta(number, inputs), atol=1e-4, rtol=1e-4)
    parallel = read_parallel(base, generator, windows)
    assert not torch.allclose(parallel, then, atol=1e-2)  # else the order would not have been seen


def fallen(base: Base, generator: Generator) -> bool:
    """Whether a few steps on one example of three windows lower its loss."""
    fitting, example = Fitting(base, generator.requires_grad_(), rows_at_once=2), document(range(5, 41), window=12)
    optimizer, losses = torch.optim.AdamW(fitting.parameters(), lr=3e-3), list[float]()
    for _ in range(STEPS):
        loss = fitting(example)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[-1] < losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_on_three_windows_lower_the_loss_and_leave_the_base(family: str) -> None:
    base = Base(model_of(family))
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    assert fallen(base, generator_for(base))
    assert fallen(base, published_for(base))
    mlp = Base(base.model, "mlp")
    assert fallen(mlp, generator_for(mlp))
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())


def test_rows_read_apart_have_the_loss_and_the_gradient_of_rows_read_together() -> None:
    base, example = Base(model_of("Llama")), document(range(5, 41), window=12)
    found = []
    for rows in (1, 5):
        fitting = Fitting(base, generator_for(base).requires_grad_(), rows_at_once=rows)
        loss = fitting(example)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in fitting.parameters())])
    torch.testing.assert_close(*found)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> list[float]:
    """Run the command on the folder's base and data, and return the losses that it logged."""
    where = [
        "--base",
        str(folder / "tiny" / "base"),
        "--data",
        str(folder / "data.jsonl"),
        "--out",
        str(folder / "out"),
    ]
    small = ["--config", "training/configs/small.toml"]
    monkeypatch.setattr(sys, "argv", ["generator", *where, *small, *flags])
    main()
    return [json.loads(line)["loss"] for line in (folder / "out" / LOG).read_text().splitlines()]


def never(*_: object) -> None:
    """In place of what must not be called."""
    raise AssertionError("The base was read.")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_folder(tmp_path / "tiny")
    lines = [{"text": TEXT}, {"text": TEXT[40:]}, QUESTION]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path


def opened(folder: Path) -> Engine:
    return load_engine(Origin(str(folder / "tiny" / "base"), str(folder / "out" / "generator")), Choice("cpu"))


def test_a_run_lowers_the_loss_and_its_generator_opens_beside_the_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = run(monkeypatch, folder)
    assert len(losses) == 40
    assert max(losses[-5:]) < min(losses[:5])
    engine = opened(folder)
    state = engine.fold(engine.empty_state(), [Message("user", "My dog is called Waffles.")])
    assert engine.name == "tiny" and not state.is_empty
    written = (folder / "out" / "generator" / "generator_config.json").read_text()
    assert json.loads(written)["base"] == "tiny"  # no path of this machine


def test_a_new_gated_generator_is_fitted_to_what_the_base_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "1", "--lr", "0")
    begun, fitted = opened(folder), GatedGenerator(generator_config_of(Base(tiny_model()), 16))
    sample = Examples(read_entries([folder / "data.jsonl"]), begun.tokenizer, 32, 3, 256, seed=0).sample(48, 192)
    calibrate(begun.base, fitted, sample.split(8))
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(begun.generator.state_dict()[name], value, rtol=0.01, atol=0.01)


def test_a_run_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(monkeypatch, folder, "--steps", "6", "--save-steps", "3")
    weights = opened(folder).generator.state_dict()
    (folder / "out").rename(folder / "before")
    run(monkeypatch, folder, "--steps", "3")
    assert run(monkeypatch, folder, "--steps", "6") == whole
    again = opened(folder).generator.state_dict()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_run_that_would_go_on_as_another_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "2")
    before, other = contents(folder / "out"), folder / "other"
    shutil.copytree(folder / "tiny" / "base", other)
    (folder / "other.jsonl").write_text(json.dumps(QUESTION))
    monkeypatch.setattr("training.generator.load_base", never)
    for flags, said in (
        (("--lr", "0.5"), r"out holds another run: lr was 0\.01 and is 0\.5; give what it had, or use another --out"),
        (("--window", "16", "--weight-decay", "0.5"), r"window was 32 and is 16, weight_decay was 0\.01 and is 0\.5;"),
        (("--kind", "published"), "kind was 'gated' and is 'published'"),
        (("--start", "elsewhere"), "start was '' and is 'elsewhere'"),
        (("--base", str(other)), "base was '.*tiny/base' and is '.*other'"),
        (("--data", str(folder / "other.jsonl")), r"data_digest was '\w{12}' and is '\w{12}'"),
    ):
        with pytest.raises(SystemExit, match=said):
            run(monkeypatch, folder, "--steps", "4", *flags)
    assert contents(folder / "out") == before


def test_a_run_goes_on_with_as_many_processes_as_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "2")
    record = json.loads((folder / "out" / "run.json").read_text())
    (folder / "out" / "run.json").write_text(json.dumps(record | {"processes": 2}))
    with pytest.raises(SystemExit, match="processes was 2 and is 1"):
        run(monkeypatch, folder, "--steps", "4")


def test_what_does_not_change_a_run_may_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "2")
    shutil.copy(folder / "data.jsonl", folder / "moved.jsonl")
    others = ("--rows-at-once", "2", "--save-steps", "1", "--data", str(folder / "moved.jsonl"))
    assert len(run(monkeypatch, folder, "--steps", "3", *others)) == 3


def test_a_generator_to_go_on_from_has_the_shapes_of_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, folder, "--steps", "1")
    (folder / "out").rename(folder / "before")
    monkeypatch.setattr("training.generator.load_base", never)
    start = ("--start", str(folder / "before" / "generator"))
    with pytest.raises(SystemExit, match=r"this run's PublishedConfig.*give it those shapes"):
        run(monkeypatch, folder, "--kind", "published", "--rank", "8", *start)


@pytest.mark.slow
def test_two_processes_train_one_generator(folder: Path) -> None:
    where = ["--base", f"{folder}/tiny/base", "--data", f"{folder}/data.jsonl", "--out", f"{folder}/out"]
    few = ["--config", "training/configs/small.toml", "--steps", "4"]
    launch = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "-m", "training.generator"]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    ran = subprocess.run([*launch, *where, *few], env=alone, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert len((folder / "out" / LOG).read_text().splitlines()) == 4
    assert not list((folder / "out").glob("checkpoint.*"))
    kept = list((folder / "out" / "checkpoint").glob("random_states_*.pkl"))
    assert len(kept) == 2  # of both
    assert opened(folder).generator.state_shape[1:] == (16, 16)


def test_a_published_generator_is_trained_written_and_gone_on_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ("--kind", "published", "--rank", "8", "--alpha", "16")
    first = run(monkeypatch, folder, *kind, "--steps", "2")
    engine = opened(folder)
    assert isinstance(engine.generator, PublishedGenerator)
    assert (engine.generator.rank, engine.generator.scaling) == (8, 1.0)
    written = (folder / "out" / "generator" / "adapter_config.json").read_text()
    assert json.loads(written)["base_model_name_or_path"] == "tiny"  # no path of this machine
    (folder / "out").rename(folder / "before")
    second = run(monkeypatch, folder, *kind, "--steps", "4", "--start", str(folder / "before" / "generator"))
    assert second[0] != first[0]
    same = load_generator(folder / "out" / "generator", engine.base).state_dict()
    assert not torch.equal(same["layers.0.B"], engine.generator.state_dict()["layers.0.B"])
    (folder / "before").rename(folder / "elsewhere")
    third = run(monkeypatch, folder, *kind, "--steps", "5", "--start", str(folder / "before" / "generator"))
    assert third[:4] == second and len(third) == 5  # a run that has begun needs no more than its checkpoint

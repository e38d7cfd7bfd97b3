"""One run: saved whole, resumed as if unbroken, trained from the command line, exported as the app opens it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from core.chat import Message
from core.checkpoint import fingerprint
from core.decoding import Sampling
from core.device import Choice
from core.engine import Engine, load_engine
from core.origin import Origin
from tests.tiny import tiny_tokenizer
from tests.training.small import small_batcher, small_config, write_corpora
from training import train as training
from training.batches import Batch, Batcher, Load
from training.codec import Codec
from training.compression import compress
from training.config import TrainConfig
from training.export import export, export_in_bits
from training.run import CHECKPOINT, TOKENIZER, Progress, Run, load_tokenizer
from training.train import LOG, rate, step, train

CPU = torch.device("cpu")


class Killed(Exception):
    """Stands for what ends a process between two steps."""


class Dying(Batcher):
    """Draws as many batches as it is given, keeps them, and dies."""

    def __init__(self, draws: int) -> None:
        whole = small_batcher(Codec(tiny_tokenizer()))
        super().__init__(whole.codec, whole.author, whole.plain, whole.talk, whole.never_told)
        self.left, self.drawn = draws, list[Batch]()

    def draw(self, rng: Random, load: Load, plain_share: float = 0.25) -> Batch:
        if not self.left:
            raise Killed
        self.left -= 1
        self.drawn.append(super().draw(rng, load, plain_share))
        return self.drawn[-1]


def new_run(folder: Path, dtype: torch.dtype = torch.float32) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(small_config(folder), tiny_tokenizer(), CPU, dtype)


def go_on(folder: Path, steps: int, accumulate: int = 1) -> tuple[Run, list[Batch]]:
    """Resume what is in the folder and train `steps` more, each by so many batches."""
    run, batcher = new_run(folder), Dying(steps * accumulate)
    run.config = replace(run.config, accumulate=accumulate)
    run.resume()
    with pytest.raises(Killed):
        train(run, batcher)
    return run, batcher.drawn


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Batch]]:
    return go_on(tmp_path_factory.mktemp("unbroken"), 4)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Batch]]:
    folder = tmp_path_factory.mktemp("broken")
    _, first = go_on(folder, 2)
    run, second = go_on(folder, 2)
    return run, first + second


def test_a_resumed_run_has_the_weights_of_an_unbroken_one(
    unbroken: tuple[Run, list[Batch]], broken: tuple[Run, list[Batch]]
) -> None:
    one, other = dict(unbroken[0].modules.named_parameters()), dict(broken[0].modules.named_parameters())
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_resumed_run_draws_the_batches_of_an_unbroken_one(
    unbroken: tuple[Run, list[Batch]], broken: tuple[Run, list[Batch]]
) -> None:
    ids = [[batch.asked.ids.tolist() for batch in drawn] for _, drawn in (unbroken, broken)]
    assert len(ids[0]) == 4
    assert ids[0] == ids[1]


def test_a_resumed_run_counts_on(unbroken: tuple[Run, list[Batch]], broken: tuple[Run, list[Batch]]) -> None:
    one, other = unbroken[0].progress, broken[0].progress
    assert (one.step, one.tokens) == (other.step, other.tokens) == (4, sum(b.tokens for b in unbroken[1]))


def test_a_resumed_run_logs_every_step_once(broken: tuple[Run, list[Batch]]) -> None:
    lines = (broken[0].config.out / LOG).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_resumed_run_goes_on_after_all_the_batches_of_its_steps(tmp_path: Path) -> None:
    _, whole = go_on(tmp_path / "whole", 2, accumulate=2)
    _, first = go_on(tmp_path / "resumed", 1, accumulate=2)
    run, second = go_on(tmp_path / "resumed", 1, accumulate=2)
    assert [batch.asked.ids.tolist() for batch in first + second] == [batch.asked.ids.tolist() for batch in whole]
    assert (run.progress.step, run.progress.tokens) == (2, sum(batch.tokens for batch in whole))
    lines = [json.loads(line) for line in (tmp_path / "resumed" / LOG).read_text().splitlines()]
    assert [line["memories"] for line in lines] == [sum(b.memories for b in drawn) for drawn in (first, second)]


def test_training_changes_every_weight(unbroken: tuple[Run, list[Batch]], tmp_path: Path) -> None:
    before = dict(new_run(tmp_path / "new").modules.named_parameters())
    after = dict(unbroken[0].modules.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_a_folder_without_checkpoint_begins_anew(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert not run.resume()
    assert run.progress == Progress()


def test_saving_and_resuming_gives_the_same_weights_and_optimiser(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    step(run, [small_batcher(Codec(run.tokenizer)).draw(Random(0), Load(1, 0, 300))])
    run.save()
    again = new_run(tmp_path)
    assert again.resume()
    for one, other in zip(run.optimizers, again.optimizers, strict=True):
        kept, found = one.state_dict()["state"], other.state_dict()["state"]
        assert kept
        assert all(torch.equal(value, found[i][name]) for i, state in kept.items() for name, value in state.items())


def test_what_a_killed_save_has_left_does_not_disturb(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.save()
    (tmp_path / CHECKPOINT).with_suffix(".new").write_bytes(b"half a checkpoi")
    again = new_run(tmp_path)
    assert again.resume()
    again.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT]


def test_a_save_that_fails_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path)
    run.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    run.progress.step = 9
    monkeypatch.setattr("training.run.os.replace", _die)
    with pytest.raises(Killed):
        run.save()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert new_run(tmp_path).resume()


def _die(*_: object) -> None:
    raise Killed


def test_the_checkpoint_itself_says_how_far_the_run_is(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.progress = Progress(step=9, tokens=900, seconds=1.0)
    run.save()
    again = new_run(tmp_path)
    again.resume()
    assert again.progress == run.progress


def test_matrices_decay_and_vectors_do_not(tmp_path: Path) -> None:
    groups = [group for optimizer in new_run(tmp_path).optimizers for group in optimizer.param_groups]
    decays = {(p.ndim >= 2, group["weight_decay"] > 0) for group in groups for p in group["params"]}
    assert decays == {(True, True), (False, False)}


def test_embeddings_are_rows_and_not_a_matrix_to_be_made_orthogonal(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    muon, adamw = ([id(p) for group in one.param_groups for p in group["params"]] for one in run.optimizers)
    assert id(run.base.decoder.embed_tokens.weight) in adamw
    assert {p.ndim for p in run.modules.parameters() if id(p) in muon} == {2}


def test_every_parameter_is_optimised_once(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    optimised = [id(p) for one in run.optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in run.modules.parameters())


def test_the_rate_rises_stays_and_falls_to_zero(tmp_path: Path) -> None:
    config = replace(small_config(tmp_path), tokens=1000, warmup_steps=10)
    assert rate(config, 0, 0) == pytest.approx(0.1)
    assert rate(config, 20, 600) == pytest.approx(1.0)
    assert rate(config, 20, 900) == pytest.approx(0.5)
    assert rate(config, 20, 1000) == 0.0
    assert rate(config, 20, 600, time_left=0.1) == pytest.approx(0.5)
    assert rate(config, 20, 900, time_left=0.9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "given",
    [
        {"hidden_size": 33},
        {"batch_tokens": 30_000},
        {"accumulate": 0},
        {"accumulate": 1000},
        {"everyday": 1.5},
        {"recalled": -0.1},
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="|".join(f"{name} {value}" for name, value in given.items())):
        replace(small_config(tmp_path), **given)  # type: ignore[arg-type]


def flags(config: TrainConfig) -> list[str]:
    given = {name.replace("_", "-"): value for name, value in vars(config).items() if value is not None}
    switches = [f"--{'' if value else 'no-'}{name}" for name, value in given.items() if isinstance(value, bool)]
    return switches + [f"--{name}={value}" for name, value in given.items() if not isinstance(value, bool)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m training.train` leaves, started once and started again when done."""
    folder = tmp_path_factory.mktemp("trained")
    config = replace(small_config(folder / "run"), corpora=write_corpora(folder / "corpora"), tokens=4000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *flags(config)])
        patch.setattr(torch.cuda, "is_available", lambda: False)
        training.main()
        training.main()
    return config.out


@pytest.fixture(scope="module")
def engine(trained: Path) -> Engine:
    export(trained, trained.parent / "model")
    return load_engine(Origin(str(trained.parent / "model")), Choice("cpu"))


def test_a_run_leaves_checkpoint_tokenizer_log_and_options(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {CHECKPOINT, TOKENIZER, LOG, "run.json"}


def test_a_run_ends_at_its_tokens(trained: Path) -> None:
    logged = [json.loads(line) for line in (trained / LOG).read_text().splitlines()]
    assert logged[-1]["tokens"] >= 4000 > logged[-2]["tokens"]
    assert logged[-1].keys() >= {"answers", "language", "exact", "step", "seconds", "memories"}


def test_a_finished_run_trains_no_further_when_started_again(trained: Path) -> None:
    steps = [json.loads(line)["step"] for line in (trained / LOG).read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


def test_a_checkpoint_is_plain_safetensors_with_its_optimiser(trained: Path) -> None:
    names = {name.split(".")[0] for name in load_file(trained / CHECKPOINT)}
    assert names == {"weights", "optimizer"}


def test_an_exported_model_folds_and_replies(engine: Engine) -> None:
    state = engine.fold(engine.empty_state(), [Message("user", "I live in Oslo."), Message("assistant", "Nice!")])
    engine.check_state(state)
    reply = engine.reply(engine.materialise(state), [Message("user", "Where do I live?")], Sampling(max_tokens=4))
    assert isinstance("".join(reply), str)


def test_an_exported_model_has_the_shapes_of_the_run(engine: Engine) -> None:
    assert engine.generator.state_shape == (2, 16, 16)
    assert engine.base.context_length == 256


def test_an_exported_model_has_the_runs_weights_in_bfloat16(engine: Engine, trained: Path) -> None:
    run = load_file(trained / CHECKPOINT)
    expected = run["weights.generator.layers.1.B"].bfloat16().float()
    assert torch.equal(engine.generator.layers[1].B, expected)


def test_exporting_twice_gives_the_same_fingerprint(engine: Engine, trained: Path, tmp_path: Path) -> None:
    assert (
        export(trained, tmp_path / "again")
        == engine.fingerprint
        == fingerprint(Origin(str(tmp_path / "again")).parts())
    )


def test_a_run_goes_on_from_a_model_that_is_kept_in_few_bits(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "whole")
    compress(tmp_path / "whole" / "base", tmp_path / "few" / "base", 8)
    shutil.copytree(tmp_path / "whole" / "generator", tmp_path / "few" / "generator")
    corpora, few = trained.parent / "corpora", tmp_path / "few"
    config = replace(small_config(tmp_path / "on"), corpora=corpora, start=few, pretrained=few / "base", lr=1e-9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *flags(replace(config, tokens=1500))])
        patch.setattr(torch.cuda, "is_available", lambda: False)
        training.main()
    export(config.out, tmp_path / "after")
    before, after = (load_engine(Origin(str(tmp_path / name)), Choice("cpu")) for name in ("few", "after"))
    assert not hasattr(after.base.config, "quantization_config")
    asked = [Message("user", "Where do I live?")]
    torch.testing.assert_close(before.logits(None, asked), after.logits(None, asked), atol=0.02, rtol=0.02)
    for name, value in before.generator.state_dict().items():
        torch.testing.assert_close(after.generator.state_dict()[name], value, atol=1e-3, rtol=0.01)


def test_a_base_exported_in_few_bits_says_what_whole_weights_say(engine: Engine, trained: Path, tmp_path: Path) -> None:
    assert export_in_bits(trained, tmp_path / "few", 8) == fingerprint(Origin(str(tmp_path / "few")).parts())
    few = load_engine(Origin(str(tmp_path / "few")), Choice("cpu"))
    assert few.generator.state_dict().keys() == engine.generator.state_dict().keys()
    ids = torch.tensor([few.tokenizer("I live in Oslo.")["input_ids"]])
    whole, near = (one.base.model(input_ids=ids).logits for one in (engine, few))
    assert torch.allclose(whole, near, atol=0.05) and not torch.equal(whole, near)


def test_a_run_without_checkpoint_cannot_be_exported(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((trained / "run.json").read_text())
    tiny_tokenizer().save_pretrained(tmp_path / TOKENIZER)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
        export(tmp_path, tmp_path / "model")


def test_a_generator_for_other_layers_is_no_start(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "start")
    run = Run(replace(small_config(tmp_path), before=1), load_tokenizer(trained / TOKENIZER), CPU)
    with pytest.raises(ValueError, match=r"\(target, before, after\) = .* and this run"):
        run.begin_from(tmp_path / "start")


def test_a_run_with_more_layers_begins_with_the_function_of_its_start(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "start")
    tokenizer, config = load_tokenizer(trained / TOKENIZER), replace(small_config(tmp_path), layers=4)
    small, deep = load_engine(Origin(str(tmp_path / "start")), Choice("cpu")), Run(config, tokenizer, CPU)
    deep.begin_from(tmp_path / "start")
    ids = torch.tensor([[3, 5, 8, 13, 21, 34]])
    expected = small.base.model(ids).logits.float()
    assert len(deep.base.layers) == 2 * len(small.base.layers)
    torch.testing.assert_close(deep.base.model(ids).logits, expected, atol=1e-4, rtol=1e-4)
    sums = deep.generator.contribution(deep.base.read(ids), torch.zeros_like(ids))
    adapter = deep.generator.materialise(sums)
    sums_of_start = small.generator.contribution(small.base.read(ids), torch.zeros_like(ids))
    with small.base.adapted(small.generator.materialise(sums_of_start)):
        expected = small.base.model(ids).logits.float()
    with deep.base.adapted(adapter):
        torch.testing.assert_close(deep.base.model(ids).logits, expected, atol=1e-4, rtol=1e-4)


def losses(folder: Path, batches: list[Batch], dtype: torch.dtype = torch.float32) -> tuple[Run, list[float]]:
    run = new_run(folder, dtype)
    return run, [float(step(run, [batch]).total) for batch in batches]


def test_a_base_that_computes_in_bfloat16_learns_what_one_in_float32_does(tmp_path: Path) -> None:
    drawing = small_batcher(Codec(tiny_tokenizer()))
    batches = [drawing.draw(Random(number), Load(facts=2, fillers=1, tokens=400)) for number in range(8)]
    _, whole = losses(tmp_path / "whole", batches)
    run, few = losses(tmp_path / "few", batches, torch.bfloat16)
    assert few == pytest.approx(whole, abs=0.05) and few != whole
    assert all(p.dtype == torch.float32 for p in run.modules.parameters())
    kept, used = run.modules["base"], run.base.model
    pairs = zip(kept.parameters(), used.parameters(), strict=True)
    assert used is not kept and all(torch.equal(k.bfloat16(), u) for k, u in pairs)
    rotary = used.model.rotary_emb.inv_freq
    assert rotary.dtype == torch.float32


def stepped(folder: Path, batches: list[Batch], dtype: torch.dtype) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of one step by these batches, and the weights after it."""
    run = new_run(folder, dtype)
    return float(step(run, batches).total), dict(run.modules.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_by_several_batches_goes_by_the_mean_of_their_losses(tmp_path: Path, dtype: torch.dtype) -> None:
    drawing = small_batcher(Codec(tiny_tokenizer()))
    first, second = (drawing.draw(Random(number), Load(facts=2, fillers=1, tokens=400)) for number in range(2))
    alone, weights = stepped(tmp_path / "alone", [first], dtype)
    other, _ = stepped(tmp_path / "other", [second], dtype)
    twice, same = stepped(tmp_path / "twice", [first, first], dtype)
    both, others = stepped(tmp_path / "both", [first, second], dtype)
    assert both == pytest.approx((alone + other) / 2, rel=1e-5) and alone != other
    assert twice == pytest.approx(alone, rel=1e-6)
    for name, weight in weights.items():
        torch.testing.assert_close(same[name], weight, atol=1e-4, rtol=1e-4)
    assert not all(torch.allclose(others[name], weight, atol=1e-4) for name, weight in weights.items())


def test_a_base_without_a_rate_stays_as_it_is(tmp_path: Path) -> None:
    run = Run(replace(small_config(tmp_path), base_lr=0.0), tiny_tokenizer(), CPU)
    base, generator = ({n: p.clone() for n, p in part.named_parameters()} for part in (run.base.model, run.generator))
    step(run, [small_batcher(Codec(tiny_tokenizer())).draw(Random(0), Load(facts=2, fillers=1, tokens=400))])
    assert all(torch.equal(p, base[n]) for n, p in run.base.model.named_parameters())
    assert not all(torch.equal(p, generator[n]) for n, p in run.generator.named_parameters())
    assert run.flops_per_token < new_run(tmp_path / "moving").flops_per_token
    run.save()
    assert Run(run.config, tiny_tokenizer(), CPU).resume()

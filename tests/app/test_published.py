"""A published generator in the app: it reads in sequence, so forgetting replays, and nothing is traced to a turn."""

from __future__ import annotations

import pytest
import torch

from app.memory_commands import _causes
from app.service import Service
from core.adapter import Adapter
from core.base import Base
from core.checkpoint import Checkpoint
from core.config import PublishedConfig
from core.engine import Engine
from core.errors import PromptError
from core.generator import PublishedGenerator
from core.sizes import ends_of
from storage.records import User
from storage.store import Store
from tests.app.conftest import say
from tests.tiny import tiny_model, tiny_tokenizer

TOLD = ("My name is Ada.", "I live in Oslo.", "My cat is red.")


def published() -> Engine:
    tokenizer = tiny_tokenizer()
    base = Base(tiny_model(len(tokenizer)))
    torch.manual_seed(1)
    generator = PublishedGenerator(PublishedConfig(**ends_of(base), key_size=16, value_size=16, rank=8, scaling=1.0))
    for layer in generator.layers:
        torch.nn.init.normal_(layer.B, std=0.5)
    return Engine(Checkpoint("published", "e" * 64, base, generator.requires_grad_(False), tokenizer))


@pytest.fixture
def engine() -> Engine:
    return published()


def test_what_is_forgotten_was_never_told(service: Service, store: Store, ada: User) -> None:
    for text in TOLD:
        say(service, ada, text)
    first, *rest = store.held_turns(ada.id)
    service.forget_turns(ada.id, {first.id})
    assert service.verify(ada.id).is_clean
    left = store.load_memory(ada.id)
    service.rebuild(ada.id)
    again = store.load_memory(ada.id)
    assert left and again and left.blob == again.blob
    assert [turn.id for turn in store.held_turns(ada.id)] == [turn.id for turn in rest]


def test_a_turn_takes_one_decomposition_and_changes_nothing_by_it(
    service: Service, store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = list[torch.Tensor](), PublishedGenerator.materialise

    def counting(self: PublishedGenerator, sums: torch.Tensor) -> Adapter:
        made.append(sums)
        return real(self, sums)

    monkeypatch.setattr(PublishedGenerator, "materialise", counting)
    counts = list[int]()
    for text in TOLD:
        say(service, ada, text)
        counts.append(len(made))
    assert counts == [2, 3, 4]  # the empty memory's, then one a turn: its reply and its fold share it
    assert service.verify(ada.id).is_clean  # which has none at hand


def test_answers_are_read_out_without_the_turns_they_came_from(
    service: Service, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.readout.SURE", float("-inf"))
    say(service, ada, TOLD[0])
    answers = service.read_out(ada.id, ["What is my name?", "Where do I live?"])
    assert len(answers) == 2 and all(answer.is_sure and answer.turn is None for answer in answers)


def test_why_says_that_it_cannot_and_showing_a_turn_goes_on(
    service: Service, store: Store, ada: User, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in TOLD:
        say(service, ada, text)
    turn = store.held_turns(ada.id)[-1]
    with pytest.raises(PromptError, match="reads turns in sequence"):
        service.why(ada.id, turn.id)
    assert _causes(service, ada, turn.id) == []
    assert "reads turns in sequence" in capsys.readouterr().err

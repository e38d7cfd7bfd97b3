"""The flags of a model and of the database: every command takes them, before its name and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from app import backup_commands, cli, file_commands, key_commands, memory_commands, people_commands, sizes_commands
from app.options import flagged

FLAGS = ("--model", "B", "--generator", "G", "--lora", "L", "--bits", "4", "--database", "D")
READ = {"model": "B", "generator": "G", "lora": "L", "bits": 4, "database_url": "D"}
COMMANDS = [
    ["chat", "--user", "a"],
    ["rebuild", "--user", "a"],
    ["people"],
    ["sizes"],
    ["backup", "FILE"],
    ["memory", "list", "--user", "a"],
    ["memory", "check", "launch.py"],
    ["key", "add", "--user", "a"],
]


class Settled(Exception):
    """Ends a command where it reads its settings."""


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the settings were read with, which is as far as a command comes."""
    found = dict[str, Any]()

    def load_settings(**given: Any) -> None:
        found.update({name: value for name, value in given.items() if value is not None})
        raise Settled

    for module in (
        backup_commands, cli, file_commands, key_commands, memory_commands, people_commands, sizes_commands,
    ):  # fmt: skip
        monkeypatch.setattr(module, "load_settings", load_settings)
    return found


def launch(*arguments: str) -> None:
    """Run a command line up to where the settings are read."""
    with pytest.raises(Settled):
        typer.main.get_command(cli.program)([*arguments], standalone_mode=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_they_stand_before_a_command_and_after(command: list[str], read: dict[str, Any]) -> None:
    for arguments in ([*FLAGS, *command], [*command, *FLAGS]):
        read.clear()
        launch(*arguments)
        assert read == READ


def test_without_a_command_they_are_the_pages(read: dict[str, Any]) -> None:
    launch(*FLAGS, "--port", "80")
    assert read == READ | {"port": 80}


def test_those_after_the_command_win(read: dict[str, Any]) -> None:
    launch(
        "--generator", "G", "--lora", "L", "--model", "A", "memory", "--lora", "M", "list", "--user", "a", *FLAGS[:4]
    )
    assert read == {"model": "B", "generator": "G", "lora": "M"}


def commands(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        yield from commands(command) if hasattr(command, "commands") else [command]


def test_no_command_is_without_one_or_has_it_twice() -> None:
    flags = [flag.opts[0] for flag in typer.main.get_command(flagged).params]
    for command in commands(typer.main.get_command(cli.program)):
        own = [option for parameter in command.params for option in parameter.opts]
        assert [own.count(flag) for flag in flags] == [1] * len(flags), command.name

"""Command line, then environment, then default; what cannot be used is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from app import settings as module
from app.cli import program
from app.errors import SettingsError
from app.settings import FLAGS, Settings, load_settings
from core.origin import Origin

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with one model and no variables set."""
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.setattr(module, "HOME", tmp_path)
    for name in ("HOST", "PORT", "MODEL", "DATABASE_URL"):
        monkeypatch.delenv(f"IMPRINT_{name}", raising=False)
    return tmp_path


def test_every_default_works(home: Path) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 7860, str(home / "models" / "tiny"))
    assert settings.database_url.endswith("/data/imprint.db")


def test_the_environment_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_PORT", "8000")
    assert load_settings(port=None).port == 8000


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_PORT", "8000")
    assert load_settings(port=9000).port == 9000


@pytest.mark.parametrize("value", ["0", "70000", "many"])
def test_a_bad_value_is_named_with_its_flag_and_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("IMPRINT_PORT", value)
    with pytest.raises(SettingsError, match=f"--port, IMPRINT_PORT.*{value}"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "ways"),
    [("BITS", "3", r"\(--bits, IMPRINT_BITS\)"), ("REPLY_TOKENS", "0", r"\(IMPRINT_REPLY_TOKENS\)")],
)
def test_a_flag_is_named_where_there_is_one(name: str, value: str, ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"IMPRINT_{name}", value)
    with pytest.raises(SettingsError, match=f"The setting {name.lower()} {ways} cannot be"):
        load_settings()


def test_the_flags_are_those_of_the_command_line() -> None:
    options = {option.name: option.opts for option in typer.main.get_command(program).params}
    assert options == {name: [flag] for name, flag in FLAGS.items()}


def test_another_generator_is_for_the_base_in_a_model_folder(home: Path) -> None:
    (home / "models" / "tiny" / "base").mkdir()
    assert load_settings(generator=home).origin == Origin(str(home / "models" / "tiny" / "base"), str(home))
    assert load_settings().origin == Origin(str(home / "models" / "tiny"))


def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_DATABASE", "sqlite:///x.db")
    with pytest.raises(SettingsError, match="IMPRINT_DATABASE is not a setting"):
        load_settings()


def test_two_models_need_a_choice(home: Path) -> None:
    (home / "models" / "other").mkdir()
    with pytest.raises(SettingsError, match="holds other, tiny; choose one with --model"):
        load_settings()


def test_a_model_folder_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(SettingsError, match=r"no model folder at .*nowhere"):
        load_settings(model=home / "nowhere")


def test_bits_come_as_text_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_BITS", "4")
    assert load_settings().bits == 4
    monkeypatch.setenv("IMPRINT_BITS", "5")
    with pytest.raises(SettingsError, match="IMPRINT_BITS"):
        load_settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]


def test_a_master_key_that_is_none_is_refused_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_MASTER_KEY", "opensesame")
    with pytest.raises(SettingsError, match="64 hexadecimal digits") as refused:
        load_settings()
    assert "opensesame" not in str(refused.value)
    monkeypatch.setenv("IMPRINT_MASTER_KEY", "0f" * 32)
    settings = load_settings()
    assert settings.master == b"\x0f" * 32 and "0f0f" not in repr(settings)


def test_a_file_of_settings_is_read_and_the_environment_wins_over_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("IMPRINT_PORT=8000\nIMPRINT_REPLY_TOKENS=12\n")
    monkeypatch.setenv("IMPRINT_PORT", "9000")
    settings = load_settings()
    assert (settings.port, settings.reply_tokens) == (9000, 12)


def test_an_unknown_setting_in_the_file_is_an_error(home: Path) -> None:
    (home / ".env").write_text("IMPRINT_PROT=8000\n")
    with pytest.raises(SettingsError, match=r"IMPRINT_PROT in the file \.env is not a setting"):
        load_settings()


def test_the_example_names_every_setting_with_its_default(home: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = [line.removeprefix("#") for line in lines if line.startswith("#IMPRINT_")]
    names = [line.partition("=")[0] for line in given]
    assert sorted(names) == sorted(f"IMPRINT_{name.upper()}" for name in Settings.model_fields)
    usual = load_settings()
    (home / ".env").write_text("\n".join(line for line in given if not line.endswith("=")))
    assert load_settings() == usual

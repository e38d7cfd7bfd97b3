"""How this process runs: command line, then `IMPRINT_*` in the environment, then in `.env`, then a default that works.

Read once, frozen, handed to `bootstrap`. Says nothing about what the weights were trained with.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError
from core.origin import HUB_NAME, Origin
from storage.database import file_url, find_file

if TYPE_CHECKING:
    from core.device import Choice

HOME = Path(__file__).resolve().parent.parent
PREFIX = "IMPRINT_"
FLAGS = {name: f"--{name}" for name in ("host", "port", "model", "generator", "lora", "bits")}
FLAGS["database_url"] = "--database"


def on_a_space() -> bool:
    """Whether this is a Hugging Face Space: strangers come, and the disk is wiped when it restarts."""
    return "SPACE_ID" in os.environ


def space_owner() -> str | None:
    """What Hugging Face calls whoever owns this Space."""
    return os.environ.get("SPACE_AUTHOR_NAME")


def knows_hub() -> bool:
    """Whether people can sign in with Hugging Face: the Space says `hf_oauth: true`, and Gradio has its extra."""
    return on_a_space() and "OAUTH_CLIENT_ID" in os.environ and find_spec("authlib") is not None


def _only_model() -> Path:
    """The single folder in models/; which of several is meant only a person can say."""
    shelf = HOME / "models"
    folders = sorted(path for path in shelf.glob("*/") if not path.name.startswith(("_", ".")))
    if len(folders) != 1:
        found = ", ".join(folder.name for folder in folders) or "nothing"
        raise SettingsError(f"The folder {shelf} should hold one model but holds {found}; choose one with --model.")
    return folders[0]


class Settings(BaseSettings):
    """Everything about this process that a person may choose."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default_factory=lambda: "0.0.0.0" if on_a_space() else "127.0.0.1", min_length=1)
    port: int = Field(7860, ge=1, le=65535)
    model: str = Field(default_factory=lambda: str(_only_model()), min_length=1)
    generator: str | None = None
    lora: str | None = None
    database_url: str = Field(default_factory=lambda: file_url(HOME / "data" / "imprint.db"), min_length=1)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "auto"
    bits: Literal[0, 4, 8] = 0
    compile: bool = False
    master_key: SecretStr | None = None
    old_master_key: SecretStr | None = None
    snapshot_folder: Path | None = None
    snapshot_minutes: float = Field(5.0, gt=0.0, le=1440.0)

    server: str | None = Field(None, pattern=r"^https?://")
    server_kind: Literal["vllm", "sglang"] = "vllm"
    server_folder: Path = HOME / "data" / "loras"
    server_loras: int = Field(8, ge=1)
    server_rank: int | None = Field(None, ge=1)
    server_key: SecretStr | None = None

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"

    passphrases: bool = Field(default_factory=on_a_space)

    message_characters: int = Field(4000, ge=1, le=1_000_000)
    turns_in_prompt: int = Field(4, ge=0)
    reply_tokens: int = Field(96, ge=1)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    guidance: float | None = Field(None, ge=1.0, le=3.0)
    seed: int = 0

    messages_a_minute: int = Field(default_factory=lambda: 30 if on_a_space() else 0, ge=0)
    conversations_each: int = Field(default_factory=lambda: 200 if on_a_space() else 0, ge=0)
    megabytes_each: float = Field(default_factory=lambda: 20.0 if on_a_space() else 0.0, ge=0.0, le=1e6)
    replies_at_once: int = Field(32, ge=1, le=256)
    patience_seconds: float = Field(120.0, gt=0.0)
    adapter_cache_bytes: int = Field(256 * 1024 * 1024, ge=0)

    @field_validator("master_key", "old_master_key")
    @classmethod
    def _master_key_is_one(cls, key: SecretStr | None, about: ValidationInfo) -> SecretStr | None:
        if key is not None and not re.fullmatch("[0-9a-fA-F]{64}", key.get_secret_value()):
            name = f"{PREFIX}{(about.field_name or '').upper()}"
            raise SettingsError(f"{name} is not 64 hexadecimal digits; `openssl rand -hex 32` prints such a key.")
        return key

    @property
    def master(self) -> bytes | None:
        """What seals the database, None where nothing does."""
        return _bytes_of(self.master_key)

    @property
    def old_master(self) -> bytes | None:
        """What sealed it before, where the key is being changed."""
        return _bytes_of(self.old_master_key)

    @field_validator("bits", mode="before")
    @classmethod
    def _bits_are_a_number(cls, bits: object) -> object:
        """The environment has only texts, and a choice among numbers takes none."""
        return int(bits) if isinstance(bits, str) and bits.isdigit() else bits

    @model_validator(mode="after")
    def _server_has_no_lora_and_guides_nothing(self) -> Self:
        if self.server and self.lora:
            raise SettingsError(
                "With a server the base has to be the server's: give it the LoRA merged into a base, as --model."
            )
        if self.server and self.guidance not in (None, 1):
            raise SettingsError("Replies that another server writes cannot be guided; leave IMPRINT_GUIDANCE empty.")
        return self

    @model_validator(mode="after")
    def _snapshots_have_source_and_place(self) -> Self:
        if self.snapshot_folder is None:
            return self
        if self.database_file is None:
            raise SettingsError(
                f"{PREFIX}SNAPSHOT_FOLDER is for a SQLite file, and {PREFIX}DATABASE_URL names none; unset one of them."
            )
        if not os.access(self.snapshot_folder, os.W_OK | os.X_OK) or not self.snapshot_folder.is_dir():
            raise SettingsError(
                f"{self.snapshot_folder} is no folder that can be written to; create or mount it, "
                f"or name another one with {PREFIX}SNAPSHOT_FOLDER."
            )
        return self

    @property
    def database_file(self) -> Path | None:
        """Where everything is kept, None where that is no SQLite file."""
        return find_file(self.database_url)

    @property
    def choice(self) -> Choice:
        """Where and how to compute, as it was asked for."""
        from core.device import Choice  # which imports torch: seconds that a command without a model need not wait

        return Choice(self.device, self.dtype, self.attention, self.bits)

    @property
    def origin(self) -> Origin:
        """Where base, generator and LoRA come from; of a folder with a generator of its own, another takes the base."""
        inside = Path(self.model) / "base"
        model = str(inside) if self.generator and inside.is_dir() else self.model
        return Origin(model, self.generator, self.lora)

    @property
    def names_a_model(self) -> bool:
        """Whether somebody chose one, by a flag or a variable; otherwise it is the one in models/."""
        return bool(self.model_fields_set & {"model", "generator"})

    @field_validator("model", "generator", "lora", mode="before")
    @classmethod
    def _part_is_somewhere(cls, given: object, about: ValidationInfo) -> str | None:
        """A folder, or what may be on the hub: a typing error is said at once, before anything is loaded."""
        part = None if given is None else str(given)
        if part and not Path(part).is_dir() and not HUB_NAME.fullmatch(part):
            name = about.field_name or ""
            raise SettingsError(
                f"There is no {name} folder at {part}; give one with {FLAGS[name]} or {PREFIX}{name.upper()}."
            )
        return part


def _bytes_of(key: SecretStr | None) -> bytes | None:
    return None if key is None else bytes.fromhex(key.get_secret_value())


def load_settings(**given: Any) -> Settings:
    """Read the settings; `given` comes from the command line and wins where it is not None.

    Raise SettingsError for anything that cannot be used, an unknown `IMPRINT_*` variable included.
    """
    _refuse_unknown_variables()
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**{"_env_file": HOME / ".env", **chosen})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise SettingsError(
                f"{name.upper()} in the file .env is not a setting; .env.example has them all."
            ) from error
        ways = ", ".join(way for way in (FLAGS.get(name), PREFIX + name.upper()) if way)
        raise SettingsError(
            f"The setting {name} ({ways}) cannot be {first['input']!r}: {first['msg'].lower()}."
        ) from error


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    if unknown := sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        raise SettingsError(f"{unknown[0]} is not a setting; the settings are {', '.join(sorted(known))}.")

"""The app over another server: each reply is written there with the memory of its person, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bootstrap import running_service
from app.errors import SettingsError
from app.settings import load_settings
from storage.database import file_url
from tests.app.conftest import say
from tests.core.lora_server import LoraServer, serving
from tests.tiny import tiny_folder


def test_no_memory_is_left_at_the_server_once_a_reply_has_ended(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    (folder / "generator" / "generation_config.json").write_text('{"guidance_scale": 2}')
    server, loras = LoraServer(folder / "base", "vllm"), tmp_path / "loras"
    with serving(server) as url:
        where = {"server": url, "server_folder": loras, "reply_tokens": 6}
        settings = load_settings(model=folder, database_url=file_url(tmp_path / "imprint.db"), **where)
        with running_service(settings) as (service, loading):
            assert loading.result().guidance == 1  # what is read out is what the server would write
            ada = service.ensure_user("Ada")
            for _ in range(3):
                say(service, ada, "My name is Ada.")
            # The first showed at the start that LoRAs can be there; each reply has one under a name of its own.
            assert len(set(server.ever)) == 4 and server.written > 0
            assert not server.loaded and not list(loras.glob("*/imprint-*"))
            with pytest.raises(SettingsError, match="the LoRA merged into a base"):
                load_settings(model=folder, lora=folder, server=url)
            with pytest.raises(SettingsError, match="cannot be guided"):
                load_settings(model=folder, guidance=1.3, server=url)

"""The app over another server: what is told is known in the next conversation, and forgotten there as here."""

from __future__ import annotations

import gc
from pathlib import Path

from app.bootstrap import running_service
from app.settings import load_settings
from storage.database import file_url
from tests.app.conftest import say
from tests.core.lora_server import LoraServer, serving
from tests.tiny import tiny_folder


def test_what_is_forgotten_here_is_gone_from_the_server(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    server, loras = LoraServer(folder / "base", "vllm"), tmp_path / "loras"
    with serving(server) as url:
        where = {"server": url, "server_folder": loras, "reply_tokens": 6}
        settings = load_settings(model=folder, database_url=file_url(tmp_path / "imprint.db"), **where)
        with running_service(settings) as (service, loading):
            loading.result()
            ada = service.ensure_user("Ada")
            for _ in range(3):
                say(service, ada, "My name is Ada.")
            # The first reply reads an empty memory: each later one reads what was told before, under a name of its own.
            assert len(set(server.ever)) == 3 and server.written > 0
            gc.collect()
            assert len(server.loaded) == len(list(loras.iterdir())) == 1
            service.forget_everything(ada.id)
            gc.collect()
            assert not server.loaded and not list(loras.iterdir())

"""`python -m benchmarks.conversations [--out FILE] [--model DIR]`: twenty scripted conversations, printed in full.

Each script is a new person; each of its lists a new conversation with an empty prompt, through the real service, engine
and storage, with the settings that people chat with. Nothing is picked: the scripts were written before they were run.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.bootstrap import running_service
from app.errors import EXPECTED
from app.service import Service
from app.settings import Settings, load_settings
from benchmarks.report import origin
from storage.database import file_url

SCRIPTS = Path(__file__).with_suffix(".toml")


def main() -> int:
    """Print the conversations as Markdown, or write them to `--out`; 2 if the model cannot be opened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    scripts = tomllib.loads(SCRIPTS.read_text(encoding="utf-8"))["script"]
    try:
        text = "\n".join(run(scripts, load_settings(model=arguments.model))) + "\n"
    except (OSError, ValueError, *EXPECTED) as error:
        print(f"The conversations cannot be held: {error}", file=sys.stderr)
        return 2
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def run(scripts: Sequence[dict[str, Any]], settings: Settings) -> Iterator[str]:
    """Lines of Markdown: the settings, then every conversation."""
    with TemporaryDirectory() as folder:
        private = settings.model_copy(update={"database_url": file_url(Path(folder) / "conversations.db")})
        with running_service(private) as (service, loading):
            where = origin(loading.result())
            yield "# Scripted conversations"
            yield ""
            yield (
                f"Model {where['model']}, {where['device']}; temperature {settings.temperature}, seed {settings.seed}. "
                "`python -m benchmarks.conversations`; a rule marks a new conversation, with an empty prompt."
            )
            for number, script in enumerate(scripts, 1):
                yield from ["", f"## {number}. {script['title']}", ""]
                yield from held(service, f"person {number}", script["say"])


def held(service: Service, name: str, conversations: Sequence[Sequence[str]]) -> Iterator[str]:
    """One person's conversations, message by message."""
    user = service.ensure_user(name)
    for number, texts in enumerate(conversations):
        if number:
            yield from ["", "---", ""]
        conversation = None
        for text in texts:
            reply = service.send(user.id, conversation, text)
            said = "".join(reply)
            reply.remembered.result()
            conversation = reply.turn.conversation_id
            yield f"- **{text}**"
            yield f"  {said}"


if __name__ == "__main__":
    sys.exit(main())

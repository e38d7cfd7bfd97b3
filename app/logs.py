"""What this process says on stderr: lines for people, or JSON for machines. Never what anybody wrote."""

from __future__ import annotations

import json
import logging
from typing import Any, Literal

from app.reply import Reply

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
EVENT = "event"  # what an entry's `extra` holds under this name are fields of their own in JSON


class JsonLines(logging.Formatter):
    """One JSON object a line: when, how grave, from where, what, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        entry: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(entry | getattr(record, EVENT, {}))


def set_up_logging(style: Literal["text", "json"] = "text", level: str = "WARNING") -> None:
    """What is at least as grave as `level` goes to stderr, in one of two styles. The last call counts."""
    logging.basicConfig(level=level.upper(), format=FORMAT, force=True)
    if style == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


def figures_of(reply: Reply, answered: float, fold_seconds: float) -> dict[str, Any]:
    """What a log says of a turn: numbers, and nothing of what was said."""
    return {
        "user": reply.turn.user_id,
        "turn": reply.turn.id,
        "prompt_tokens": reply.reading.prompt_tokens,
        "reply_seconds": round(answered - reply.began, 3),
        "fold_seconds": round(fold_seconds, 3),
    }

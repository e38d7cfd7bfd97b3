"""Start Imprint: `python launch.py` serves the page; `chat`, `rebuild` and `memory` work in a terminal.

Reads flags and environment and starts one of them; nothing else. The environment is set before anything is imported
that would look for news on the network.
"""

from __future__ import annotations

import os

OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Hand over to the command line."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    from app.cli import run

    run()


if __name__ == "__main__":
    main()

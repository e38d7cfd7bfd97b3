"""Start Imprint: `python launch.py` serves the page; `chat`, `rebuild` and `memory` work in a terminal.

Reads flags and environment and starts one of them; nothing else. The environment is set before anything is imported
that would look for news on the network.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

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
    from app.stubs import leave_out_stubs

    leave_out_stubs()
    run()


def run_and_end() -> NoReturn:
    """Run it, and end at once when it is over.

    To take torch and gradio apart takes seconds, and under a thread that is still loading the model they may abort.
    """
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    atexit._run_exitfuncs()  # such as core/loras.py's, which leaves no memory in the folder of another server
    with suppress(BrokenPipeError):  # nobody reads on, as in `launch.py people | head -1`
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run_and_end()

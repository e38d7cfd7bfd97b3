"""The page's library is imported without the stubs it writes."""

import subprocess
import sys

STRICT = """
import ast

def never(*_):
    raise AssertionError("a stub is being written")

ast.get_source_segment = never  # what gradio takes a class out of its source with
"""


def imported(before: str) -> subprocess.CompletedProcess[str]:
    code = f"{STRICT}\n{before}\nimport gradio\ngradio.Textbox()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_no_stub_is_written_when_they_are_left_out() -> None:
    assert imported("from app.stubs import leave_out_stubs; leave_out_stubs()").returncode == 0


def test_gradio_would_write_them() -> None:
    assert "a stub is being written" in imported("").stderr  # else app/stubs.py is of no use, and can go

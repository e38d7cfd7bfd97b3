"""The README is true: its figures are those of the results, its tree is the tree, its commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.figures import PAGES, placed, render
from tests.app.commands import launch

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_figures_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert placed(text, render()) == text, "run `python -m benchmarks.figures`"


def test_the_tree_names_every_package_and_every_file_of_core() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    named = re.findall(r"^( *)(\S+)", tree, re.MULTILINE)
    top = {name for indent, name in named if not indent}
    assert top == {"launch.py", *(f"{name}/" for name in packages())}
    core = {path.name for path in (HOME / "core").glob("*.py")} - {"__init__.py"}
    assert {name for indent, name in named if indent and name.endswith(".py")} == core


def packages() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=HOME, capture_output=True, text=True, check=True).stdout
    return sorted({line.split("/")[0] for line in listed.splitlines() if "/" in line and not line.startswith(".")})


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (HOME / link).exists()]


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (HOME / "Makefile").read_text()
    assert set(re.findall(r"^make (\w+)$", README, re.MULTILINE)) == {"run", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in ("run", "test"))


MEMORY = [
    ["memory", name]
    for name in (
        *("list", "show", "forget", "receipts", "verify", "export", "import"),
        *("readout", "since", "pin", "correct", "stats"),
    )
]
KEYS = [["key", "add"]]


@pytest.mark.parametrize("command", [[], ["chat"], ["rebuild"], *MEMORY, *KEYS], ids=" ".join)
def test_every_command_in_the_readme_explains_itself(command: list[str]) -> None:
    code, told, _ = launch(*command, "--help")
    assert code == 0
    assert not command or f"python launch.py {' '.join(command)} --user NAME" in README
    flags = ["--user"] if command else ["--host", "--port", "--model", "--database"]
    assert all(flag in told for flag in flags)


def test_the_head_starts_a_space_with_the_gradio_that_is_tested() -> None:
    head = dict(line.split(": ", 1) for line in README.split("---\n")[1].strip().splitlines())
    pinned = re.search(r"^gradio==(.+)$", (HOME / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned and head["sdk_version"] == pinned[1]
    assert (head["sdk"], head["app_file"], head["python_version"]) == ("gradio", "launch.py", '"3.12"')
    assert (HOME / head["app_file"]).exists()
    assert len(head["short_description"]) <= 60

"""The house rules that a machine can check: who imports whom, what a file is called, what is shipped."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "storage", "app", "training", "benchmarks")
MAY_IMPORT = {
    "core": set(),
    "storage": set(),
    "app": {"core", "storage"},
    "training": {"core"},
    "benchmarks": {"core", "storage", "app", "training"},
}
ONLY_IN = {
    "gradio": {"app"},
    "fastapi": {"app"},
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "torch": {"core", "training", "benchmarks"},
    "transformers": {"core", "training", "benchmarks"},
}
# Of app/, these alone see both sides; the others get plain values of storage.records, or nothing.
SEES_BOTH = {
    "accounts",
    "api_errors",
    "asking",
    "bootstrap",
    "errors",
    "history",
    "ledger",
    "memories",
    "proof",
    "readout",
    "service",
    "settings",
    "upkeep",
}
PLAIN_VALUES = {"storage.records", "core.adapter", "core.sizes", "core.errors"}
SEES_NEITHER = ("app/ui.py", "app/plots.py", "app/intake.py")
MEGABYTE = 1_000_000
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (HOME / package).rglob("*.py"))


def docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, at any depth, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


def named(path: Path) -> str:
    return str(path.relative_to(HOME))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    allowed = {*MAY_IMPORT[package], package}
    others = {*PACKAGES, "tests", "launch"} - allowed
    found = {(named(path), name) for path in modules(package) for name in imported(path)}
    assert {(path, name) for path, name in found if name.split(".")[0] in others} == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_only_where_it_belongs(library: str) -> None:
    elsewhere = [package for package in PACKAGES if package not in ONLY_IN[library]]
    paths = [HOME / "launch.py", *modules(*elsewhere)]
    assert [named(path) for path in paths if library in {name.split(".")[0] for name in imported(path)}] == []


def test_few_modules_of_the_app_see_both_sides() -> None:
    others = [path for path in modules("app") if path.stem not in SEES_BOTH]
    found = {
        (named(path), name)
        for path in others
        for name in imported(path)
        if name.split(".")[0] in ("core", "storage") and name not in PLAIN_VALUES
    }
    assert found == set()


@pytest.mark.parametrize("file", SEES_NEITHER)
def test_what_is_shown_knows_neither_model_nor_database(file: str) -> None:
    assert [name for name in imported(HOME / file) if name.split(".")[0] in ("core", "storage")] == []


def test_the_rules_of_the_chat_know_no_page() -> None:
    files = ("service", "memories", "reply", "cache", "errors", "settings")
    shown = {
        "gradio",
        "plotly",
        "app.ui",
        "app.guards",
        "app.chat_handlers",
        "app.handlers",
        "app.plots",
        "app.wording",
    }
    assert [file for file in files if shown & set(imported(HOME / "app" / f"{file}.py"))] == []


def test_no_module_has_a_name_that_means_nothing() -> None:
    paths = [*modules(*PACKAGES, "tests"), HOME / "launch.py"]
    empty = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [named(path) for path in paths if empty & {*path.relative_to(HOME).parts, path.stem}] == []


def test_every_module_says_what_it_is() -> None:
    paths = [*modules(*PACKAGES, "tests"), HOME / "launch.py"]
    assert [named(path) for path in paths if path.stat().st_size and not docstring(path)] == []


def test_every_package_says_what_it_is() -> None:
    assert [package for package in PACKAGES if not docstring(HOME / package / "__init__.py")] == []


def test_no_module_is_longer_than_300_lines() -> None:
    paths = modules(*PACKAGES)
    assert [named(path) for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > 300] == []


def test_every_function_names_its_types() -> None:
    functions = [
        (named(path), node)
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(path, node.name) for path, node in functions if node.returns is None] == []


def shipped() -> list[Path]:
    return [path for path in (HOME / "models").rglob("*") if path.is_file()]


def test_no_shipped_file_is_larger_than_50_megabytes() -> None:
    assert [named(path) for path in shipped() if path.stat().st_size > 50 * MEGABYTE] == []


def test_what_is_shipped_is_no_larger_than_64_megabytes() -> None:
    assert sum(path.stat().st_size for path in shipped()) <= 64 * MEGABYTE


def test_nothing_shipped_is_a_pickle() -> None:
    assert [named(path) for path in shipped() if path.suffix in PICKLES] == []


def test_the_version_of_torch_is_pinned() -> None:
    assert "torch==2.13.0" in (HOME / "requirements.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("module", ["app.settings", "storage.store", "core.chat", "app.service", "app.cli", "app.ui"])
def test_what_needs_no_torch_does_not_wait_for_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit(sorted({{'torch', 'transformers'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

"""`python -m benchmarks.figures`: put the figures of `results/` into the README and the model card.

Between `<!-- figures -->` and `<!-- /figures -->` nothing is written by hand; a test holds the texts to the results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.cases import KINDS

HOME = Path(__file__).parent.parent
RESULTS = HOME / "benchmarks" / "results"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
PAGES = (HOME / "README.md", *sorted((HOME / "models").glob("*/README.md")))
RECALLS = {
    "recall_sample": "tests/fixtures/cases/recall_sample.jsonl",
    "recall_generated": "generated cases of 1 to 4 facts, values and phrasings held out of training",
    "recall_heavy": "generated cases of 1 to 12 facts, values and phrasings held out of training",
}


def render() -> str:
    """All figures as Markdown."""
    parts = [recall_table(load(name), title) for name, title in RECALLS.items()]
    return "\n\n".join([*parts, speed_table(load("speed")), crash_line(load("crash"))])


def load(name: str) -> dict[str, Any]:
    """One result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def recall_table(result: dict[str, Any], title: str) -> str:
    """Share of probes answered right, the three ways."""
    counts = result["memory"]["n"]
    facts = re.search(r"up to (\d+) facts", result["source"])
    flags = f"--generate {result['cases']} --facts {facts[1]}" if facts else f"--cases {title}"
    lines = [f"Recall, {title} (`python -m benchmarks.recall {flags}`):", ""]
    lines += ["| | " + " | ".join(f"{kind} ({counts[kind]})" for kind in KINDS) + " |", "|---" * 5 + "|"]
    for way in ("memory", "none", "prompt"):
        cells = (result[way][kind] for kind in KINDS)
        lines.append(f"| {way} | " + " | ".join("-" if cell is None else f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def speed_table(result: dict[str, Any]) -> str:
    """What remembering costs."""
    lines = [
        "Cost (`python -m benchmarks.speed`; medians, interleaved in one process):",
        "",
        "| | | |",
        "|---|---|---|",
    ]
    for row in result["fold"]:
        tokens, took, bare = row["tokens"], row["fold"], row["forward"]
        ratio = f"{row['fold/forward']:.2f}x the bare forward pass ({bare:.1f} ms)"
        lines.append(f"| fold of {tokens} tokens | {took:.1f} ms | {ratio} |")
    for row in result["first_piece"]:
        name = f"first token, {result['earlier_turns']} turns in memory, adapter {row['adapter']}"
        ratio = f"{row['full/empty']:.2f}x that of an empty memory ({row['empty']:.1f} ms)"
        lines.append(f"| {name} | {row['full']:.1f} ms | {ratio} |")
    for row in result["history"]:
        text = f"{row['text_bytes']:,} B of text, {row['kv_bytes']:,} B of KV cache"
        prompt = "does not fit" if row["prompt"] is None else f"{row['prompt']:.1f} ms"
        lines.append(f"| {row['turns']} turns: memory | {row['memory']:.1f} ms | {row['state_bytes']:,} B of state |")
        lines.append(f"| {row['turns']} turns: all in the prompt | {prompt} | {text} |")
    fairness = "At hand is not like for like: the empty memory's adapter is made anew. The prompt is re-read each time."
    lines += ["", fairness]
    return "\n".join([*lines, "", f"Where memory is the worse choice: {result['memory_is_worse']['in_words']}"])


def crash_line(result: dict[str, Any]) -> str:
    """What SIGKILL costs."""
    return (
        f"Crashes (`python -m benchmarks.crash --kills {result['kills']}`): after {result['kills']} SIGKILLs at random "
        f"moments, {result['acknowledged']:,} turns acknowledged, {result['lost']} lost, {result['twice']} folded "
        f"twice; largest difference to states built without crashes {result['difference']:.0e}."
    )


def placed(page: str, figures: str) -> str:
    """A page with the figures between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{figures}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(placed(page.read_text(encoding="utf-8"), render()), encoding="utf-8")


if __name__ == "__main__":
    main()

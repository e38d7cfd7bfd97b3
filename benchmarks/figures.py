"""`python -m benchmarks.figures`: put the figures of `results/` into the README and the model card.

Between `<!-- figures -->` and `<!-- /figures -->` nothing is written by hand; a test holds the texts to the results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import cost_figures as costs
from benchmarks.cases import KINDS

HOME = Path(__file__).parent.parent
RESULTS = HOME / "benchmarks" / "results"
RECALL = (
    "Recall (`benchmarks/runs/recall.sh`; share right, its 95 % interval, probes). But for the first five rows, cases "
    "are generated with values and phrasings held out of training; *update* also fails when the old value is said, "
    "*falsely denied* are told facts said to be unknown; memory replies as the app does, its openings weighed, the "
    "other two, which have no memory to weigh with, word by word; where a way has a star, a GPU answered, in float32:"
)
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
PAGES = (HOME / "README.md", *sorted((HOME / "models").glob("*/README.md")))
RECALLS = {
    "everyday": "150 people as they type (benchmarks/everyday.jsonl)",
    "second": "200 others as they type (benchmarks/second.jsonl), read by nobody who made the data",
    "followups": "60 people asked on (benchmarks/followups.jsonl): *and how old is he?* after a first question",
    "followups_second": "40 others asked on (benchmarks/followups_second.jsonl), whose misses nobody has read",
    "sample": "tests/fixtures/cases/recall_sample.jsonl",
    "generated": "1 to 4 facts",
    "200": "the same, 200 cases of another seed",
    "10_facts": "1 to 10 facts",
    "planted": "the same, then 20 wrong replies",
    "after_50": "the same, then 50 unrelated turns",
    "after_200": "the same, then 200 unrelated turns",
    "10_facts_second": "1 to 10 facts, 100 cases of another seed",
    "after_50_second": "40 of these, then 50 unrelated turns",
    "30_facts": "30 facts",
    "100_facts": "100 facts",
    "unseen_kinds": "1 to 4 facts of kinds never trained",
    "near_misses": "1 to 4 facts, near misses asked for where there are any",
    "as_trained": "1 to 4 facts, all as trained",
    "unseen_telling": "only the telling is new",
    "unseen_value": "only the value is new",
    "unseen_question": "only the question is new",
}

VERBS = ("crash_verbs", "crash_verbs_sealed", "crash_verbs_postgresql")


def render() -> str:
    """All figures as Markdown."""
    control = load("memory_control")
    parts = [recall_table(), side_effects(load("perplexity")), forgetting_line(control["forgetting"])]
    parts += [receipts_line(control["receipts"]), provenance_line(control["provenance"])]
    parts += [disagreements_line(control["disagreements"]), readout_line(load("readout"))]
    parts += [capacity_table(load("capacity"))]
    parts += [costs.speed_table(load("speed")), crash_line(load("crash")), verbs_line(list(map(load, VERBS)))]
    parts += [costs.start_line(load("start")), costs.load_line(load("load")), costs.dry_run_line(load("dry_run"))]
    parts += [costs.gpu_line(load("gpu")), costs.decomposition_line(load("decomposition"))]
    parts += [costs.served_line(load("served"))]
    return "\n\n".join(parts)


def load(name: str) -> dict[str, Any]:
    """One result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def recalled(name: str) -> dict[str, Any]:
    """One result of recall; nothing where it was measured with other weights than the first table's."""
    result = load(f"recall_{name}")
    return result if result["model"] == load("recall_generated")["model"] else {}


def recall_table() -> str:
    """Share of probes answered right, the three ways, with the 95 % interval of what memory recalls."""
    head = ["cases", "way", *KINDS, "falsely denied"]
    lines = [RECALL, "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, title in RECALLS.items():
        result = recalled(name)
        for way in (way for way in ("memory", "none", "prompt") if way in result):  # a prompt of 100 facts takes long
            cells = [_cell(result[way], kind) for kind in KINDS] + [f"{result[way]['false_admission']:.2f}"]
            star = "*" * result[way].get("device", result["device"]).startswith("cuda")
            lines.append(f"| {title if way == 'memory' else ''} | {way}{star} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(shares: dict[str, Any], kind: str) -> str:
    if shares[kind] is None:
        return "-"
    low, high = shares["interval"][kind]
    return f"{shares[kind]:.2f} ({low:.2f}-{high:.2f}, {shares['n'][kind]})"


def side_effects(result: dict[str, Any]) -> str:
    """What a memory does to text that is not about it."""
    sessions, talk, asides = result["msc"], result["small_talk"], result["asides"]
    ways = ", ".join(f"{way} {value:.1f}" for way, value in sessions["perplexity"].items())
    lines = [
        "Side effects (`python -m benchmarks.perplexity --msc FILE --plain FILE... "
        f"--dialogues {sessions['dialogues']}`):",
        f"perplexity of {sessions['dialogues']} third sessions of "
        f"Multi-Session Chat: {ways}. With 50 unrelated facts in memory, perplexity of other talk is",
    ]
    for name, row in result["plain"].items():
        low, high = row["interval"]
        lines.append(f"{row['ratio']:.2f} times ({low:.2f}-{high:.2f}) that of an empty memory on {name},")
    lines.append(f"and {talk['mention']} of {talk['messages']} replies to small talk that training saw mention one. Of")
    lines.append(
        f"{asides['messages']} questions that only sound as if they were about the user (advice, mostly; training saw "
        f"none of them) {asides['mention']} are answered with a fact and {asides['denied']} as if one had been asked "
        f"for and never told ({asides['denied_without']} by the base without a memory)."
    )
    return "\n".join(lines)


def forgetting_line(result: dict[str, Any]) -> str:
    """What is left of what was forgotten."""
    same = "every state is" if result["states_as_never_told"] else "not every state is"
    return (
        f"Forgetting (`python -m benchmarks.forgetting`): of {result['forgotten']} canaries told and forgotten "
        f"{result['bytes_left']} bytes are left in any file of the database, and {same} bit for bit that of somebody "
        f"who never told them. Mean ln p a token of the answer: forgotten {result['log_probability_forgotten']:.2f}, "
        f"never told {result['log_probability_never_told']:.2f} (z = {result['z']:.2f}, p = {result['p']:.2f}), kept "
        f"{result['log_probability_kept']:.2f}; of {result['kept']} kept ones {result['kept_recalled_before']} were "
        f"recalled before the forgetting and {result['kept_recalled_after']} after it."
    )


def receipts_line(result: dict[str, Any]) -> str:
    """What a receipt is worth to somebody who has the file alone."""
    checks = 2 * result["files"]
    return (
        f"Receipts (`python -m benchmarks.receipts`): {result['whole']} of {checks} exported files, half of them "
        f"without texts, are found whole by a clean process that has no database, and the newest of their "
        f"{result['receipts']} receipts in {result['newest_found']}; of {result['flips']} flipped bits "
        f"{result['flips_refused']} are refused, {result['flips_harmless']} change nothing, "
        f"{result['flips_believed']} are believed. Memory spoke for the forgotten words by "
        f"{result['nats_before']:.1f} nats a turn before, and by {result['nats_after']:.1f} since."
    )


def disagreements_line(result: dict[str, Any]) -> str:
    """How well turns that disagree are named."""
    (low, high), (least, most) = result["named_of_changed_interval"], result["right_of_named_interval"]
    return (
        f"Change of mind (`python -m benchmarks.disagreements`): of {result['changed']} changed facts that are "
        f"answered rightly {result['named_of_changed']:.2f} are shown with the turn that told the old one "
        f"({low:.2f}-{high:.2f}); of {result['named']} turns shown as disagreeing {result['right_of_named']:.2f} "
        f"are such ({least:.2f}-{most:.2f}). Surprise would not do: a change is less likely to the memory than "
        f"something new is with chance {result['changes_more_surprising']:.2f}."
    )


def provenance_line(result: dict[str, Any]) -> str:
    """How well a reply is traced, and how fast."""
    low, high = result["interval"]
    return (
        f"Why this reply (`python -m benchmarks.provenance`): the turn that told the answer comes first for "
        f"{result['share']:.2f} of the right replies ({low:.2f}-{high:.2f}, {result['traced']}); a trace through "
        f"{result['turns_timed']} turns takes {result['seconds']:.2f} s."
    )


def readout_line(result: dict[str, Any]) -> str:
    """How far a readout can be believed."""
    low, high = result["right_of_shown_interval"]
    return (
        f"What do you know about me (`python -m benchmarks.readout`): of {result['shown']} answers shown as known "
        f"{result['right_of_shown']:.2f} are right ({low:.2f}-{high:.2f}); {result['shown_of_told']:.2f} of the facts "
        f"told are shown, and {result['shown_of_never_told']:.2f} of those never told. A right answer has a larger "
        f"margin than another one with chance {result['ranking']:.2f}."
    )


def capacity_table(result: dict[str, Any]) -> str:
    """Recall against load and against distance, beside the gauge."""
    lines = [
        "Capacity (`python -m benchmarks.capacity`; told and asked as in training and answered rightly, so that only "
        "load and distance count):",
        "",
        "| facts held | turns of small talk after them | of the state in use | recall |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        recall = f"{row['recall']:.2f} ({row['interval'][0]:.2f}-{row['interval'][1]:.2f})"
        lines.append(f"| {row['facts']} | {row['turns_after']} | {row['fullness']:.2f} | {recall} |")
    correlation = f"Rank correlation of use and recall over {result['memories']} memories: "
    return "\n".join([*lines, "", f"{correlation}{result['rank_correlation']:.2f}."])


def crash_line(result: dict[str, Any]) -> str:
    """What SIGKILL costs."""
    return (
        f"Crashes (`python -m benchmarks.crash --kills {result['kills']}`, {result['model']}): after "
        f"{result['kills']} SIGKILLs at random moments, {result['acknowledged']:,} turns acknowledged, "
        f"{result['lost']} lost, {result['twice']} folded twice; largest difference to states built without crashes "
        f"{result['difference']:.0e}."
    )


def verbs_line(results: list[dict[str, Any]]) -> str:
    """What SIGKILL costs the other verbs, on each kind of database."""
    kills = " and ".join(f"{one['kills']} on {one['on']}" for one in results)
    done, cut = (sum(sum(one[part].values()) for one in results) for part in ("verbs", "cut"))
    wrong, unclean = (sum(one[part] for one in results) for part in ("wrong", "unclean"))
    return (
        f"Kills amid other verbs (`python -m benchmarks.crash_verbs`, {results[0]['model']}; {kills}): {done:,} done "
        f"({', '.join(sorted(results[0]['verbs']))}) and {cut} cut off; {wrong} times the memory held something else "
        f"than what was acknowledged, with the one cut off done or not, and {unclean} times a replay of the ledger did "
        "not give its state."
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

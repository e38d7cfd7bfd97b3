"""What memory costs, one sentence or table for each result: the part of `figures.py` that a machine decides.

Knows results, not files.
"""

from __future__ import annotations

from typing import Any


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
        ratio = f"{row['full/new']:.2f}x that of a memory of one turn ({row['new']:.1f} ms)"
        lines.append(f"| {name} | {row['full']:.1f} ms | {ratio} |")
    for row in result["history"]:
        text = f"{row['text_bytes']:,} B of text, {row['kv_bytes']:,} B of KV cache"
        memory = _reply(row["memory"], row["whole"], row["memory_tokens"])
        prompt = _reply(row["prompt"], row["prompt_whole"], row["prompt_tokens"])
        lines.append(f"| {row['turns']} turns: memory | {memory} | {row['state_bytes']:,} B of state |")
        lines.append(f"| {row['turns']} turns: all in the prompt | {prompt} | {text} |")
    fairness = (
        "At hand is not like for like: the adapter of one turn is made anew. The prompt is re-read each time. Where "
        "a memory guides, nothing is shown before the openings are weighed, which are most of a short reply."
    )
    lines += ["", fairness]
    return "\n".join([*lines, "", f"Where memory is the worse choice: {result['memory_is_worse']['in_words']}"])


def _reply(first: float | None, whole: float | None, tokens: int | None) -> str:
    if first is None or whole is None:
        return "does not fit"
    return f"{first:.0f} ms, whole reply ({tokens} tokens) {whole:.0f} ms"


def load_line(result: dict[str, Any]) -> str:
    """Many people at once."""
    return (
        f"Load (`python -m benchmarks.load --clients {result['clients']} --minutes {result['minutes']:g}`): "
        f"{result['clients']} people who chat without a pause on one server get {result['replies']:,} replies, "
        f"{result['errors']} errors; first piece after {result['first_piece_p50']:.2f} s (median) and "
        f"{result['first_piece_p95']:.2f} s (95th percentile), whole reply after {result['whole_p50']:.2f} and "
        f"{result['whole_p95']:.2f} s. The process holds {result['resident_mb']} MB and grows by "
        f"{result['resident_mb_a_minute']:.1f} MB a minute in the second half. {result['recalled']} are told their own "
        f"invented name in the end, {result['told_anothers_name']} times somebody is told another's."
    )


def served_line(result: dict[str, Any]) -> str:
    """Replies by a server of another kind."""
    ways = result["ways"]
    here, there = (ways[f"{side}, at once"] for side in ("here", "there"))
    return (
        f"Another server (`python -m benchmarks.served --server URL`; {result['server']} on the same CPU, "
        f"{result['model']}, replies to "
        f"{result['people']} memories, each a LoRA there): {there['as_here']:.2f} of {result['replies']} replies are "
        f"those of this process, {result['left']} memories are left there; {result['at_once']} at once, "
        f"{there['replies_a_s']:.1f} replies a second there and {here['replies_a_s']:.1f} here."
    )


def start_line(result: dict[str, Any]) -> str:
    """How soon it is there."""
    return (
        f"Start (`python -m benchmarks.start`; median of {result['repeats']} starts): the page is there after "
        f"{result['page_seconds']:.1f} s, the first piece of a first reply after {result['word_seconds']:.1f} s."
    )


def dry_run_line(result: dict[str, Any]) -> str:
    """What a memory costs at the size of a base that people use, on a CPU."""
    kinds = [
        f"{kind}: {part['state_bytes'] / 1e6:,.1f} MB a state, {part['fold_ms'] / 1000:.1f} s to fold "
        f"{result['tokens']} tokens, {part['adapter_ms'] / 1000:.2f} s to make an adapter"
        for kind, part in ((kind, result[kind]) for kind in ("published", "gated"))
    ]
    tokens = {row["side"]: row["ms"] / 1000 for row in result["a_token"]}
    return (
        f"Full size (`python -m benchmarks.dry_run` at {result['commit']}; {result['geometry']}, {result['device']}, "
        f"random weights): {'; '.join(kinds)}. A token takes {tokens['no memory']:.2f} s without memory, "
        f"{tokens['published memories']:.2f} and {tokens['gated memories']:.2f} s with one. Sizes are those that "
        "`python launch.py sizes` computes."
    )


def decomposition_line(result: dict[str, Any]) -> str:
    """What a published adapter's directions take, with and without a gradient."""
    ways = {row["side"]: row for row in result["ways"]}
    told = [
        f"{name} {row['ms']:.0f} ms ({ways[f'{name}, in training']['ms']:.0f} with a gradient), {row['distance']:.1e}"
        for name, row in ways.items()
        if f"{name}, in training" in ways
    ]
    return (
        f"The {result['rank']} directions of a published state's layer, {result['size']} x {result['size']} "
        f"(`python -m benchmarks.decomposition`; {result['device']}), and their distance from an exact SVD's: "
        f"{'; '.join(told)}."
    )


def gpu_line(result: dict[str, Any]) -> str:
    """What a memory costs at the size of a base that people use, on a GPU."""
    rates = f"products at {result['product_operations_per_second']['bfloat16'] / 1e12:,.0f} TFLOP/s"
    copies = f"memory copies at {result['copy_bytes_per_second'] / 1e12:.1f} TB/s"
    directions = {row["side"]: row["ms"] for row in result["decomposition"]}
    return (
        f"Full size on a GPU (`python -m benchmarks.gpu --users {result['users']} --repeats {result['repeats']}` at "
        f"{result['commit']}; {result['geometry']}, {result['device']}, random weights; {rates}, {copies}): a step of "
        f"one reply takes {_steps(result['decode'])}; of {result['users']} replies, each with a memory of its own, "
        f"{_steps(result['users_together'])}. {_folds(result['fold'])} A layer's published directions take "
        f"{directions['leading directions']:.0f} ms there, a whole SVD {directions['whole SVD']:.0f}. A step without "
        f"memory takes {result['decode'][0]['over_limit']:.1f} times what the device could do it in."
    )


def _steps(rows: list[dict[str, Any]]) -> str:
    took = {row["side"]: f"{row['ms']:.1f}" for row in rows}
    kinds = [
        f"{took[f'{kind} memories']} ms with a {kind} one ({took[f'{kind} memories through peft']} through peft)"
        for kind in ("published", "gated")
    ]
    return f"{took['no memory']} ms without memory, {' and '.join(kinds)}"


def _folds(rows: list[dict[str, Any]]) -> str:
    ratios = {(row["tokens"], row["side"]): row["ratio"] for row in rows}
    told = [
        f"{ratios[tokens, 'published: contribution']:.2f} and {ratios[tokens, 'gated: contribution']:.2f} times the "
        f"bare forward pass for {tokens:,} tokens"
        for tokens in sorted({tokens for tokens, _ in ratios})
    ]
    return f"What a turn writes costs {', '.join(told)} (published and gated)."

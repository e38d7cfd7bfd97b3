"""`python launch.py sizes`: what a model and its memories take, as a Markdown table or JSON; loads no weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import SettingsError
from app.memory_commands import AsJson, print_json
from app.options import given
from app.settings import load_settings

if TYPE_CHECKING:
    from core.sizes import Sizes

HEAD = (
    "| base | weights | generator | a state | its adapter | of which own "
    "| KV cache per 1,000 tokens | as large as the cache of | as the text of |"
)
EXPLAINED = """
Weights and adapters are in bfloat16, generator and states in float32. *Own* is the least that has to be kept to use a
memory, but not to fold into it. The last two columns are where memory is the worse choice in bytes: a history of fewer
tokens takes less than the state, as a key-value cache or as plain text (some 4.5 bytes a token). Where a prompt cannot
even be that long, bytes are no reason for a memory; that nothing is read again is. The caches of all layers are counted
whole, as they are kept for bases with sliding windows too."""


def sizes(
    context: typer.Context,
    state: Annotated[int | None, typer.Option(help="r_k = r_v of a gated generator, instead of the published.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a model and its memories take: of the --model or --generator given, or of well-known bases.

    A base alone is given a generator of the published shapes, or one with --state.
    """
    from core.sizes import sizes_of_known, sizes_of_origin

    if state is not None and state < 1:
        raise SettingsError(f"A --state cannot be {state}; it has to be positive.")
    settings = load_settings(**given(context))
    if settings.names_a_model:
        rows = {settings.origin.name: sizes_of_origin(settings.origin, state)}
    else:
        rows = sizes_of_known(state)
    if as_json:
        return print_json({name: _fields(found) for name, found in rows.items()})
    print(HEAD, "|---" * 9 + "|", *(_row(name, found) for name, found in rows.items()), EXPLAINED, sep="\n")


def in_words(found: Sizes, dtype: str, bits: int = 0) -> str:
    """One line, to be read before the weights are; an adapter is in the number type that is computed in."""
    times = 2 if dtype == "float32" else 1
    weights = (
        f"at least {_sized(found.base * bits // 16)} of weights in {bits} bits"
        if bits
        else f"{_sized(found.base * times)} of weights in {dtype}"
    )
    return (
        f"{weights}, {_sized(found.generator)} of generator, {_sized(found.state)} a memory, "
        f"{_sized(found.adapter * times)} its adapter"
    )


def cautions(found: Sizes, dtype: str, cache_bytes: int, at_once: int) -> list[str]:
    """What costs time where many people chat, a line each: where replies go alone, where adapters have no room."""
    held = cache_bytes // (found.adapter * (2 if dtype == "float32" else 1))
    alone = "every reply is written alone, so that N people at once take N passes a step"
    made = (
        f"at least {held} adapters are kept ready (IMPRINT_ADAPTER_CACHE_BYTES), and of {at_once} replies at once the "
        "others begin with making theirs"
    )
    return [alone] * (not found.together) + [made] * (held < at_once)


def _fields(found: Sizes) -> dict[str, Any]:
    return asdict(found) | {"break_even": found.break_even, "break_even_as_text": found.break_even_as_text}


def _row(name: str, found: Sizes) -> str:
    parts = (found.base, found.generator, found.state, found.adapter, found.own, 1000 * found.cache_a_token)
    ends = f"{found.break_even:,} tokens | {found.break_even_as_text / 1000:,.0f} thousand tokens |"
    return f"| {name} | {' | '.join(map(_sized, parts))} | {ends}"


def _sized(number: int) -> str:
    """Decimal units with three digits: what disks and model pages are measured in."""
    power = min(3, (len(str(number)) - 1) // 3)
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"

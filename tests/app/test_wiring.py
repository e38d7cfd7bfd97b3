"""What each event of the page shows, and where, as far as that can be read off without a browser."""

from __future__ import annotations

import gradio as gr
import pytest

from app.guards import SAME
from app.handlers import Handlers
from app.service import Service
from app.tab import Tab
from app.ui import build_page


@pytest.fixture
def blocks(service: Service) -> gr.Blocks:
    """The page, served to nobody."""
    return build_page(Handlers(service))


def shown_by(blocks: gr.Blocks, element: str) -> set[str | None]:
    """The elements that an event of this one shows something in at once."""
    events = [fn for fn in blocks.fns.values() if any(_named(blocks, target) == element for target, _ in fn.targets)]
    return {getattr(block, "elem_id", None) for fn in events for block in fn.outputs}


def _named(blocks: gr.Blocks, target: int | None) -> str | None:
    return getattr(blocks.blocks.get(target or -1), "elem_id", None)


@pytest.mark.parametrize("element", ["anew", "forget-here", "forget-turn", "forget-talk", "really", "disputes"])
def test_whatever_closes_a_conversation_takes_its_name_and_instructions_off_the_page(
    blocks: gr.Blocks, element: str
) -> None:
    assert {"title", "strength", "instructions", "temperature"} <= shown_by(blocks, element)


@pytest.mark.parametrize("element", ["name", "passphrase", "leave", "delete", "really", "conversations"])
def test_what_leaves_the_page_leaves_it_as_the_next_is_shown(blocks: gr.Blocks, element: str) -> None:
    """An event of its own may come too late, and take what was written since, or too early, and be filled again."""
    events = [fn for fn in blocks.fns.values() if any(_named(blocks, target) == element for target, _ in fn.targets)]
    asking = [fn for fn in events if fn.fn]
    assert len(asking) == 1
    shown = {getattr(block, "elem_id", None) for block in asking[0].outputs}
    assert {"chat", "box", "instructions", "title", "causes"} <= shown
    assert element == "conversations" or {"known", "changes", "disputes", "search"} <= shown


@pytest.mark.parametrize("name", ["enter", "forget_here", "forget_turn", "forget_conversation", "forget", "settle"])
def test_what_could_not_be_left_stays_on_the_page(blocks: gr.Blocks, name: str) -> None:
    leaving = [fn for fn in blocks.fns.values() if fn.name == name]
    assert leaving
    for fn in leaving:
        shown, _ = fn.fn(Tab(), 1, *[None] * (len(fn.inputs) - 2))
        *others, box, status = shown
        assert others == [SAME] * len(others) and len(shown) == len(fn.outputs)
        assert box["interactive"] and "alert" in status


@pytest.mark.parametrize("element", ["take-back", "correction"])
def test_whatever_stays_in_a_conversation_leaves_its_instructions(blocks: gr.Blocks, element: str) -> None:
    assert "instructions" not in shown_by(blocks, element)


def test_the_ledger_is_shown_to_whom_it_belongs_alone(blocks: gr.Blocks) -> None:
    shown = [fn for fn in blocks.fns.values() if "ledger" in {getattr(one, "elem_id", None) for one in fn.outputs}]
    assert len(shown) > 10
    for fn in shown:
        assert isinstance(fn.inputs[0], gr.State) and isinstance(fn.inputs[0].value, Tab), fn.name  # late ones drop


def test_what_goes_wrong_is_told_whichever_tab_is_open(blocks: gr.Blocks) -> None:
    [status] = [block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == "status"]
    around, outer = [], status.parent
    while outer is not None:
        around.append(outer)
        outer = outer.parent
    assert around and not any(isinstance(block, gr.Tab) for block in around)


@pytest.mark.parametrize("element", ["check", "export", "pin", "correction", "merge", "why"])
def test_what_takes_long_says_so_from_the_click_on(blocks: gr.Blocks, element: str) -> None:
    panel = "causes" if element == "why" else "receipt"
    said = [
        fn.js
        for fn in blocks.fns.values()
        if any(_named(blocks, target) == element for target, _ in fn.targets)
        and [getattr(block, "elem_id", None) for block in fn.outputs] == [panel]
    ]
    assert any('class=\\"note\\"' in str(js) for js in said)


def test_whatever_fills_the_list_of_conversations_reads_what_is_searched_for_or_clears_it(blocks: gr.Blocks) -> None:
    for fn in blocks.fns.values():
        if fn.name in {"send", "send_example", "retry", "take_back", "rename", "refresh", "start_anew"}:
            assert "search" in {getattr(one, "elem_id", None) for one in fn.inputs}, fn.name
    for element in ("forget-here", "forget-turn", "forget-talk", "really", "disputes", "back-then"):
        assert "search" in shown_by(blocks, element)

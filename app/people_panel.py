"""The tab of the admin: how much is kept of everybody, and deleting one. What stands where; no rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr

from app.handlers import Handlers
from app.wiring import QUIET, Actor, on, on_looking


class Deciding(Actor, Protocol):
    """The page around the tab."""

    user: gr.State


class PeoplePanel:
    """The components of the tab; made inside a `gr.Tab`."""

    def __init__(self) -> None:
        self.table = gr.Dataframe(
            headers=["name", "turns", "memory", "last turn", "opens with"],
            datatype="str",
            type="array",
            interactive=False,
            max_height=520,
            label="Everybody, and how much is kept of each; what anybody said is theirs alone",
            buttons=[],
            show_search="search",
            elem_id="people",
        )
        self.picked = gr.State(None)
        with gr.Group(visible=False, elem_id="person") as self.one:
            self.question = gr.HTML("")
            with gr.Row():
                self.keep = gr.Button("Keep", size="sm", elem_id="keep-person")
                self.delete = gr.Button("Yes, delete", variant="stop", size="sm", elem_id="delete-person")
        self.outcome = gr.HTML("", elem_id="outcome")

    @property
    def showing(self) -> list[Any]:
        """Outputs of everything that changes the tab."""
        return [self.table, self.picked, self.one, self.question, self.outcome]


def wire_people(
    page: Deciding, panel: PeoplePanel, tab: gr.Tab, handlers: Handlers, entered: Sequence[Callable[..., Any]]
) -> None:
    """Have the tab be there for whoever is admin once somebody has `entered`, and its events call their handlers."""
    for event in entered:
        on(event, handlers.show_people_tab, [page.user], [tab, *panel.showing])
    on_looking(page, tab.select, handlers.show_people, [page.user], panel.showing)
    on_looking(page, panel.table.select, handlers.pick_person, [page.user], panel.showing[1:])
    on_looking(page, panel.delete.click, handlers.delete_person, [page.user, panel.picked], panel.showing)
    panel.keep.click(lambda: gr.update(visible=False), None, panel.one, **QUIET)

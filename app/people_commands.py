"""`python launch.py people`, `guard`, `admin`, `delete`: what an operator sees of people, and does about them.

In a terminal. Sizes and times, and nothing of what anybody said. None of them waits for the model.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app import wording
from app.bootstrap import running_service
from app.memory_commands import AsJson, opened, print_json
from app.options import Name, given
from app.settings import load_settings


def people(context: typer.Context, as_json: AsJson = False) -> None:
    """Everybody, and how much is kept of each."""
    with running_service(load_settings(**given(context))) as (service, _):
        found = service.list_people()
    if as_json:
        return print_json([asdict(one) for one in found])
    for one in found:
        kept = f"{wording.counted(one.turns, 'turn'):>12}  {wording.sized(one.memory_bytes):>10}"
        admin = "  (admin)" if one.user.is_admin else ""
        print(f"{kept}  {wording.moment(one.last_turn_at) or 'never':16}  {one.opens_with:10}  {one.user.name}{admin}")


def guard(
    context: typer.Context,
    user: Name,
    passphrase: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Give a name a passphrase, in place of any other, that the page will ask for."""
    with running_service(load_settings(**given(context))) as (service, _):
        service.accounts.guard(service.ensure_user(user).id, passphrase)
    print(f"{user} is guarded now.")


def admin(
    context: typer.Context,
    user: Name,
    undo: Annotated[bool, typer.Option("--undo", help="No longer.")] = False,
) -> None:
    """Have a name see on the page how much is kept of everybody, and delete people there."""
    with opened(context, user) as (service, owner):
        service.set_admin(owner.id, not undo)
    print(f"{user} is admin no longer." if undo else f"{user} is admin now.")


def delete(
    context: typer.Context,
    user: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Delete a name with all that is kept under it: turns, memory, receipts, keys and sessions."""
    with opened(context, user) as (service, owner):
        if not yes:
            typer.confirm(f"Delete {owner.name} and all that is kept under that name, for good?", abort=True)
        service.delete_account(owner.id)
    print(f"Nothing is kept of {user} any more.")

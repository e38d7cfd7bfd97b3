"""`python launch.py key ...`: the keys with which programs speak for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from app import wording
from app.bootstrap import running_service
from app.memory_commands import opened
from app.options import Name, given
from app.settings import load_settings

key = typer.Typer(help="Make, list and revoke the keys with which programs speak for a person.", no_args_is_help=True)


@key.command()
def add(
    context: typer.Context,
    user: Name,
    label: Annotated[str, typer.Option(help="What you call it.")] = "key",
) -> None:
    """Make a key and print it, once: only its digest is kept."""
    with running_service(load_settings(**given(context))) as (service, _):
        print(service.accounts.issue_key(service.ensure_user(user).id, label))


@key.command("list")
def list_keys(context: typer.Context, user: Name) -> None:
    """The keys of a person, oldest first."""
    with opened(context, user) as (service, owner):
        for one in service.accounts.list_keys(owner.id):
            print(f"{one.id:>6}  {wording.moment(one.created_at)}  {one.label}")


@key.command()
def revoke(
    context: typer.Context,
    user: Name,
    number: Annotated[int, typer.Argument(help="Number of the key, as `key list` gives it.")],
) -> None:
    """Have a key open nothing from now on."""
    with opened(context, user) as (service, owner):
        service.accounts.revoke_key(owner.id, number)
    print(f"Key {number} opens nothing any more.")

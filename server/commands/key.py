"""``caclabel key``: API keys, for scripts and for viewers that are given an address only."""

import argparse
import time
from pathlib import Path
from typing import Final

from app.access import keys
from app.access.roles import Role
from app.access.rows import KeyRow
from app.access.users import user_name
from app.exchange.data_folder import DataFolder, open_data_folder
from server.command_settings import settings_of
from server.commands.user import acting_person, when

DESCRIPTION: Final = "add, list and revoke the API keys of users"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done with keys."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    adding = actions.add_parser("add", help="make a key for a user and show it once")
    adding.add_argument("user", help="user name")
    adding.add_argument("--label", default="", help="where it is used, for people")
    adding.add_argument(
        "--role", choices=[str(role) for role in Role], help="at most this role (default: all)"
    )
    adding.add_argument("--days", type=float, help="days it is valid (default: until revoked)")
    listing = actions.add_parser("list", help="list the keys, without the keys themselves")
    revoking = actions.add_parser("revoke", help="make a key worthless at once")
    revoking.add_argument("id", help="id of the key, as the list shows it")
    for action in (adding, listing, revoking):
        action.add_argument("--data", type=Path, help="data folder of the server")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    with open_data_folder(settings_of(arguments)) as data:
        if arguments.action == "add":
            _add(data, arguments)
        elif arguments.action == "revoke":
            _revoke(data, arguments)
        else:
            _list(data)
    return 0


def _add(data: DataFolder, arguments: argparse.Namespace) -> None:
    with data.database.writing() as session:
        row, key = keys.add_key(
            session,
            user_name(arguments.user),
            label=arguments.label,
            role=Role(arguments.role) if arguments.role else None,
            days=arguments.days,
            actor=acting_person(),
            now=data.now(),
        )
    print(f"key {row.id} of {row.user_name}, shown this once: {key}")
    print(f"address for programs that cannot log in: http(s)://SERVER/k/{key}/")


def _revoke(data: DataFolder, arguments: argparse.Namespace) -> None:
    with data.database.writing() as session:
        row = keys.revoke_key(session, arguments.id, actor=acting_person(), now=data.now())
    print(f"revoked key {row.id} of {row.user_name}")


def _list(data: DataFolder) -> None:
    with data.database.reading() as session:
        rows = keys.list_keys(session)
    print(f"{'id':12}  {'user':24}  {'role':9}  {'state':26}  label")
    for row in rows:
        print(f"{row.id:12}  {row.user_name:24}  {row.role:9}  {_state(row):26}  {row.label}")


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {when(row.revoked_at)}"
    if row.expires_at is None:
        return "valid until revoked"
    word = "valid until" if row.expires_at > time.time() else "ended"
    return f"{word} {when(row.expires_at)}"

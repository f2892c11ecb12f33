"""``caclabel user``: who may log in, and what they may do."""

import argparse
import getpass
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from app.access import users
from app.access.passwords import Argon2
from app.access.roles import Role
from app.access.rows import UserRow
from app.errors import InvalidInputError
from app.exchange.data_folder import DataFolder, open_data_folder
from server.command_settings import settings_of

DESCRIPTION: Final = "add, list, change and disable the users who may log in"

_GENERATED_BYTES: Final = 15
"""Makes a password of 20 characters."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done with users."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    roles = [str(role) for role in Role]
    adding = _action(actions, "add", "add a user; asks for the password")
    adding.add_argument("--role", choices=roles, default=str(Role.ANNOTATOR))
    _add_password_arguments(adding, may_lack=True)
    _add_data_argument(actions.add_parser("list", help="list the users"))
    _action(actions, "disable", "lock a user out at once, keys and logins included")
    _action(actions, "enable", "let a disabled user in again")
    _action(actions, "logout", "end the logins of somebody; the next one brings new roles")
    _add_password_arguments(_action(actions, "password", "set a new password"), may_lack=False)
    _action(actions, "role", "change what a user may do").add_argument("role", choices=roles)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    settings = settings_of(arguments)
    with open_data_folder(settings, make=arguments.action == "add") as data:
        _ACTIONS[arguments.action](data, arguments)
    return 0


def acting_person() -> str:
    """Return who sits at the command line, for the trail of changes."""
    return f"{getpass.getuser()} (command line)"


def when(seconds: float | None) -> str:
    """Return a time for people, a hyphen where there is none."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, description: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=description, description=description)
    parser.add_argument("name", help="user name")
    _add_data_argument(parser)
    return parser


def _add_data_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="data folder of the server")


def _add_password_arguments(parser: argparse.ArgumentParser, *, may_lack: bool) -> None:
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--generate", action="store_true", help="draw a password and show it once")
    ways.add_argument("--stdin", action="store_true", help="read it from standard input")
    if may_lack:
        ways.add_argument(
            "--no-password", action="store_true", help="for API keys, or the identity provider"
        )


def _add(data: DataFolder, arguments: argparse.Namespace) -> None:
    name = users.user_name(arguments.name)
    # Before a password is typed, or drawn and shown.
    with data.database.reading() as session:
        users.check_free(session, name)
    password_hash = "" if arguments.no_password else _new_password_hash(arguments)
    with data.database.writing() as session:
        is_first = not users.has_users(session)
        users.add_user(
            session,
            name,
            Role(arguments.role),
            password_hash=password_hash,
            actor=acting_person(),
            now=data.now(),
        )
    print(f"added {arguments.role} {name}")
    if is_first:
        print("everybody has to log in from the next start of the server on")


def _list(data: DataFolder, arguments: argparse.Namespace) -> None:
    del arguments
    with data.database.reading() as session:
        rows = users.list_users(session)
    print(f"{'name':24}  {'role':9}  {'password':8}  {'added':16}  disabled")
    for row in rows:
        print(_line(row))


def _line(row: UserRow) -> str:
    has_password = "yes" if row.password_hash else "no"
    added, disabled = when(row.created_at), when(row.disabled_at)
    return f"{row.name:24}  {row.role:9}  {has_password:8}  {added:16}  {disabled}"


def _disable(data: DataFolder, arguments: argparse.Namespace) -> None:
    name, actor, now = users.user_name(arguments.name), acting_person(), data.now()
    with data.database.writing() as session:
        # People of the identity provider have no row before they are locked out here.
        if data.settings.oidc_issuer and not users.is_user(session, name):
            users.add_user(session, name, Role.USER, password_hash="", actor=actor, now=now)
        users.disable_user(session, name, actor=actor, now=now)
    print(f"disabled {name}")


def _enable(data: DataFolder, arguments: argparse.Namespace) -> None:
    name = users.user_name(arguments.name)
    with data.database.writing() as session:
        users.enable_user(session, name, actor=acting_person(), now=data.now())
    print(f"enabled {name}")


def _log_out(data: DataFolder, arguments: argparse.Namespace) -> None:
    name = users.user_name(arguments.name)
    with data.database.writing() as session:
        count = users.end_logins(session, name, actor=acting_person(), now=data.now())
    print(f"ended {count} login{'' if count == 1 else 's'} of {name}")


def _set_password(data: DataFolder, arguments: argparse.Namespace) -> None:
    name = users.user_name(arguments.name)
    with data.database.reading() as session:
        users.get_user(session, name)
    kept = _new_password_hash(arguments)
    with data.database.writing() as session:
        users.set_password(session, name, password_hash=kept, actor=acting_person(), now=data.now())
    print(f"set the password of {name}; whoever was logged in under this name no longer is")


def _set_role(data: DataFolder, arguments: argparse.Namespace) -> None:
    name = users.user_name(arguments.name)
    with data.database.writing() as session:
        users.set_role(session, name, Role(arguments.role), actor=acting_person(), now=data.now())
    print(f"{name} is {arguments.role} now")


def _new_password_hash(arguments: argparse.Namespace) -> str:
    """Read, ask for or draw a password; returns what is kept of it.

    Raises:
        InvalidInputError: If it is too short, or not typed the same way twice.
    """
    if arguments.generate:
        password = secrets.token_urlsafe(_GENERATED_BYTES)
        print(f"password, shown this once: {password}")
    elif arguments.stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("password: ")
        if getpass.getpass("again: ") != password:
            raise InvalidInputError("the two passwords differ")
    return users.hash_password(Argon2(), password)


_ACTIONS: Final[Mapping[str, Callable[[DataFolder, argparse.Namespace], None]]] = {
    "add": _add,
    "list": _list,
    "disable": _disable,
    "enable": _enable,
    "logout": _log_out,
    "password": _set_password,
    "role": _set_role,
}

"""`python -m app rules`: list, set and delete rules, as the API does."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from app.clock import isoformat
from app.commands.terminal import option_name, options_named, print_table, tell, transaction
from app.config import Config
from app.domain.rules import CONDITIONS, Rule
from app.errors import ConfigError
from app.schemas.decode import load
from app.schemas.rules import (
    MatchSchema,
    RuleBodySchema,
    SettingsSchema,
    describe_match,
    show_rule,
    show_settings,
)
from app.store import rules as store

_BODY = RuleBodySchema()
_METAVARS = {"schedule": "CRON", "timezone": "ZONE", "mute_until": "TIME"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="rules_command")
    listing = commands.add_parser("list", help="list the rules, the most specific first")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")

    setting = commands.add_parser(
        "set", help="create a rule, or replace all settings of the one with the same conditions"
    )
    add_conditions(setting)
    group = setting.add_argument_group("settings, at least one")
    for name, field in SettingsSchema().fields.items():
        group.add_argument(
            option_name(name),
            dest=name,
            metavar=_METAVARS.get(name, "N"),
            help=_help(field),
        )

    delete = commands.add_parser("delete", help="delete rules")
    delete.add_argument("ids", nargs="+", type=int, metavar="ID", help="the ID that `list` shows")


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Options for what a rule or a window matches."""
    group = parser.add_argument_group("conditions, which must all hold (default: everything)")
    for name, field in MatchSchema().fields.items():
        group.add_argument(option_name(name), dest=name, metavar="NAME", help=_help(field))


def read_conditions(args: argparse.Namespace) -> dict[str, str]:
    """The conditions that were given."""
    given = {name: getattr(args, name) for name in CONDITIONS}
    return {name: value for name, value in given.items() if value is not None}


def run(config: Config, args: argparse.Namespace) -> int:
    """Run a subcommand; return its exit status. Raises ConfigError and DatabaseUnavailable."""
    command = {"list": _list, "set": _set, "delete": _delete}
    return command[args.rules_command](config, args)


def _list(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        rules = store.read_rules(conn).rules
    if args.json:
        for rule in rules:
            print(json.dumps(show_rule(rule), default=_text))
        return 0
    print_table([("ID", "MATCH", "SETTINGS"), *map(_cells, rules)])
    return 0


def _set(config: Config, args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in SettingsSchema().fields}
    settings = {name: _value(text) for name, text in given.items() if text is not None}
    if not settings:
        raise ConfigError("Give at least one setting, such as --stall-after-seconds 120.")
    body = {"match": read_conditions(args), "settings": settings}
    with options_named(), transaction(config) as conn:
        loaded = load(_BODY, body)
        rule, is_new = store.put_rule(conn, loaded["match"], loaded["settings"])
    print(f"{'created' if is_new else 'replaced'} {_describe(rule)}")
    return 0


def _delete(config: Config, args: argparse.Namespace) -> int:
    with transaction(config) as conn:
        deleted = {rule_id: store.delete_rule(conn, rule_id) for rule_id in args.ids}
    for rule_id, rule in deleted.items():
        if rule is None:
            tell(f"hub: There is no rule {rule_id}: `python -m app rules list` lists them.")
        else:
            print(f"deleted {_describe(rule)}")
    return 0 if all(deleted.values()) else 1


def _describe(rule: Rule) -> str:
    return f"rule {rule.id} ({describe_match(rule.match)}): {_settings(rule)}"


def _cells(rule: Rule) -> tuple[str, ...]:
    return str(rule.id), describe_match(rule.match), _settings(rule)


def _settings(rule: Rule) -> str:
    shown = show_settings(rule.settings).items()
    return ", ".join(f"{name} = {_text(value)}" for name, value in shown)


def _text(value: Any) -> str:
    return isoformat(value) if isinstance(value, datetime) else str(value)


def _value(text: str) -> Any:
    """An option's number, or its text for the schema to judge."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _help(field: Any) -> str:
    return str(field.metadata["description"]).replace("`", "").replace("%", "%%")

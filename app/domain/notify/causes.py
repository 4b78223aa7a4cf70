"""What many items at once have in common: a repository that is away is one cause, not 200."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.notify.items import Item

MANY = 3  # items of one kind that are told as a group


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one kind. `cause`: what they have in common, such as `repository nas1`."""

    kind: str
    items: Sequence[Item]
    cause: str | None = None

    @property
    def rank(self) -> int:
        """Of the worst item."""
        return min(item.rank for item in self.items)


def group(items: Iterable[Item]) -> list[Group]:
    """The items by kind and common cause, the worst and largest groups first.

    The repository comes before the type of the jobs. Items that fewer than MANY others are like
    are groups of their own.
    """
    by_kind: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    groups: list[Group] = []
    for kind, rest in by_kind.items():
        for field, word in (("repository_id", "repository"), ("job_type", "type"), ("", "")):
            found, rest = _split(kind, rest, field, word)
            groups += found
        groups += [Group(kind, [item]) for item in rest]
    return sorted(groups, key=lambda each: (each.rank, -len(each.items)))


def _split(
    kind: str, items: Sequence[Item], field: str, word: str
) -> tuple[list[Group], list[Item]]:
    """The groups by a field (without one: all together), and the items that belong to none."""
    by_value: dict[str | None, list[Item]] = defaultdict(list)
    for item in items:
        by_value[getattr(item, field) if field else ""].append(item)
    groups, rest = [], []
    for value, alike in by_value.items():
        if value is None or len(alike) < MANY:
            rest += alike
        else:
            groups.append(Group(kind, alike, f"{word} {value}" if field else None))
    return groups, rest

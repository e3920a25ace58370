"""Which versions of a model should be loaded: `--version-policy`."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bundle.versions import age

EXAMPLE = "latest:2, all, NAME=1,3 or NAME=latest:2"
LATEST, ALL = "latest:", "all"


class Rule(NamedTuple):
    """What is asked for of one name.

    Attributes:
        newest: how many of the newest that can be loaded; None for no limit.
        named: these versions, and no others; empty for any.
    """

    newest: int | None = None
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as on the command line."""
        return ",".join(self.named) or (ALL if self.newest is None else f"{LATEST}{self.newest}")

    def candidates(self, versions: Iterable[str]) -> list[str]:
        """Return those of the versions that it may ask for, newest first."""
        found = [version for version in versions if not self.named or version in self.named]
        return sorted(found, key=age, reverse=True)

    def is_met(self, loaded: int) -> bool:
        """Whether so many versions are enough."""
        return self.newest is not None and loaded >= self.newest


class Policy(NamedTuple):
    """The rule of every name, and those of single names."""

    usual: Rule
    by_name: dict[str, Rule]

    def rule(self, name: str) -> Rule:
        """Return the rule of a name."""
        return self.by_name.get(name, self.usual)


def parse_policy(words: Sequence[str]) -> Policy:
    """Return what `--version-policy` says, of which these are the parts between the commas.

    `NAME=1`, `3` are versions of one name, because what follows a version is another one unless it
    says otherwise.

    Raises:
        ValueError: it says nothing that can be done.
    """
    usual: list[Rule] = []
    by_name: dict[str, Rule] = {}
    name = ""
    for word in words:
        before, equals, text = word.strip().rpartition("=")
        if equals and not before:
            raise ValueError(f"{word!r} has no name before =; give {EXAMPLE}")
        if equals and before in by_name:
            raise ValueError(f"{before!r} stands there twice")
        if equals:
            name, by_name[before] = before, _rule(text)
        elif name and not text.startswith(LATEST) and text != ALL and by_name[name].named:
            by_name[name] = Rule(named=(*by_name[name].named, *_rule(text).named))
        else:
            name = ""
            usual.append(_rule(text))
    if len(usual) > 1:
        raise ValueError(f"{usual[0]} and {usual[1]} are both meant for every name; give one")
    if usual and usual[0].named:
        raise ValueError(f"{usual[0]} is a version without a name; give {EXAMPLE}")
    return Policy(usual[0] if usual else Rule(1), by_name)


def _rule(text: str) -> Rule:
    if text == ALL:
        return Rule()
    if not text.startswith(LATEST):
        if not text:
            raise ValueError(f"a part of it is empty; give {EXAMPLE}")
        return Rule(named=(text,))
    count = text.removeprefix(LATEST)
    if not count.isdecimal() or int(count) < 1:
        raise ValueError(f"{text!r}: after {LATEST} stands how many, at least 1")
    return Rule(newest=int(count))

"""Loader of classifiers, from a mapping as JSON or TOML give it.

Rule: what means nothing is refused with its path, since a rule that silently is none lets an error pass as success.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from sagalog_command.conditions import READERS
from sagalog_command.conversion import Converter, Named
from sagalog_command.rules import Classifier
from sagalog_command.wordings import FamilyPatterns, Patterns, builtin_families, read_family_patterns


class _OwnFamilies(Struct):
    """The families of a classifier, which are read before the conditions that pick them by name."""

    wordings: Named[str, Patterns] = Named()


def load_classifier(given: Mapping[str, Any], path: str = "classifier") -> Classifier:
    """Make a classifier of a mapping, as JSON or TOML give it.

    Args:
        given: `name`, `rules` (a list), and maybe `errors`, `final`, `wordings`, `streams`, `fields`, `statuses`,
            `quarantines`, `reset_ms_max`; `docs/how-to/run-command-lines.md` describes each.
        path: what errors call the mapping.

    Raises:
        InvalidValue: the mapping is no classifier; the field `path` names what is wrong, as in
            `classifier.rules[2].text.stream`.
    """
    own = Converter(READERS).read(given, _OwnFamilies, path).wordings
    pick = partial(read_family_patterns, families={**builtin_families(), **own})
    return Converter({**READERS, FamilyPatterns: pick}).read(given, Classifier, path)

"""The pinned versions: one for everything that is installed, none of them an address.

Rule: `constraints.txt` names versions and nothing else, so that it serves whichever index a machine uses.
"""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def pins() -> dict[str, str]:
    """Give the pinned version of each package, by its normalised name."""
    pinned: dict[str, str] = {}
    for line in LINES:
        requirement = Requirement(line)
        [clause] = requirement.specifier
        assert clause.operator == "==", line
        pinned[canonicalize_name(requirement.name)] = clause.version
    return pinned


def asked_for() -> list[Requirement]:
    """Give what the project asks for: to run, to build, and for each extra."""
    project = PROJECT["project"]
    extras = project.get("optional-dependencies", {}).values()
    groups = [project["dependencies"], PROJECT["build-system"]["requires"], *extras]
    return [Requirement(line) for group in groups for line in group]


def test_constraints_are_versions_and_never_addresses() -> None:
    assert pins()
    assert [line for line in LINES if "://" in line or "@" in line or line.lstrip().startswith("-")] == []


def test_everything_that_is_asked_for_is_pinned_within_its_bounds() -> None:
    pinned = pins()

    for requirement in asked_for():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} against {version}"


def test_every_dependency_has_a_lower_bound_and_no_upper_one() -> None:
    # An upper bound in a library makes it impossible to install beside another; the pins serve our own runs.
    for requirement in asked_for():
        assert [clause.operator for clause in requirement.specifier] == [">="], str(requirement)

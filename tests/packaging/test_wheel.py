"""What a user gets: only our names, with types, migrations and entry points, and eight dependencies.

Rule: the wheel is looked at, never the tree, which may hold what is not shipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from tests.packaging.shipped import Shipped
from tests.packaging.tree import ROOT, kept_files

DEFAULT_DEPENDENCIES = {"apsw", "click", "cronsim", "msgspec", "python-ulid", "rich", "transitions", "tzdata"}


def source_packages() -> set[Path]:
    """Give every package that lies in a source root, as a path relative to the root of the tree."""
    return {
        found.parent.relative_to(ROOT)
        for source_root in ("engine", "adapters")
        for found in (ROOT / source_root).glob("*/__init__.py")
    }


def run_isolated(shipped: Shipped, program: str) -> object:
    """Run `program` with the wheel first on the path and the root not on it; give the JSON it prints."""
    prepared = f"import sys; sys.path.insert(0, {str(shipped.installed)!r})\n{program}"
    done = subprocess.run([sys.executable, "-I", "-c", prepared], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_wheel_claims_no_name_but_ours(shipped: Shipped) -> None:
    tops = {name.split("/")[0] for name in shipped.wheel_names}

    packages = {top for top in tops if not top.endswith(".dist-info")}

    assert packages == {path.name for path in source_packages()}
    assert all(package == "sagalog" or package.startswith("sagalog_") for package in packages)


def test_every_package_of_the_tree_is_shipped_and_watched() -> None:
    # A new adapter that one of the two lists lacks would not be installed, or its imports would go unchecked.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    shipped_paths = settings["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert {str(path) for path in source_packages()} == set(shipped_paths)
    assert {path.name for path in source_packages()} == set(settings["importlinter"]["root_packages"])


def test_every_file_of_a_package_is_in_the_wheel(shipped: Shipped) -> None:
    # Data files too: a migration that stays behind is missed only when a user opens an old store.
    written = {
        str(path.relative_to(ROOT / package.parent))
        for path in kept_files(ROOT)
        for package in source_packages()
        if path.is_relative_to(ROOT / package)
    }

    assert written <= shipped.wheel_names, sorted(written - shipped.wheel_names)


def test_the_migrations_of_sqlite_are_in_the_wheel(shipped: Shipped) -> None:
    assert any(Path(name).match("sagalog_sqlite/migrations/*.sql") for name in shipped.wheel_names)


def test_every_package_says_that_it_is_typed(shipped: Shipped) -> None:
    assert {f"{path.name}/py.typed" for path in source_packages()} <= shipped.wheel_names


def test_the_default_install_needs_exactly_eight_packages(shipped: Shipped) -> None:
    requirements = [Requirement(line) for line in shipped.metadata().get_all("Requires-Dist", [])]

    assert {each.name for each in requirements if "extra" not in str(each.marker)} == DEFAULT_DEPENDENCIES


def test_the_wheel_says_licence_python_and_readme(shipped: Shipped) -> None:
    metadata = shipped.metadata()

    assert metadata["Name"] == "sagalog"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped.wheel_names)


def test_the_command_the_stores_and_the_fixtures_are_entry_points(shipped: Shipped) -> None:
    assert shipped.entry_points() == {
        "pytest11": {"sagalog_pytest": "sagalog_pytest"},
        "console_scripts": {"sagalog": "sagalog_cli.__main__:run"},
        "sagalog.stores": {"memory": "sagalog.store.memory:open_store", "sqlite": "sagalog_sqlite:open_store"},
    }


def test_every_entry_point_leads_to_something_that_can_be_called(shipped: Shipped) -> None:
    groups = shipped.entry_points()
    assert groups.pop("pytest11") == {"sagalog_pytest": "sagalog_pytest"}  # a module, which has its own tests
    targets = [target for group in groups.values() for target in group.values()]

    callables = run_isolated(
        shipped,
        "import importlib, json\n"
        f"pairs = [target.split(':') for target in {targets!r}]\n"
        "print(json.dumps([callable(getattr(importlib.import_module(m), name, None)) for m, name in pairs]))",
    )

    assert callables == [True] * len(targets)


def test_what_is_installed_is_imported_and_generic_names_are_not(shipped: Shipped) -> None:
    names = [
        "sagalog",
        "sagalog_sqlite",
        "sagalog_queue",
        "sagalog_command",
        "sagalog_http",
        "sagalog_ollama",
        "sagalog_pytest",
        "sagalog_cli",
        "engine",
        "adapters",
        "tests",
    ]

    found = run_isolated(
        shipped,
        "import importlib.util, json\n"
        f"specs = {{name: importlib.util.find_spec(name) for name in {names!r}}}\n"
        "print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))",
    )

    assert found == {
        "sagalog": str(shipped.installed / "sagalog" / "__init__.py"),
        "sagalog_sqlite": str(shipped.installed / "sagalog_sqlite" / "__init__.py"),
        "sagalog_queue": str(shipped.installed / "sagalog_queue" / "__init__.py"),
        "sagalog_command": str(shipped.installed / "sagalog_command" / "__init__.py"),
        "sagalog_http": str(shipped.installed / "sagalog_http" / "__init__.py"),
        "sagalog_ollama": str(shipped.installed / "sagalog_ollama" / "__init__.py"),
        "sagalog_pytest": str(shipped.installed / "sagalog_pytest" / "__init__.py"),
        "sagalog_cli": str(shipped.installed / "sagalog_cli" / "__init__.py"),
        "engine": None,
        "adapters": None,
        "tests": None,
    }


def test_the_sdist_holds_the_house_and_nothing_that_merely_lies_in_it(shipped: Shipped) -> None:
    tops = {name.split("/")[0] for name in shipped.sdist_names}
    house = {
        *("engine", "adapters", "tests", "bench", "specs", "docs", ".ci", "dev", "pyproject.toml", "constraints.txt"),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    }

    # .gitignore and PKG-INFO are added by the builder.
    assert tops - {".gitignore", "PKG-INFO"} <= house, sorted(tops - house)
    assert {"engine", "adapters", "tests", "dev", "constraints.txt", "README.md", "LICENSE"} <= tops

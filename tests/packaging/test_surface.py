"""The public surface: what README's table names is there, with the default install or with the extra it names.

Rule: every statement is the table's own, and is tried out where nothing but the default install can be imported.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging import surface
from tests.packaging.default_install import closure, failures_of, run
from tests.packaging.shipped import Shipped
from tests.packaging.test_constraints import PROJECT
from tests.packaging.tree import ROOT

ROWS = surface.read((ROOT / "README.md").read_text(encoding="utf-8"))
EXTRA_OF = {module: row.extra for row in ROWS for module in row.modules}
STABLE = [module for row in ROWS if row.is_stable for module in row.modules]
WITHOUT = [module for module, extra in EXTRA_OF.items() if extra is None]
WITH = [(module, extra) for module, extra in EXTRA_OF.items() if extra is not None]


@pytest.fixture(scope="module")
def failures(default: Path) -> dict[str, tuple[str, str] | None]:
    """How the import of each module of the table fails with the default install; None: it does not."""
    return failures_of(default, EXTRA_OF)


def test_nothing_but_the_default_install_can_be_imported(default: Path) -> None:
    names = ["sagalog", "msgspec", "apsw", "six", "hypothesis", "pytest", "packaging", "huey", "litequeue", "tests"]
    found = run(
        default,
        "import importlib.util, json, sys\n"
        f"found = [name for name in {names!r} if importlib.util.find_spec(name)]\n"
        "print(json.dumps({'found': found, 'path': sys.path}))",
    )

    # A module in C, one in Python alone and one that only another package asks for are there.
    assert found["found"] == ["sagalog", "msgspec", "apsw", "six"]
    *standard, last = found["path"]
    assert last == str(default)
    assert [folder for folder in standard if Path(folder).name in ("site-packages", "dist-packages")] == []
    assert failures_of(default, ["msgspec", "hypothesis"]) == {
        "msgspec": None,
        "hypothesis": ("ModuleNotFoundError", "No module named 'hypothesis'"),
    }


def test_what_is_tried_out_is_the_wheel_and_not_the_tree(default: Path, shipped: Shipped) -> None:
    origin = run(default, "import json, sagalog; print(json.dumps(sagalog.__file__))")

    assert Path(origin).resolve() == shipped.installed / "sagalog" / "__init__.py"


@pytest.mark.parametrize("module", WITHOUT)
def test_a_module_that_names_no_extra_imports_with_the_default_install(
    module: str, failures: dict[str, tuple[str, str] | None]
) -> None:
    assert failures[module] is None


@pytest.mark.parametrize("module", STABLE)
def test_what_is_stable_needs_no_extra(module: str) -> None:
    assert module in WITHOUT


@pytest.mark.parametrize(("module", "extra"), WITH)
def test_a_module_that_needs_an_extra_says_which(
    module: str, extra: str, failures: dict[str, tuple[str, str] | None]
) -> None:
    failure = failures[module]

    assert failure is not None, f"{module} imports without the extra {extra}"
    kind, text = failure
    assert kind == "ImportError"
    assert f"sagalog[{extra}]" in text


def test_every_extra_that_the_table_names_is_one() -> None:
    assert {extra for _, extra in WITH} <= set(PROJECT["project"]["optional-dependencies"])


def test_every_module_that_the_table_names_is_in_the_wheel(shipped: Shipped) -> None:
    missing = [
        module
        for module in EXTRA_OF
        if not {f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"} & shipped.wheel_names
    ]

    assert missing == []


def test_every_package_of_the_tree_has_a_row() -> None:
    packages = {found.parent.name for found in ROOT.glob("adapters/*/__init__.py")} | {"sagalog"}

    assert packages <= set(EXTRA_OF)


def test_a_row_that_names_a_module_that_does_not_exist_is_found_out(default: Path) -> None:
    table = "\n## Stability\n\n| part | what it is | stability | extra |\n|---|---|---|---|\n{}\n\n## Next\n"
    [stable] = surface.read(table.format("| `sagalog_nowhere` and `sagalog.nothing` | no | stable | — |"))
    [extra] = surface.read(table.format("| `sagalog.testing.nothing`, `specs/` | no | experimental | `dev` |"))

    assert stable == surface.Row(("sagalog_nowhere", "sagalog.nothing"), is_stable=True, extra=None)
    assert extra == surface.Row(("sagalog.testing.nothing",), is_stable=False, extra="dev")
    for failure in failures_of(default, (*stable.modules, *extra.modules)).values():
        assert failure is not None
        assert failure[0] == "ModuleNotFoundError"
        assert "sagalog[" not in failure[1]


@pytest.mark.parametrize(
    "table",
    [
        "| part | what it is | stability |\n|---|---|---|\n| `sagalog` | it | stable |",
        "| part | what it is | stability | extra |\n|---|---|---|---|\n| `sagalog` | it | stable | |",
        "| part | what it is | stability | extra |\n|---|---|---|---|\n| `sagalog` | it | stable | dev |",
    ],
)
def test_a_table_of_another_form_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match=r"^the (table of stability has|row of `sagalog` names) the "):
        surface.read(f"\n## Stability\n\n{table}\n")


def test_what_the_default_install_needs_is_followed_to_the_end() -> None:
    # rich needs markdown-it-py, and that needs mdurl; what only an extra of theirs needs is not followed.
    assert {"markdown-it-py", "mdurl", "pygments"} < set(closure(["rich"]))
    assert set(closure(["hypothesis; extra == 'dev'"])) == set()
    assert "hypothesis" not in closure(PROJECT["project"]["dependencies"])

"""The rules in `specs/`, the code that keeps them and the tests that hold it to them speak of the same numbers.

Rule: strict in every direction. What is missing is listed: a number with the place that cites it, or a rule that no
place cites.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sagalog.kernel import bounds

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"\[([A-Z]+-[0-9]+)\]")
DEFINED = re.compile(r"^- \*\*\[([A-Z]+-[0-9]+)\]\*\*", re.MULTILINE)
BOUND = re.compile(r"^\| `(\w+)` \| (-?[\d,]+) \|", re.MULTILINE)


# The contract suite lies in the engine, so that every store can run it, and is a test all the same.
CONTRACT = ROOT / "engine" / "sagalog" / "testing" / "contract"
CODE = ("engine", "adapters")
TESTS = ("tests", "engine/sagalog/testing/contract")


def texts(*folders: str) -> Iterable[tuple[Path, str]]:
    """The sources in these folders; what a store says in SQL is code too."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".sql"} and path != Path(__file__):
                yield path, path.read_text(encoding="utf-8")


def cited_in(*folders: str) -> dict[str, Path]:
    """The rules cited below these folders, each with the first file that does."""
    cited: dict[str, Path] = {}
    for path, text in texts(*folders):
        if folders == CODE and CONTRACT in path.parents:
            continue
        for number in CITED.findall(text):
            cited.setdefault(number, path.relative_to(ROOT))
    return cited


def specs() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "specs").rglob("*.md")))


def in_order(numbers: Iterable[str]) -> list[str]:
    return sorted(numbers, key=lambda number: (number.split("-")[0], int(number.split("-")[1])))


RULES = DEFINED.findall(specs())


def test_every_rule_has_its_own_number_and_areas_count_without_gaps() -> None:
    assert [number for number, count in Counter(RULES).items() if count > 1] == []
    areas = Counter(number.split("-")[0] for number in RULES)
    assert in_order(RULES) == in_order(f"{area}-{n}" for area, count in areas.items() for n in range(1, count + 1))


def test_every_rule_is_kept_by_code_that_cites_it() -> None:
    missing = in_order(set(RULES) - set(cited_in(*CODE)))
    assert missing == [], f"no code in engine/ or adapters/ cites {', '.join(missing)}"


def test_every_rule_is_held_up_by_a_test_that_cites_it() -> None:
    missing = in_order(set(RULES) - set(cited_in(*TESTS)))
    assert missing == [], f"no test cites {', '.join(missing)}"


def test_nothing_cites_a_rule_that_there_is_not() -> None:
    cited = cited_in("engine", "adapters", "tests")
    unknown = [f"{number} in {cited[number]}" for number in in_order(set(cited) - set(RULES))]
    assert unknown == [], f"specs/ has no {', '.join(unknown)}"


def test_rules_that_name_other_rules_name_those_that_there_are() -> None:
    unknown = in_order(set(CITED.findall(specs())) - set(RULES))
    assert unknown == [], f"specs/ names {', '.join(unknown)} and has none of them"


def test_the_table_of_bounds_says_what_the_code_says() -> None:
    """[BOUND-1]"""
    code = {name: value for name, value in vars(bounds).items() if name.isupper() and isinstance(value, int)}
    table = {name: int(value.replace(",", "")) for name, value in BOUND.findall(specs())}
    assert table == code

"""Settings: what an operator gives, in a file or in the environment, and what is said where it does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from sagalog import InvalidValue
from sagalog_ollama import PREFIX, QUEUE_PATHS, Settings, read_settings

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "ollama" / ".env.example"


def variables(text: str) -> dict[str, str]:
    """The variables of a file, also those that are commented out."""
    return dict(re.findall(rf"^#?({PREFIX}[A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_nothing_given_is_a_gateway_on_loopback() -> None:
    settings = read_settings({"PATH": "/bin"})

    assert ("127.0.0.1:11435", "http://127.0.0.1:11434") == (settings.bind, settings.target)
    assert QUEUE_PATHS == settings.queue_paths


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ollama.toml"
    file.write_text('ttl = "1h"\nattempts = 5\nretry_statuses = [503]\n')

    settings = read_settings({f"{PREFIX}TTL": "2h"}, file)

    assert (7_200_000, 5, (503,)) == (settings.ttl_ms, settings.attempts, settings.retry_statuses)


def test_a_list_is_separated_by_commas_and_may_be_empty() -> None:
    given = {f"{PREFIX}RETRY_STATUSES": "502, 503", f"{PREFIX}HOSTS": ""}

    settings = read_settings(given)

    assert ((502, 503), ()) == (settings.retry_statuses, settings.hosts)


def test_an_empty_text_is_no_value_where_none_may_be() -> None:
    assert read_settings({f"{PREFIX}EMBEDDING_MODEL": ""}).embedding_model is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ATTEMPTS", "many", "Expected `int`"),
        ("ATTEMPTS", "0", "expected 1 to 1000, found 0"),
        ("POLL_INTERVAL", "30", "expected a length of time like 500ms"),
        ("POLL_INTERVAL", "1ms", "expected 100 to"),
        ("POLL_INTERVALS", "30s", "there is no such setting"),
        ("BIND", "127.0.0.1", "expected an address like"),
        ("BIND", "::1:80", "expected an address like"),
        ("BIND", "127.0.0.1:70000", "expected an address like"),
        ("TARGET", "127.0.0.1:11434", "expected an address like"),
        ("TARGET", "http://127.0.0.1:99999", "expected an address like"),
        ("TARGET", "http://127.0.0.1/prefix", "expected an address like"),
        ("TARGET", "http://user:word@127.0.0.1", "a password has no place"),
        ("QUEUE_PATHS", "/api/chat,/api/tags", "'/api/tags' is no route that can wait"),
        ("RETRY_STATUSES", "200", "expected statuses from 400 to 599"),
        ("HOSTS", "a b", "a host is a name or a name and a port"),
        ("ORIGINS", "app.example", "an origin is as in https://app.example"),
        ("TARGET_TOKEN", "k\u00e4se", "as a header can hold them"),
        ("INSECURE_BIND", "perhaps", "Expected `bool`"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(said)) as refused:
        read_settings({PREFIX + name: text})

    assert str(refused.value).startswith(f"{PREFIX}{name}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [("ttl = 5\n", "ttl: expected a length"), ("tll = '5s'\n", "tll: there is no such"), ("ttl = \n", "be read")],
)
def test_a_wrong_file_is_refused_by_its_name(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "ollama.toml"
    file.write_text(content)

    with pytest.raises(InvalidValue, match=said) as refused:
        read_settings({}, file)

    assert str(file) in str(refused.value)


def test_a_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_settings({}, tmp_path / "absent.toml")


def test_no_representation_shows_the_token_of_the_target() -> None:
    settings = read_settings({f"{PREFIX}TARGET_TOKEN": "canary-of-the-target"})

    assert "canary-of-the-target" == settings.target_token
    assert "canary" not in repr(settings)


def test_the_queue_is_the_same_for_each_way_to_write_a_target() -> None:
    targets = ("http://box", "http://BOX:80", "http://box:80/")

    assert {"ollama:box:80"} == {read_settings({f"{PREFIX}TARGET": one}).queue for one in targets}


def test_the_example_has_every_setting_with_its_default() -> None:
    given = variables(EXAMPLE.read_text())
    names = {PREFIX + one.encode_name.upper() for one in msgspec.structs.fields(Settings)}
    optional = {PREFIX + name for name in ("TARGET_TOKEN", "EMBEDDING_MODEL", "ABANDONED")}

    assert names == set(given)
    assert read_settings({}) == read_settings({name: text for name, text in given.items() if name not in optional})

from __future__ import annotations

import pytest

from sluicegate.config.problems import Problems, did_you_mean, is_sensitive, masked, spell
from sluicegate.errors import ConfigError, Problem


def test_an_error_has_one_line_per_problem() -> None:
    error = ConfigError(
        [Problem("a.b", 5, "too small", "write 6"), Problem("c", None, "is missing\nor not")], source="x.toml"
    )

    assert str(error) == "x.toml: a.b = 5: too small (write 6)\nx.toml: c: is missing or not"


def test_a_long_value_is_cut() -> None:
    assert len(str(Problem("a", "x" * 1000, "bad"))) < 100


def test_key_paths_are_spelt_as_toml_does() -> None:
    assert spell(("destinations", "a b", "events", 0)) == 'destinations."a b".events[0]'


@pytest.mark.parametrize(
    "path",
    [("gateway", "write_keys", "web"), ("destinations", "x", "headers", "A"), ("destinations", "x", "api_token")],
)
def test_places_of_secrets_are_known_by_name(path: tuple[str, ...]) -> None:
    assert is_sensitive(path)


def test_the_id_of_a_destination_says_nothing_about_secrets() -> None:
    assert not is_sensitive(("destinations", "keyboard-shop", "batch_size"))


def test_masks_reach_into_tables_and_spare_variables() -> None:
    value = {"write_keys": {"a": "hunter2", "b": "${B}"}, "listen": "x", "items": [{"secret": 5}]}

    assert masked(value, sensitive=False) == {
        "write_keys": {"a": "***", "b": "${B}"},
        "listen": "x",
        "items": [{"secret": "***"}],
    }


def test_user_info_in_addresses_is_masked() -> None:
    assert masked("https://user:pass@host/x", sensitive=False) == "https://***@host/x"


def test_hidden_texts_are_cut_out_of_messages() -> None:
    problems = Problems()
    problems.hide("hunter2")
    problems.hide("hunter2222")

    assert problems.redact("got 'hunter2222' and 'hunter2'") == "got '***' and '***'"


def test_a_misspelt_word_is_recognised_whatever_its_case() -> None:
    assert did_you_mean("Measurment", ["marketing", "measurement"]) == "did you mean measurement?"

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate import logs
from sluicegate.logs import MAX_FIELD_CHARS, LogFormat, LogStyle, be_part
from sluicegate.masking import MASK, MIN_CUT_CHARS, Mask, hidden

SECRET = "canary-3f9ac2d17e"
NASTY = st.text(alphabet=st.characters() | st.sampled_from("\n\r\x1b\x9b\u2028\u202e\x00[m"), max_size=200)


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "hidden", Mask([SECRET]))
    be_part("destination", destination="crm")
    yield
    be_part("sluicegate")


def line(style: LogFormat, message: str, *args: object, error: BaseException | None = None, **extra: object) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("vendor", logging.WARNING, "x.py", 1, message, args, info)
    record.__dict__.update(extra)
    return LogStyle(format=style).formatter().format(record)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


@given(NASTY, NASTY, NASTY)
def test_line_of_json_is_one_line_whatever_it_quotes(message: str, message_id: str, error: str) -> None:
    text = line(LogFormat.JSON, "%s", message, message_id=message_id, error=raised(error))

    parsed = json.loads(text)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert parsed["message"].isprintable()
    assert parsed["message_id"].isprintable()


@given(NASTY, NASTY, NASTY)
def test_line_for_people_cannot_be_forged(message: str, message_id: str, error: str) -> None:
    first, *rest = line(LogFormat.CONSOLE, "%s", message, message_id=message_id, error=raised(error)).splitlines()

    assert first.isprintable()
    assert all(one.startswith("    | ") and one.isprintable() for one in rest)


def test_json_has_the_fields_that_are_documented() -> None:
    parsed = json.loads(line(LogFormat.JSON, "dead letter", message_id="m-1", offset=7, attempts=2, reason="400"))

    assert parsed.pop("time").endswith("Z")
    assert isinstance(parsed.pop("process"), int)
    assert parsed == {
        "level": "warning",
        "part": "destination",
        "logger": "vendor",
        "message": "dead letter",
        "destination": "crm",
        "message_id": "m-1",
        "offset": 7,
        "attempts": 2,
        "reason": "400",
    }


def test_every_field_is_bounded() -> None:
    long = "x" * 100_000

    parsed = json.loads(line(LogFormat.JSON, long, message_id=long, reason=long, error=raised(long)))

    assert max(len(value) for value in parsed.values() if isinstance(value, str)) == MAX_FIELD_CHARS


@pytest.mark.parametrize("style", [LogFormat.JSON, LogFormat.CONSOLE])
def test_secrets_are_masked_in_every_field(style: LogFormat) -> None:
    text = line(style, "calling %s", f"https://h/?k={SECRET}", reason=SECRET, message_id=SECRET, error=raised(SECRET))

    assert SECRET not in text
    assert text.count("***") >= 4


@pytest.mark.parametrize("spelling", ["ab%2Fcd+ef%26gh", "YWIvY2QgZWYmZ2g", "ab/cd ef&gh", "ab%2Fcd%20ef%26gh"])
def test_secret_is_masked_however_a_library_spells_it(spelling: str) -> None:
    assert Mask(["ab/cd ef&gh"])(f"GET {spelling}!") == "GET ***!"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", ":", "more"])
def test_secret_is_masked_inside_of_what_was_encoded_with_it(before: str, after: str) -> None:
    secret = "tok-1234567890"
    told = base64.b64encode(f"{before}{secret}{after}".encode()).decode()

    masked = Mask([secret])(f"Authorization: Basic {told}")

    assert MASK in masked
    shown = masked.replace(MASK, "").removeprefix("Authorization: Basic ")
    assert len(shown) <= len(before) * 2 + len(after) * 2 + 6


@pytest.mark.parametrize(
    "spelling",
    [
        "ab/cd%2Bef%3D%3D",
        "ab%2fcd%2bef%3d%3d",
        r"ab\/cd+ef==",
        r"ab/cd+ef\u003d\u003d",
        r"ab/cd\u002Bef==",
        r"ab\x2fcd+ef==",
        "ab/cd&#x2B;ef&#61;&#61;",
        "YWIvY2QrZWY9PQ%3D%3D",
    ],
)
def test_secret_is_masked_whichever_of_its_characters_a_vendor_escapes(spelling: str) -> None:
    assert Mask(["ab/cd+ef=="])(f'{{"wrong": "{spelling}"}}').startswith('{"wrong": "***')
    assert Mask(["ab/cd+ef=="])(f"100% of &lt;{spelling}&gt;").startswith("100% of &lt;***")


def test_secret_is_masked_in_base64_for_urls() -> None:
    told = base64.urlsafe_b64encode(b"??>>~~tok-1").decode()

    assert Mask(["??>>~~tok-1"])(f"the key {told}") == "the key ***="


def test_words_of_a_secret_are_masked_by_themselves() -> None:
    assert Mask(["Bearer tok-123456"])("the token tok-123456 is wrong") == "the token *** is wrong"


@given(st.integers(MIN_CUT_CHARS, len(SECRET) - 1))
def test_secret_that_was_cut_at_the_end_of_a_text_is_masked(length: int) -> None:
    assert Mask([SECRET])(f"the vendor said {SECRET[:length]}") == "the vendor said ***"


@pytest.mark.parametrize("length", [6, 128, 129, 500, 999])
def test_long_secret_that_was_cut_is_masked_wherever_it_was_cut(length: int) -> None:
    key = "".join(f"{number:04d}-" for number in range(200))

    assert Mask([key])(f"the vendor said {key[:length]}") == "the vendor said ***"


def test_secret_with_half_a_character_in_it_is_masked() -> None:
    assert Mask(["tok-\udcff1234"])("the token tok-\udcff1234 is wrong") == "the token *** is wrong"


@given(st.lists(st.text(min_size=4), max_size=5), st.text())
def test_masked_text_holds_no_secret(secrets: list[str], text: str) -> None:
    masked = Mask(secrets)(f"{text}{''.join(secrets)}")

    assert not [secret for secret in secrets if secret in masked.replace("***", "")] or "*" in "".join(secrets)


def test_error_that_ends_a_thread_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("sys.excepthook", None)
    logs.catch_all_errors()
    thread = threading.Thread(target=lambda: 1 / 0, name="vendor-poll")

    thread.start()
    thread.join()

    assert "a thread has ended: vendor-poll" in caplog.text


def test_nothing_is_hidden_before_a_configuration_says_so() -> None:
    assert hidden("anything at all") == "anything at all"

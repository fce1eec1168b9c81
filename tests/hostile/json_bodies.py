"""JSON that is no JSON, that two parsers read differently, or that says absurd things."""

from __future__ import annotations

import codecs
import json
from functools import lru_cache

from tests.hostile.case import Case, answered, bad_body, batch, event, judged, post

_GOOD = event()
_TEXT = batch(_GOOD).decode()


def _beside(name: str, bad: bytes, reason: str) -> Case:
    """A bad event between two good ones, which are accepted."""
    return judged(name, batch(_GOOD, bad, _GOOD), reason, accepted=2)


def _taken(name: str, good: bytes) -> Case:
    return judged(name, batch(good), accepted=1)


def _prop(text: str) -> bytes:
    return event('"properties":{"x":' + text + "}")


def _syntax() -> list[Case]:
    values = {
        "NaN": "NaN",
        "Infinity": "Infinity",
        "minus Infinity": "-Infinity",
        "inf": "inf",
        "hexadecimal number": "0x10",
        "number with a zero in front": "01",
        "number with a plus": "+1",
        "number with a bare point": "1.",
        "number with an underscore": "1_000",
        "number without digits": "-",
        "exponent without digits": "1e",
        "single quotes": "'a'",
        "comment": "1/*a*/",
        "trailing comma": "[1,]",
        "undefined": "undefined",
        "capital True": "True",
        "control character in a text": '"a\x01b"',
        "line feed in a text": '"a\nb"',
        "NUL in a text": '"a\x00b"',
        "unknown escape": r'"\x41"',
        "cut escape": r'"\u12"',
        "half a surrogate pair": r'"\ud800"',
        "half a surrogate pair, then text": r'"\ud800abcdefgh"',
        "the second half alone": r'"\udc00"',
        "two first halves": r'"\ud800\ud800"',
        "first half, then a letter": r'"\ud800\u0041"',
        "halves in the wrong order": r'"\udc00\ud800"',
    }
    found = [_beside(name, _prop(text), "not_json") for name, text in values.items()]
    found += [
        _taken("surrogate pair", _prop(r'"\ud83d\ude00"')),
        _taken("escaped NUL", _prop(r'"a\u0000b"')),
        _taken("escaped control characters", _prop(r'"\u0001\u001f\u007f\u2028"')),
        _beside("half a surrogate pair as an id", event('"messageId":"\\ud800"', messageId=...), "not_json"),
        _beside("half a surrogate pair in a key", event(r'"properties":{"\udfff":1}'), "not_json"),
        _taken("escaped NUL in an id", event('"anonymousId":"a\\u0000b"')),
    ]
    return found


def _numbers() -> list[Case]:
    beyond = {
        "1e400": "1e400",
        "minus 1e400": "-1e400",
        "1E+400": "1E+400",
        "1e0400": "1e0400",
        "0.1e310": "0.1e310",
        "1 followed by 400 zeros and a point": "1" + "0" * 400 + ".0",
        "1e99999999999999999999": "1e99999999999999999999",
        "2 to the 64th": "18446744073709551616",
        "less than int64": "-9223372036854775809",
        "integer of 100 digits": "9" * 100,
        "integer of 5,000 digits": "9" * 5_000,
        "1e400 deep inside": '[{"a":[1e400]}]',
        "huge integer in a list": "[1,2,18446744073709551616]",
    }
    within = {
        "largest uint64": "18446744073709551615",
        "smallest int64": "-9223372036854775808",
        "largest double": "1.7976931348623157e308",
        "smallest double": "5e-324",
        "1e-400": "1e-400",
        "0e400": "0e400",
        "minus zero": "-0",
        "long fraction": "0." + "3" * 400,
        "1e400 as a text": '"1e400"',
        "long digits as a text": '"' + "9" * 400 + '"',
        "hexadecimal id that looks like a number": '"0e12345e400:1e999"',
    }
    found = [_beside(f"number {name}", _prop(text), "number") for name, text in beyond.items()]
    found += [_taken(f"number {name}", _prop(text)) for name, text in within.items()]
    found.append(_beside("number 1e400 as a member", event('"x":1e400'), "number"))
    found.append(_beside("number 1e400 in the context", event('"context":{"x":1e400}'), "number"))
    found.append(judged("number beyond range in every event", batch(*[_prop("1e400")] * 3), *["number"] * 3))
    found.append(answered("number 1e400 alone", post(_prop("1e400"), path=b"/v1/track"), 200))
    return found


def _keys() -> list[Case]:
    again = {
        "userId": '"userId":"u2"',
        "userId with the same value": '"userId":"u1"',
        "userId by an escape": r'"user\u0049d":"u2"',
        "userId with spaces": '"userId" : "u2"',
        "userId as null": '"userId":null',
        "messageId": '"messageId":"m2"',
        "anonymousId": '"anonymousId":"a","anonymousId":"b"',
        "consent": '"consent":{"a":true},"consent":{"a":false}',
        "context": '"context":{},"context":{}',
        "context.consent": '"context":{"consent":{},"consent":{}}',
        "consentManagement": '"context":{"consentManagement":{},"consentManagement":{}}',
        "consent by an escape": r'"consent":{},"\u0063onsent":{}',
        "a category": '"consent":{"a":true,"a":false}',
        "integrations": '"integrations":{"All":false},"integrations":{"All":true}',
    }
    found = [_beside(f"duplicate {name}", event(extra), "duplicate_key") for name, extra in again.items()]
    group = event('"groupId":"g1","groupId":"g2"', type="group")
    alias = event('"previousId":"p1","previousId":"p2"', type="alias")
    found += [
        _beside("duplicate groupId", group, "duplicate_key"),
        _beside("duplicate previousId", alias, "duplicate_key"),
        _taken("duplicate type, of which the last wins", event('"type":"page"')),
        _taken("duplicate timestamp", event('"timestamp":"2026-01-01T00:00:00Z","timestamp":"2025-01-01T00:00:00Z"')),
        _taken("duplicate property", event('"properties":{"a":1,"a":2}')),
        _taken("userId in the traits too", event('"traits":{"userId":"u2"}')),
        _taken("userId in the properties twice", event('"properties":{"userId":"u2","userId":"u3"}')),
        _taken("userId as a value", event('"properties":{"key":"userId","\\"userId\\"":1}')),
        _taken("prototype keys", event('"__proto__":{"admin":true},"constructor":{"prototype":{}},"__class__":"x"')),
        _taken(
            "format fields in names", event('"{0.__class__}":"{self.__init__.__globals__}","%s%n":"${jndi:ldap://a}"')
        ),
        _taken("empty key", event('"":1')),
        _taken("6,000 keys", event('"p":{' + ",".join(f'"{n}":1' for n in range(2_900)) + "}")),
        _beside("10,001 keys", event('"p":{' + ",".join(['"":1'] * 10_001) + "}"), "too_large"),
        bad_body("duplicate batch", b'{"batch":[],"batch":[' + _GOOD + b"]}", "duplicate_key"),
        bad_body("duplicate consent of the batch", batch(rest=b',"consent":{},"consent":{}'), "duplicate_key"),
        bad_body("duplicate key", batch(_GOOD, rest=b',"writeKey":"a","writeKey":"b"'), "duplicate_key"),
        bad_body("duplicate sentAt", batch(_GOOD, rest=b',"sentAt":"a","sentAt":"b"'), "duplicate_key"),
    ]
    return found


def _encodings() -> list[Case]:
    utf8 = "not_utf8"
    return [
        bad_body("invalid UTF-8", batch(_GOOD).replace(b"Seen", b"Se\xffn"), utf8),
        bad_body("overlong slash", batch(_GOOD).replace(b"Seen", b"\xc0\xaf"), utf8),
        bad_body("overlong NUL", batch(_GOOD).replace(b"Seen", b"\xc0\x80"), utf8),
        bad_body("surrogate in UTF-8", batch(_GOOD).replace(b"Seen", b"\xed\xa0\x80"), utf8),
        bad_body("beyond Unicode", batch(_GOOD).replace(b"Seen", b"\xf4\x90\x80\x80"), utf8),
        bad_body("cut UTF-8", batch(_GOOD).replace(b"Seen", b"Se\xe2\x82"), utf8),
        bad_body("Latin-1", _TEXT.replace("Seen", "Größe").encode("latin-1"), utf8),
        bad_body("UTF-16 with a mark", _TEXT.encode("utf-16"), utf8),
        bad_body("UTF-16LE", _TEXT.encode("utf-16-le"), "not_json"),
        bad_body("UTF-16BE", _TEXT.encode("utf-16-be"), "not_json"),
        bad_body("UTF-32 with a mark", _TEXT.encode("utf-32"), utf8),
        bad_body("UTF-32LE", _TEXT.encode("utf-32-le"), "not_json"),
        bad_body("UTF-32BE", _TEXT.encode("utf-32-be"), "not_json"),
        bad_body("UTF-7", _TEXT.replace('"', "+ACI-").encode(), "not_json"),
        judged("one mark", codecs.BOM_UTF8 + batch(_GOOD), accepted=1),
        bad_body("two marks", codecs.BOM_UTF8 * 2 + batch(_GOOD), "not_json"),
        bad_body("a mark alone", codecs.BOM_UTF8, "not_json"),
        bad_body("a mark at the end", batch(_GOOD) + codecs.BOM_UTF8, "not_json"),
        _beside("a mark before an event", codecs.BOM_UTF8 + _GOOD, "not_json"),
    ]


@lru_cache
def _deep(n: int, opening: str = "[", closing: str = "]") -> bytes:
    return _prop(opening * n + ("1" if opening != "[" else "") + closing * n)


def _shapes() -> list[Case]:
    nested = '{"a":'
    bodies = {
        "empty body": (b"", "not_json"),
        "space": (b" \r\n\t", "not_json"),
        "null": (b"null", "not_a_batch"),
        "number": (b"1", "not_a_batch"),
        "text": (b'"batch"', "not_a_batch"),
        "list": (b"[]", "not_a_batch"),
        "empty object": (b"{}", "not_a_batch"),
        "two objects": (batch() + batch(), "not_json"),
        "object never closed": (batch(_GOOD)[:-1], "not_json"),
        "text never closed": (batch(_GOOD)[:-9], "not_json"),
        "batch is null": (b'{"batch":null}', "not_a_batch"),
        "batch is an object": (b'{"batch":{}}', "not_a_batch"),
        "batch is a text": (b'{"batch":"[]"}', "not_a_batch"),
        "batch is a number": (b'{"batch":1}', "not_a_batch"),
        "a million brackets": (b"[" * 400_000, "not_a_batch"),
        "a million braces": (b'{"a":' * 90_000, "not_json"),
        "context of the batch is a text": (batch(_GOOD, rest=b',"context":"a"'), "context"),
        "consent of the batch too deep": (batch(_GOOD, rest=b',"consent":' + b"[" * 70 + b"]" * 70), "too_deep"),
    }
    found = [bad_body(name, body, code) for name, (body, code) in bodies.items()]
    nothing = [b"null", b"1", b"true", b'"a"', b"[]", b"{}"]
    found += [
        judged("events that are none", batch(*nothing), *["not_object"] * 5, "type"),
        judged("empty batch", batch()),
        bad_body("2,501 events", lambda: batch(*[b"{}"] * 2_501), "too_many", 413),
        judged("2,500 events", lambda: batch(*[b"{}"] * 2_500), *["type"] * 2_500),
        _taken("event of 32 KiB", _sized(32 * 1024)),
        _beside("event of 32 KiB and one byte", _sized(32 * 1024 + 1), "too_large"),
        _taken("62 levels", _deep(62)),
        _beside("63 levels of lists", _deep(63), "too_deep"),
        _beside("10,000 levels of lists", _deep(10_000), "too_deep"),
        _beside("70 levels of objects", _deep(70, nested, "}"), "too_deep"),
        bad_body("brackets that never close", batch(_GOOD, _prop("[" * 6_000)), "not_json"),
        _taken("brackets in a text", _prop('"' + "[{" * 500 + '"')),
    ]
    return found


def _sized(n_bytes: int) -> bytes:
    small = event(properties={"a": ""})
    return event(properties={"a": "a" * (n_bytes - len(small))})


def _members() -> list[Case]:
    wrong: dict[str, tuple[bytes, str]] = {
        **{f"type {text}": (event(f'"type":{text}', type=...), "type") for text in _TYPES if text != '"track"'},
        "messageId empty": (event(messageId=""), "message_id"),
        "messageId of 256 characters": (event(messageId="m" * 256), "message_id"),
        "userId of 256 characters": (event(userId="u" * 256), "subject"),
        "no subject": (event(userId=...), "no_subject"),
        "empty subjects": (event(userId="", anonymousId=""), "no_subject"),
        "userId beyond int64": (event('"userId":9223372036854775808', userId=...), "subject"),
        "no event name": (event(event=...), "no_event_name"),
        "event name empty": (event(event=""), "no_event_name"),
        "group without groupId": (event(type="group"), "no_group_id"),
        "alias without previousId": (event(type="alias"), "no_previous_id"),
        "context a list": (event(context=[]), "context"),
        "context a text": (event(context="a"), "context"),
        "integrations a list": (event(integrations=["All"]), "integrations"),
        "integrations a text": (event(integrations="All"), "integrations"),
        "101 integrations": (event(integrations={str(n): True for n in range(101)}), "integrations"),
    }
    for text in ("1", "1.5", "true", "[]", "{}"):
        wrong[f"messageId {text}"] = (event(f'"messageId":{text}', messageId=...), "message_id")
        if text != "1":
            wrong[f"userId {text}"] = (event(f'"userId":{text}', userId=...), "subject")
            wrong[f"anonymousId {text}"] = (event(f'"anonymousId":{text}'), "subject")
        wrong[f"event name {text}"] = (event(f'"event":{text}', event=...), "no_event_name")
    found = [_beside(name, bad, reason) for name, (bad, reason) in wrong.items()]
    found += [
        _taken("messageId null", event(messageId=None)),
        _taken("userId a number", event(userId=7)),
        _taken("userId of 255 characters", event(userId="ü" * 255)),
        _taken("consent a text", event(consent="yes")),
        _taken("consent of texts", event(consent={"marketing": "true"})),
        _taken("properties a list", event(properties=[1])),
        _taken("traits a text", event(traits="a")),
    ]
    return found


_TYPES = ("null", "1", "true", "[]", "{}", '""', '"Track"', '"track "', '"__class__"')

ABSURD_TIMES = {
    "1970": "1970-01-01T00:00:00Z",
    "before 1970": "1969-12-31T23:59:59Z",
    "year 1": "0001-01-01T00:00:00Z",
    "year 9999": "9999-12-31T23:59:59.999Z",
    "year 9999 west of Greenwich": "9999-12-31T23:59:59-12:00",
    "year 1 east of Greenwich": "0001-01-01T00:00:00+14:00",
    "year 10000": "10000-01-01T00:00:00Z",
    "negative year": "-0001-01-01T00:00:00Z",
    "2038": "2038-01-19T03:14:08Z",
    "leap second": "2016-12-31T23:59:60Z",
    "second 61": "2016-12-31T23:59:61Z",
    "30 February": "2026-02-30T00:00:00Z",
    "hour 24": "2026-01-01T24:00:00Z",
    "hour that summer time leaves out": "2026-03-29T02:30:00+01:00",
    "hour that winter time repeats": "2026-10-25T02:30:00+02:00",
    "offset of 25 hours": "2026-01-01T00:00:00+25:00",
    "offset of seconds": "2026-01-01T00:00:00+01:00:30",
    "twenty decimals": "2026-01-01T00:00:00." + "1" * 20 + "Z",
    "week date": "2026-W01-1",
    "Arabic digits": "\u0662\u0660\u0662\u0666-01-01T00:00:00Z",
    "empty": "",
    "words": "yesterday",
    "number": 1_700_000_000,
    "negative number": -1,
    "huge number": 10**18,
    "list": [2026, 1, 1],
    "null": None,
}


def _times() -> list[Case]:
    found = []
    for name, value in ABSURD_TIMES.items():
        found.append(_taken(f"timestamp {name}", event(timestamp=value)))
        told = f',"sentAt":{json.dumps(value)}'.encode()
        found.append(judged(f"sentAt {name}", batch(_GOOD, rest=told), accepted=1))
        found.append(_taken(f"own sentAt {name}", event(sentAt=value)))
    originals = [event(originalTimestamp=v, sentAt=v) for v in ABSURD_TIMES.values()]
    found.append(judged("original timestamps absurd", batch(*originals), accepted=len(originals)))
    return found


def cases() -> list[Case]:
    """All of them."""
    return [*_syntax(), *_numbers(), *_keys(), *_encodings(), *_shapes(), *_members(), *_times()]

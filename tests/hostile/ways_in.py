"""The same faults in the body at every path that takes one, each with the answer of that path."""

from __future__ import annotations

import base64
import codecs
import gzip
from collections.abc import Callable
from dataclasses import dataclass

from tests.hostile.case import BASIC, HOST, MIB, REGULATION_KEY, Answer, Case, answered, batch, event, post

PRIVACY = b"Authorization: Bearer " + REGULATION_KEY + b"\r\n"
NOT_UTF8, NOT_JSON, NUMBER, TOO_DEEP = "not_utf8", "not_json", "number", "too_deep"
"""What is wrong with a body."""

VALUES: dict[str, tuple[str, str | None]] = {
    "NaN": ("NaN", NOT_JSON),
    "Infinity": ("-Infinity", NOT_JSON),
    "comment": ("1/*a*/", NOT_JSON),
    "trailing comma": ("[1,]", NOT_JSON),
    "single quotes": ("'a'", NOT_JSON),
    "number with a zero in front": ("01", NOT_JSON),
    "NUL in a text": ('"a\x00b"', NOT_JSON),
    "unknown escape": (r'"\x41"', NOT_JSON),
    "half a surrogate pair": (r'"\ud800"', NOT_JSON),
    "half a surrogate pair, then text": (r'"\ud800abcdefgh"', NOT_JSON),
    "the second half alone": (r'"\udc00"', NOT_JSON),
    "halves in the wrong order": (r'"\udc00\ud800"', NOT_JSON),
    "half a surrogate pair in a key": (r'{"\udfff":1}', NOT_JSON),
    "1e400": ("1e400", NUMBER),
    "minus 1e400 deep inside": ('[{"a":[-1e400]}]', NUMBER),
    "1 followed by 400 zeros and a point": ("1" + "0" * 400 + ".0", NUMBER),
    "2 to the 64th": ("18446744073709551616", NUMBER),
    "less than int64": ("-9223372036854775809", NUMBER),
    "integer of 5,000 digits": ("9" * 5_000, NUMBER),
    "900 levels of lists": ("[" * 900 + "]" * 900, TOO_DEEP),
    "300 levels of objects": ('{"a":' * 300 + "1" + "}" * 300, TOO_DEEP),
    "largest uint64": ("18446744073709551615", None),
    "1e-400": ("1e-400", None),
    "surrogate pair": (r'"\ud83d\ude00"', None),
    "escaped NUL": (r'"a\u0000b"', None),
    "brackets in a text": ('"' + "[{" * 900 + '"', None),
}
"""Values somewhere inside a body that is right otherwise, and what is wrong with it then."""

WORD = "Seen"
ENCODINGS: dict[str, tuple[Callable[[str], bytes], str | None]] = {
    "invalid UTF-8": (lambda text: text.encode().replace(b"Seen", b"Se\xffn"), NOT_UTF8),
    "overlong slash": (lambda text: text.encode().replace(b"Seen", b"\xc0\xaf"), NOT_UTF8),
    "overlong NUL": (lambda text: text.encode().replace(b"Seen", b"\xc0\x80"), NOT_UTF8),
    "surrogate in UTF-8": (lambda text: text.encode().replace(b"Seen", b"\xed\xa0\x80"), NOT_UTF8),
    "beyond Unicode": (lambda text: text.encode().replace(b"Seen", b"\xf4\x90\x80\x80"), NOT_UTF8),
    "cut UTF-8": (lambda text: text.encode().replace(b"Seen", b"Se\xe2\x82"), NOT_UTF8),
    "Latin-1": (lambda text: text.replace(WORD, "Größe").encode("latin-1"), NOT_UTF8),
    "UTF-16 with a mark": (lambda text: text.encode("utf-16"), NOT_UTF8),
    "UTF-16LE": (lambda text: text.encode("utf-16-le"), NOT_JSON),
    "UTF-16BE": (lambda text: text.encode("utf-16-be"), NOT_JSON),
    "UTF-32 with a mark": (lambda text: text.encode("utf-32"), NOT_UTF8),
    "UTF-32LE": (lambda text: text.encode("utf-32-le"), NOT_JSON),
    "UTF-32BE": (lambda text: text.encode("utf-32-be"), NOT_JSON),
    "UTF-7": (lambda text: text.replace('"', "+ACI-").encode(), NOT_JSON),
    "one mark": (lambda text: codecs.BOM_UTF8 + text.encode(), None),
    "two marks": (lambda text: codecs.BOM_UTF8 * 2 + text.encode(), NOT_JSON),
    "a mark alone": (lambda text: codecs.BOM_UTF8, NOT_JSON),
    "a mark at the end": (lambda text: text.encode() + codecs.BOM_UTF8, NOT_JSON),
    "empty": (lambda text: b"", NOT_JSON),
    "cut": (lambda text: text.encode()[:-1], NOT_JSON),
    "twice": (lambda text: text.encode() * 2, NOT_JSON),
    "text beyond ASCII": (lambda text: text.replace(WORD, "Größe \U0001f600").encode(), None),
}
"""Ways to write a body, and what is wrong with it then."""


@dataclass(frozen=True, slots=True)
class Way:
    """A path: its request with a body, a right body with a value inside, and its answer by what is wrong."""

    name: str
    send: Callable[[bytes], bytes]
    body: Callable[[str], str]
    answer: Callable[[str | None], Answer]
    levels: int
    """So many levels a list in that place may have."""

    @property
    def takes_gzip(self) -> bool:
        """Whether bodies may be compressed here."""
        return self.name not in ("/v1/m", "/v1/pixel")

    def case(self, name: str, body: bytes, wrong: str | None) -> Case:
        """A body that is wrong in this way; None for one that is right."""
        return Case(f"{self.name}: {name}", self.send(body), (self.answer(wrong),), closed=False)


def _posted(path: bytes, key: bytes = BASIC) -> Callable[[bytes], bytes]:
    return lambda body: post(body, path=path, key=key)


def _asked(path: bytes) -> Callable[[bytes], bytes]:
    def send(body: bytes) -> bytes:
        data = base64.urlsafe_b64encode(body).rstrip(b"=")
        return b"GET " + path + b"?writeKey=web-key&data=" + data + b" HTTP/1.1\r\n" + HOST + b"\r\n"

    return send


def _refuses(wrong: str | None) -> Answer:
    """A path that takes a body as a whole or not at all."""
    return Answer(200) if wrong is None else Answer(400, wrong)


def _judges(*rejects: str) -> Callable[[str | None], Answer]:
    """A path that names an event in the answer which is rejected for one of these."""

    def answer(wrong: str | None) -> Answer:
        if wrong in rejects:
            return Answer(200, None, 0, (wrong,))
        return Answer(200, None, 1, ()) if wrong is None else Answer(400, wrong)

    return answer


def _shows(wrong: str | None) -> Answer:
    """A picture, or why there is none."""
    if wrong is None:
        return Answer(200, headers=(("content-type", "image/gif"),))
    return Answer(400, wrong if wrong in (NOT_UTF8, NOT_JSON) else "bad_event")


def _event(value: str, *, has_user: bool = True) -> str:
    return event(f'"properties":{{"x":{value},"y":"{WORD}"}}', userId="u1" if has_user else ...).decode()


def _decision(value: str) -> str:
    return f'{{"userId":"u1","preferences":{{"marketing":true}},"x":{value},"y":"{WORD}"}}'


def _regulation(value: str) -> str:
    what = '"regulationType":"UNSUPPRESS","subjectType":"USER_ID"'
    return f'{{{what},"subjectIds":["nobody"],"x":{value},"y":"{WORD}"}}'


WAYS = (
    Way("/v1/track", _posted(b"/v1/track"), _event, _judges(NUMBER, TOO_DEEP), 62),
    Way("/api/s/track", _posted(b"/api/s/track"), _event, _judges(NUMBER, TOO_DEEP), 62),
    Way(
        "/api/s/track of nobody",
        _posted(b"/api/s/track"),
        lambda value: _event(value, has_user=False),
        _judges(NUMBER, TOO_DEEP),
        62,
    ),
    Way("/v1/webhook", _posted(b"/v1/webhook"), lambda x: f'{{"x":{x},"y":"{WORD}"}}', _judges(NUMBER), 62),
    Way("/v1/webhook of a list", _posted(b"/v1/webhook"), lambda x: f'[{{"x":{x},"y":"{WORD}"}}]', _judges(NUMBER), 62),
    Way("/v1/pixel", _asked(b"/v1/pixel/track"), _event, _shows, 62),
    Way("/v1/consent", _posted(b"/v1/consent"), _decision, _refuses, 63),
    Way("/v1/regulations", _posted(b"/v1/regulations", PRIVACY), _regulation, _refuses, 63),
    Way("/v1/m", _posted(b"/v1/m"), _event, lambda wrong: Answer(200), 62),
)


def _of(way: Way) -> list[Case]:
    found = [way.case(name, way.body(value).encode(), wrong) for name, (value, wrong) in VALUES.items()]
    found += [way.case(name, encode(way.body("1")), wrong) for name, (encode, wrong) in ENCODINGS.items()]
    levels = way.levels
    found.append(way.case(f"{levels} levels of lists", way.body("[" * levels + "]" * levels).encode(), None))
    if way.levels < 63 and "webhook" not in way.name:
        levels += 1
        found.append(way.case(f"{levels} levels of lists", way.body("[" * levels + "]" * levels).encode(), TOO_DEEP))
    return found


def _compressed() -> list[Case]:
    found = []
    for way in WAYS:
        if way.takes_gzip:
            zipped = gzip.compress(way.body("1").encode(), mtime=0)
            bodies = {
                "gzip": (zipped, 200, None),
                "gzip of UTF-16": (gzip.compress(way.body("1").encode("utf-16"), mtime=0), 400, NOT_UTF8),
                "gzip of half a pair": (gzip.compress(way.body(r'"\ud800"').encode(), mtime=0), 400, NOT_JSON),
                "gzip twice": (gzip.compress(zipped, mtime=0), 400, "bad_gzip"),
                "gzip with garbage after it": (zipped + b"garbage", 400, "bad_gzip"),
                "gzip bomb": (_BOMB, 413, "body_too_large"),
            }
            found += [
                answered(f"{way.name}: {name}", way.send(body), status, code)
                for name, (body, status, code) in bodies.items()
            ]
    return found


_BOMB = gzip.compress(bytes(5 * MIB), mtime=0)


def _decisions() -> list[Case]:
    def decided(name: str, body: bytes, code: str | None, status: int = 400) -> Case:
        return answered(f"/v1/consent: {name}", post(body, path=b"/v1/consent"), status, code)

    def decided_by_body(name: str, body: bytes, status: int) -> Case:
        return answered(f"/v1/consent: {name}", post(body, path=b"/v1/consent", key=b""), status)

    half = rb'"\ud800"'
    good = _decision("1").encode()
    keyed = good.replace(b'"x":1', b'"writeKey":"web-key"')
    return [
        decided("64 levels of lists", _decision("[" * 64 + "]" * 64).encode(), TOO_DEEP),
        decided("half a surrogate pair as user", good.replace(b'"u1"', half), NOT_JSON),
        decided("half a surrogate pair as visitor", good.replace(b'"x":1', b'"anonymousId":' + half), NOT_JSON),
        decided("half a surrogate pair as purpose", good.replace(b'"marketing"', half), NOT_JSON),
        decided("half a surrogate pair as policy", good.replace(b'"x":1', b'"policyVersion":' + half), NOT_JSON),
        decided("userId twice", good.replace(b'"x"', b'"userId"'), "duplicate_key"),
        decided("a purpose twice", good.replace(b"true", b'true,"marketing":false'), "duplicate_key"),
        decided("time beyond a double", good.replace(b'"x":1', b'"decidedAt":1e400'), NUMBER),
        decided("a list", b"[" + good + b"]", "not_object"),
        decided("a text", b'"a"', "not_object"),
        decided("escaped NUL as user", good.replace(b"u1", rb"u\u0000"), None, 200),
        decided("a million brackets", b"[" * 30_000, TOO_DEEP),
        decided("larger than a decision may be", good.ljust(33_000), "body_too_large", 413),
        decided_by_body("one mark before a body with the key", codecs.BOM_UTF8 + keyed, 200),
        decided_by_body("two marks before a body with the key", codecs.BOM_UTF8 * 2 + keyed, 401),
        answered(
            "/v1/consent: key in a body of UTF-16",
            post(keyed.decode().encode("utf-16"), path=b"/v1/consent", key=b""),
            401,
            "invalid_write_key",
        ),
    ]


def _regulations() -> list[Case]:
    def regulated(name: str, body: bytes, code: str, status: int = 400) -> Case:
        return answered(f"/v1/regulations: {name}", post(body, path=b"/v1/regulations", key=PRIVACY), status, code)

    good = _regulation("1").encode()
    return [
        regulated("64 levels of lists", _regulation("[" * 64 + "]" * 64).encode(), TOO_DEEP),
        regulated("half a surrogate pair as subject", good.replace(b'"nobody"', rb'"\ud800"'), NOT_JSON),
        regulated("subjectIds twice", good.replace(b'"x":1', b'"subjectIds":["u1"]'), "duplicate_key"),
        regulated("regulationType twice", good.replace(b'"x":1', b'"regulationType":"DELETE_ONLY"'), "duplicate_key"),
        regulated("a list", b"[" + good + b"]", "not_object"),
        answered("/v1/regulations: write key", post(good, path=b"/v1/regulations"), 401, "invalid_regulation_key"),
    ]


def _events() -> list[Case]:
    """c15t's events of decisions, and what else is a body in a body."""
    decision = b'{"type":"consent","action":"granted","userId":"u1","preferences":{"marketing":true},"x":1}'

    def said(name: str, one: bytes, *reasons: str) -> Case:
        expected = Answer(200, None, 0 if reasons else 1, reasons)
        return Case(f"consent event: {name}", post(batch(one)), (expected,), closed=False)

    webhook = _posted(b"/v1/webhook")
    return [
        said("right", decision),
        said("half a surrogate pair as user", decision.replace(b'"u1"', rb'"\ud800"'), NOT_JSON),
        said("half a surrogate pair elsewhere", decision.replace(b"1}", rb'"\ud800"}'), NOT_JSON),
        said("1e400", decision.replace(b"1}", b"1e400}"), NUMBER),
        said("63 levels of lists", decision.replace(b"1}", b"[" * 63 + b"]" * 63 + b"}")),
        said("64 levels of lists", decision.replace(b"1}", b"[" * 64 + b"]" * 64 + b"}"), TOO_DEEP),
        said("userId twice", decision.replace(b'"x"', b'"userId"'), "duplicate_key"),
        said("a purpose twice", decision.replace(b"true", b'true,"marketing":false'), "consent_event"),
        answered("webhook of 2,501 objects", webhook(b"[" + b",".join([b"{}"] * 2_501) + b"]"), 413, "too_many"),
        answered("webhook of a million objects", lambda: webhook(b"[" + b",".join([b"{}"] * 10**6) + b"]"), 413),
        answered("webhook larger than a batch", lambda: webhook(b'{"a":"' + b"a" * 600_000 + b'"}'), 413, "too_large"),
        answered("webhook of numbers", webhook(b"[1,2]"), 400, "not_object"),
        answered("webhook of 63 levels of lists", webhook(b'{"x":' + b"[" * 63 + b"]" * 63 + b"}"), 200),
        answered("webhook of 64 levels of lists", webhook(b'{"x":' + b"[" * 64 + b"]" * 64 + b"}"), 400, TOO_DEEP),
    ]


def _asking() -> list[Case]:
    """Paths that take no body; what is in the target is all there is."""

    def got(name: str, target: bytes, status: int, code: str | None = None, key: bytes = b"") -> Case:
        return answered(name, b"GET " + target + b" HTTP/1.1\r\n" + HOST + key + b"\r\n", status, code)

    unknown = "invalid_write_key"
    pixel = b"/pixel/v1/track?writeKey=web-key&event=Seen&userId="
    return [
        got("settings of a key that is no UTF-8", b"/v1/projects/%ff%fe/settings", 401, unknown),
        got("settings of a key with a surrogate", b"/projects/%ed%a0%80/settings", 401, unknown),
        got("settings of a key with a NUL", b"/v1/projects/web-key%00/settings", 401, unknown),
        got("settings of a key with a slash", b"/v1/projects/web-key%2f/settings", 401, unknown),
        got("settings of no key", b"/v1/projects//settings", 404, "not_found"),
        got("settings of two keys", b"/v1/projects/web-key/x/settings", 404, "not_found"),
        got("settings", b"/v1/projects/web-key/settings", 200),
        got("source config of no key", b"/sourceConfig", 401, unknown),
        got("source config of a key that is no UTF-8", b"/sourceConfig?writeKey=%ff", 401, unknown),
        got("source config of a key cut", b"/sourceConfig?writeKey=%", 401, unknown),
        got("source config", b"/sourceConfig?writeKey=web-key", 200),
        got("script of a key that is no UTF-8", b"/analytics.js/v1/%ff/analytics.min.js", 401, unknown),
        got("pixel of a text that is no UTF-8", pixel + b"%ff", 400, NOT_UTF8),
        got("pixel of a surrogate", pixel + b"%ed%a0%80", 400, NOT_UTF8),
        got("pixel of an overlong slash", pixel + b"%c0%af", 400, NOT_UTF8),
        got("pixel of half a pair as text", pixel + b"%5Cud800", 200),
        got("pixel of a name twice", pixel + b"a&userId=b", 400, "bad_query"),
        got("pixel of 300 names", pixel + b"a" + b"".join(b"&p%d=1" % n for n in range(300)), 400, "bad_query"),
        got("pixel of 500 levels", pixel + b"a&properties." + b"a." * 500 + b"b=1", 200),
        got("pixel of data that is no Base64", b"/v1/pixel/track?writeKey=web-key&data=!!", 400, "bad_query"),
        got("regulation of an id that is no UTF-8", b"/v1/regulations/%ff%ed%a0%80", 404, "not_found", PRIVACY),
        got("regulation of an id with a NUL", b"/v1/regulations/a%00b", 404, "not_found", PRIVACY),
        got("regulation by a write key", b"/v1/regulations/a", 401, "invalid_regulation_key", BASIC),
    ]


def cases() -> list[Case]:
    """All of them."""
    found = [case for way in WAYS for case in _of(way)]
    return [*found, *_compressed(), *_decisions(), *_regulations(), *_events(), *_asking()]

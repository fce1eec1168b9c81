"""An event without the person in it: what goes to a destination with `on_denied = "redact"` when consent was refused.

Pure. Of the event and its context what is known to be harmless stays, and every other member is left out. What the
event says in its own words (`properties`, names, the page) stays, except

- members that are named like an id, an address or a name of a person, or a list of them,
- texts with one of the event's ids, its IP address or a text of its traits in it, and texts with an e-mail address,
- the query and the fragment of URLs, which carry click ids and whatever forms put there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote_plus

import msgspec

REDACTABLE = frozenset({"track", "page", "screen"})
"""Types of events of which something is left; identify, group and alias are about the person alone."""
REDACTED = "[redacted]"
"""Stands in a name where a text was that is not to go."""
MIN_CHARS = 4
"""Shorter texts of traits, such as a country, tell nobody; a shorter id only counts where it is the whole text."""
ID_BYTES = 16
MAX_DECODINGS = 5
"""Times that a text is looked at without its percent signs: URLs carry URLs, which carry addresses."""

_MEMBERS = ("type", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "channel", "version", "consent")
_NAMES = ("event", "name", "category")
_CONTEXT: Mapping[str, frozenset[str] | None] = {
    "app": frozenset({"build", "name", "namespace", "version"}),
    "campaign": frozenset({"content", "medium", "name", "source", "term"}),
    "consent": None,
    "consentManagement": None,
    "device": frozenset({"manufacturer", "model", "type"}),
    "gpc": None,
    "library": frozenset({"name", "version"}),
    "locale": None,
    "network": frozenset({"bluetooth", "cellular", "wifi"}),
    "os": frozenset({"name", "version"}),
    "page": frozenset({"path", "referrer", "referring_domain", "title", "url"}),
    "screen": frozenset({"density", "height", "name", "width"}),
    "timezone": None,
}
"""What stays of `context`, and of its objects; None for all of it. The names are those of Segment's specification
(segment.com/docs/connections/spec/common) but for the consent objects."""
_IDS = ("userId", "anonymousId", "previousId", "groupId")
_URLS = frozenset({"url", "href", "path", "referrer", "referer", "search", "currenturl", "initialreferrer"})
"""Members, in their plain spelling, of which a query and a fragment are cut off also where no scheme says that they are
URLs."""
_begins_a_url = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE).match
_PERSONAL_NAMES = """
    address addresses aid authorization billingaddress birthday birthdate contact cookie cookies creditcard customer
    dateofbirth dclid dob emailaddresses emails externalids familyname fbc fbclid fbp fullname gaid gbraid gclid gender
    geo givenname idfa idfv ip ipv4 ipv6 lat latitude lng location login lon longitude middlename mobile msclkid
    passport password phones postalcode postcode recipient remoteaddr session shippingaddress ssn street surname token
    traits ttclid twclid user useragent visitor wbraid zip zipcode
"""
_PERSONAL_ENDS = """
    accountid advertisingid anonymousid clientid clientip contactid customerid customerip deviceid deviceip email
    emailaddress externalid firstname forwardedfor groupid ipaddr ipaddress lastname memberid personid phone phonenumber
    previousid profileid realip remoteip sessionid sourceip subscriberid userid userip username visitorid visitorip
"""
_PERSONAL = frozenset(_PERSONAL_NAMES.split())
_PERSONAL_ENDINGS = tuple(_PERSONAL_ENDS.split())
_MAIL = re.compile(r"[^\s@<>\"'(),;:=/?&]@[^\s@<>\"'(),;:=/?&]+\.[^\s@.]")
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Redactor:
    """Redacts events for one destination; `secret` is what message ids are hashed with.

    The same event gets the same new message id every time, so that a vendor still recognises what it has; at two
    destinations it has two, so that nobody can bring them together.
    """

    def __init__(self, secret: bytes, destination_id: str) -> None:
        self._hash = blake2b(digest_size=ID_BYTES, key=secret, person=b"redacted id")
        self._hash.update(destination_id.encode() + b"\n")

    def message_id(self, message_id: str) -> str:
        """What stands in the place of a message id: 32 hexadecimal digits."""
        state = self._hash.copy()
        state.update(message_id.encode("utf-8", "surrogatepass"))
        return state.hexdigest()

    def raw(self, event: bytes, message_id: str) -> bytes:
        """An event as JSON, redacted, with the message id that `message_id` made of its own."""
        return _encode({**redacted(_decode(event)), "messageId": message_id})


def redacted(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event without its message id and without the person; what is given is not changed."""
    scrub = _Scrub(event)
    kept: dict[str, Any] = {name: event[name] for name in _MEMBERS if name in event}
    kept.update({name: scrub.name(event[name]) for name in _NAMES if isinstance(event.get(name), str)})
    context = event.get("context")
    if isinstance(context, Mapping):
        kept["context"] = _context(context, scrub)
    properties = event.get("properties")
    if isinstance(properties, Mapping):
        kept["properties"] = scrub.members(properties)
    return {name: value for name, value in kept.items() if name in _NAMES or _is_plain(name, value, scrub)}


def _is_plain(name: str, value: Any, scrub: _Scrub) -> bool:
    """Whether a member that stays whole says nothing of the person."""
    return name in ("context", "properties") or not scrub.is_told_anywhere(value)


def _context(context: Mapping[str, Any], scrub: _Scrub) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, members in _CONTEXT.items():
        value = context.get(name)
        if members is None:
            if value is not None and not scrub.is_told_anywhere(value):
                kept[name] = value
        elif isinstance(value, Mapping) and (inner := scrub.members(value, only=members)):
            kept[name] = inner
    return kept


class _Scrub:
    """Finds the texts of one person."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        told = {text for text in _texts_of_person(event) if text}
        self._short = frozenset(text for text in told if len(text) < MIN_CHARS)
        self._long = tuple(sorted((text for text in told if len(text) >= MIN_CHARS), key=len, reverse=True))
        self._by_length: dict[int, set[str]] = {}
        for text in self._long:
            self._by_length.setdefault(len(text), set()).add(text)

    def name(self, name: str) -> str:
        """A name with the texts of the person taken out."""
        name = _without_query(name)
        if not self.is_told(name):
            return name
        folded = fold(name)
        if found := "|".join([re.escape(text) for text in self._long if text in folded]):
            name = re.sub(found, REDACTED, name, flags=re.IGNORECASE)
        return REDACTED if self.is_told(name) else name

    def is_told(self, text: str) -> bool:
        """Whether a text tells who it is."""
        folded = fold(text)
        for _ in range(MAX_DECODINGS):
            if self._tells(folded):
                return True
            decoded = fold(unquote_plus(folded)) if "%" in folded or "+" in folded else folded
            if decoded == folded:
                return False
            folded = decoded
        return self._tells(folded)

    def _tells(self, folded: str) -> bool:
        if folded in self._short or self._tells_long(folded):
            return True
        return "@" in folded and _MAIL.search(folded) is not None

    def _tells_long(self, folded: str) -> bool:
        if len(self._long) <= len(folded) * len(self._by_length):
            return any(text in folded for text in self._long)
        # Many texts in a short one: an event may have thousands of each, and they must not be multiplied.
        return any(
            folded[at : at + length] in texts
            for length, texts in self._by_length.items()
            for at in range(len(folded) - length + 1)
        )

    def is_told_anywhere(self, value: Any) -> bool:
        """Whether a value, its members and their names, has such a text."""
        if isinstance(value, Mapping):
            return any(self.is_told(name) or self.is_told_anywhere(inner) for name, inner in value.items())
        if isinstance(value, list):
            return any(map(self.is_told_anywhere, value))
        return (text := _text(value)) is not None and self.is_told(text)

    def members(self, value: Mapping[str, Any], *, only: frozenset[str] | None = None) -> dict[str, Any]:
        """An object without what is personal in it, at any depth; `only` names the members that can stay."""
        kept = {}
        for name, inner in value.items():
            if only is None and is_personal(name, of_many=isinstance(inner, list)):
                continue
            if (only is not None and name not in only) or self.is_told(name):
                continue
            if isinstance(inner, str) and plain(name) in _URLS:
                inner = _before_query(inner)
            if (clean := self.value(inner)) is not _NOTHING:
                kept[name] = clean
        return kept

    def value(self, value: Any) -> Any:
        """A value without what is personal in it, or `_NOTHING`."""
        if isinstance(value, Mapping):
            return self.members(value)
        if isinstance(value, list):
            return [clean for one in value if (clean := self.value(one)) is not _NOTHING]
        text = _text(value)
        if text is not None and self.is_told(text):
            return _NOTHING
        return _without_query(value) if isinstance(value, str) else value


_NOTHING = object()


def _without_query(text: str) -> str:
    """A URL up to its query; any other text as it is."""
    return _before_query(text) if _begins_a_url(text) else text


def _before_query(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0]


def fold(text: str) -> str:
    """A text in the form that is compared: in lower case, and its letters composed alike (Unicode, 3.13, D146)."""
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


def plain(name: str) -> str:
    """A member's name in the spelling that is compared: `user_id`, `userId` and `User ID` are one."""
    return "".join(filter(str.isalnum, fold(name)))


def is_personal(name: str, *, of_many: bool = False) -> bool:
    """Whether a member of this name is about a person, whatever is in it; `of_many` for a list of such values."""
    name = plain(name)
    one = name.rstrip("0123456789")  # the second phone, the first line of an address
    return _is_personal(name) or _is_personal(one) or (of_many and _is_personal(one.removesuffix("s")))


def _is_personal(name: str) -> bool:
    return name in _PERSONAL or name.endswith(_PERSONAL_ENDINGS)


def _texts_of_person(event: Mapping[str, Any]) -> Iterator[str]:
    """What must not be found in the rest of the event, folded: ids at any length, other texts from `MIN_CHARS` on."""
    yield from _folded(event.get(name) for name in (*_IDS, "messageId"))
    context = event.get("context")
    found: list[Any] = [event.get("traits"), event.get("integrations")]
    if isinstance(context, Mapping):
        yield from _folded(context.get(name) for name in (*_IDS, "ip", "sessionId"))
        found += [context.get(name) for name in ("traits", "userAgent", "location", "externalIds")]
        device = context.get("device")
        if isinstance(device, Mapping):
            found += [value for name, value in device.items() if name not in (_CONTEXT["device"] or ())]
    yield from (text for text in _folded(_leaves(found)) if len(text) >= MIN_CHARS)


def _folded(values: Iterable[Any]) -> Iterator[str]:
    return (fold(text).strip() for value in values if (text := _text(value)) is not None)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _text(value: Any) -> str | None:
    """A text or a number as text; 7.0, as some languages write every number, is 7."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None

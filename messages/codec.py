"""How messages become bytes: msgpack inside the pickle that Thespian sends.

Every message is a frozen dataclass below `Message`. Its pickle holds a class name and a msgpack map and nothing
else, so a reader knows what a message can carry, unknown fields of a newer sender are ignored, and missing ones take
their defaults. Decoding checks the types (msgspec), and raises `BadMessage` for what does not fit.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import msgpack
import msgspec

from sluicegate.errors import SluicegateError

M = TypeVar("M", bound="type[Message]")

_TYPES: dict[str, type[Message]] = {}


class BadMessage(SluicegateError):
    """Bytes that are not one of our messages, or a message that no bytes can hold."""


class Message:
    """Base of all messages; its text is the class name alone, because Thespian puts it into logs."""

    __slots__ = ()
    code: ClassVar[str]

    def __str__(self) -> str:
        return type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return decode, (encode(self),)


def message(cls: M) -> M:
    """Class decorator that registers a message under its class name."""
    if cls.__name__ in _TYPES:
        raise TypeError(f"two messages are named {cls.__name__}")
    cls.code = cls.__name__
    _TYPES[cls.__name__] = cls
    return cls


def encode(message: Message) -> bytes:
    """Message to msgpack bytes: `[name, {field: value}]`; raises `BadMessage` for a text that has no UTF-8."""
    try:
        return msgpack.packb([message.code, msgspec.to_builtins(message, builtin_types=(bytes,))])  # type: ignore[no-any-return]
    except UnicodeEncodeError:
        raise BadMessage(f"{message}: half a surrogate pair is no text") from None


def check(message: Message) -> None:
    """Raise `BadMessage` for a message that nobody would read: a field has another type than it is declared with."""
    try:
        msgspec.convert(msgspec.to_builtins(message, builtin_types=(bytes,)), type(message))
    except msgspec.ValidationError as error:
        raise BadMessage(f"{message}: {error}") from None


def decode(data: bytes) -> Message:
    """The message in these bytes; raises `BadMessage` when they hold none."""
    try:
        name, fields = msgpack.unpackb(data)
        kind = _TYPES[name]
        return msgspec.convert(fields, kind)
    except Exception as error:
        raise BadMessage(f"not a message of ours: {type(error).__name__}") from error

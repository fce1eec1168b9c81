"""What a client wants to become of addresses: `X-IP-Policy`, as @jitsu/js sends it (`privacy.ipPolicy`)."""

from __future__ import annotations

import ipaddress
from enum import Enum

import msgspec
from msgspec import Raw

from sluicegate.event import EventBatch

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.encode
KEPT_IPV6_BITS = 48
"""What is usually assigned to a site; the rest tells households and devices apart."""


class IpPolicy(Enum):
    """What is done to `context.ip`."""

    KEEP = b"keep"
    REMOVE = b"remove"
    STRIP_LAST_OCTET = b"striplastoctet"

    @classmethod
    def of(cls, value: bytes) -> IpPolicy:
        """The policy of a header; whatever is not known removes the address."""
        try:
            return cls(value.strip().lower())
        except ValueError:
            return cls.REMOVE


def apply_ip_policy(batch: EventBatch, policy: IpPolicy) -> None:
    """Change `context.ip` of accepted events, before they are stored; everything else keeps its bytes."""
    if policy is IpPolicy.KEEP:
        return
    for index, event in enumerate(batch.events):
        if b"ip" not in event and b"\\u" not in event:
            continue
        changed = _changed(event, policy)
        batch.n_bytes += len(changed) - len(event)
        batch.events[index] = changed


def _changed(event: bytes, policy: IpPolicy) -> bytes:
    members = _MEMBERS.decode(event)
    if "context" not in members or not bytes(members["context"]).startswith(b"{"):
        return event
    context = _MEMBERS.decode(members["context"])
    address = context.pop("ip", None)
    if address is None:
        return event
    stripped = stripped_address(_ANY.decode(address)) if policy is IpPolicy.STRIP_LAST_OCTET else None
    if stripped is not None:
        context["ip"] = Raw(_encode(stripped))
    members["context"] = Raw(_encode(context))
    return _encode(members)


def stripped_address(text: object) -> str | None:
    """An IPv4 address with 0 as its last octet, an IPv6 address with its first 48 bits; None for all else."""
    try:
        address = ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if address is None:
        return None
    kept_bits = 24 if address.version == 4 else KEPT_IPV6_BITS
    return str(ipaddress.ip_network((int(address).to_bytes(address.max_prefixlen // 8), kept_bits), strict=False)[0])

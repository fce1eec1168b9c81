"""Which addresses outgoing connections may have: public ones, and those private ones that the configuration allows.

Whoever can write an address into a configuration, or answer for its name, could otherwise have this machine send
requests to what listens inside its network. Pure rules: nothing here resolves a name or opens a socket.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_SPECIAL = tuple(
    (ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("169.254.0.0/16", "link-local"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "reserved"),
        ("3fff::/20", "reserved"),
    )
)
"""IANA's registries of special-purpose addresses, RFC 6890; 2001::/23 has Teredo, which hides an IPv4 address."""
_GLOBAL_V6 = ip_network("2000::/3")
_MAPPED = ip_network("::ffff:0:0/96")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
_6TO4 = ip_network("2002::/16")  # RFC 3056
_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure, DigitalOcean, OpenStack
            "169.254.170.2",  # AWS: credentials of containers
            "169.254.170.23",
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",
            "fd20:ce::254",  # Google
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "168.63.129.16",  # Azure, though the address is a public one
        ),
    )
)
"""Where clouds hand out a machine's credentials; only an entry for the one address allows it, never a network."""
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_METADATA_NAMES = ("metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal")
_HOST_NAME = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_NUMBERS = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


class AddressRefused(OSError):
    """A connection would end at a private address that the configuration does not allow; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Network:
    """The private targets that may be reached: addresses, networks (`10.1.0.0/16`) and host names, checked before."""

    allow: tuple[str, ...] = ()

    def check(self, host: str, address: str) -> None:
        """Raise `AddressRefused` unless a connection for this host may end at this address."""
        kind = self.refusal(host, parse_address(address))
        if kind is not None:
            shown = host if host == address else f"{host} is {address}, which"
            entry = address.partition("%")[0]
            raise AddressRefused(
                f'{shown} is {kind}: if that is meant, add it to the configuration: [network] allow = ["{entry}"]'
            )

    def refusal(self, host: str, address: Address) -> str | None:
        """What kind of private address this is, None when it is public or allowed."""
        real = embedded(address) or address
        if {address, real} & _METADATA:
            return None if self._names_exactly({address, real}) else "a cloud's metadata service"
        kind = kind_of(real)
        if kind is None or normal_name(host) in map(normal_name, self.allow):
            return None
        return None if any(_covers(entry, one) for entry in self.allow for one in (address, real)) else kind

    def refusal_of_host(self, host: str) -> str | None:
        """What is wrong with a host as written, as far as that can be said without asking DNS; None for nothing."""
        address = literal(host)
        if address is not None:
            return self.refusal(host, address)
        name = normal_name(host)
        if name in map(normal_name, self.allow):
            return None
        if name in _LOCAL_NAMES or name.endswith(".localhost"):
            return None if any(_covers(entry, ip_address("127.0.0.1")) for entry in self.allow) else "loopback"
        return "a cloud's metadata service" if name in _METADATA_NAMES else None

    def _names_exactly(self, addresses: set[Address]) -> bool:
        networks = [network for entry in self.allow if (network := _network(entry)) is not None]
        return any(network.num_addresses == 1 and network.network_address in addresses for network in networks)


def kind_of(address: Address) -> str | None:
    """What is special about an address, None for a public one."""
    for network, name in _SPECIAL:
        if address.version == network.version and address in network:
            return name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return "reserved"
    return None


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for (mapped, NAT64, 6to4), None for any other."""
    if not isinstance(address, IPv6Address):
        return None
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


def literal(host: str) -> Address | None:
    """The address that a host is by itself, in every form that the C library takes (`127.1`, `0x7f000001`); or None."""
    try:
        return parse_address(host)
    except ValueError:
        pass
    if _NUMBERS.fullmatch(host):
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            pass
    return None


def parse_address(text: str) -> Address:
    """An address, without the interface that `fe80::1%eth0` names; raises `ValueError`."""
    return ip_address(text.strip("[]").partition("%")[0])


def normal_name(host: str) -> str:
    """A host name for comparing."""
    return host.lower().rstrip(".")


def wrong_entry(entry: str) -> str | None:
    """Why this cannot stand in the list of what is allowed, with what to write instead; None when it can."""
    if _network(entry) is not None:
        return None
    if "/" in entry:
        try:
            return f'"{entry}" is no network: write "{ip_network(entry, strict=False)}"'
        except ValueError:
            return f'"{entry}" is no network: write one like "10.1.0.0/16", and a host without its scheme and path'
    if not _HOST_NAME.fullmatch(entry.rstrip(".")):
        return f'"{entry}" is no address, network or host name: write one like "10.1.0.0/16" or "receiver.internal"'
    return None


def _covers(entry: str, address: Address) -> bool:
    network = _network(entry)
    return network is not None and network.version == address.version and address in network


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip("[]"))
    except ValueError:
        return None

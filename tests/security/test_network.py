from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.network import AddressRefused, Network, kind_of, literal, wrong_entry

FORBIDDEN_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
]
PUBLIC = ("93.184.216.34", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.128.0.1", "2606:4700::1111", "2a00:1450::1")


def _inside(network: str) -> st.SearchStrategy[ipaddress.IPv4Address]:
    return st.ip_addresses(v=4, network=network).map(lambda address: ipaddress.IPv4Address(int(address)))


def refused(host: str, address: str | None = None, *, allow: tuple[str, ...] = ()) -> bool:
    try:
        Network(allow).check(host, host if address is None else address)
    except AddressRefused:
        return True
    return False


@given(st.sampled_from(FORBIDDEN_V4).flatmap(_inside))
def test_private_addresses_are_refused_in_every_form_that_reaches_them(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = (
        str(address),
        f"::ffff:{address}",
        str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + number)),
        str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80))),
        f"::{address}",
    )

    assert [form for form in forms if not refused("vendor.example", form)] == []


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "::",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "ff02::1",
        "2001:0:5ef5:79fd::1",
        "2001:db8::1",
        "64:ff9b:1::a00:1",
        "192.0.0.192",
        "198.18.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "fd00:ec2::254",
        "100.100.100.200",
    ],
)
def test_special_addresses_are_refused(address: str) -> None:
    assert refused("vendor.example", address)


@pytest.mark.parametrize(
    "address", [*PUBLIC, *(f"64:ff9b::{a}" for a in PUBLIC[:2]), *(f"::ffff:{a}" for a in PUBLIC[:2])]
)
def test_public_addresses_are_taken(address: str) -> None:
    assert not refused("vendor.example", address)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_refused(address: ipaddress.IPv4Address) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert kind_of(address) is not None
    if address.version == 4 and not address.is_global:
        assert kind_of(address) is not None


@given(st.ip_addresses(v=4))
def test_numbers_in_every_notation_are_known_as_addresses(address: ipaddress.IPv4Address) -> None:
    first, *rest = str(address).split(".")
    number = int(address)

    forms = [str(number), hex(number), oct(number).replace("o", ""), f"{first}.{number & 0xFFFFFF}"]
    forms.append(".".join([hex(int(first)), *rest]))

    assert {literal(form) for form in forms} == {address}


@pytest.mark.parametrize(
    "host", ["vendor.example", "10.example", "face.cafe", "1.2.3.4.5", "127.0.0.1.nip.example", ""]
)
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    ("allow", "host", "address"),
    [
        ("10.1.0.0/16", "crm.example", "10.1.2.3"),
        ("10.1.2.3", "crm.example", "::ffff:10.1.2.3"),
        ("receiver.internal", "Receiver.Internal.", "10.9.9.9"),
        ("::1", "localhost", "::1"),
        ("fd00::/8", "crm.example", "fd12::1"),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254"),
    ],
)
def test_what_the_list_names_is_taken(allow: str, host: str, address: str) -> None:
    assert refused(host, address)
    assert not refused(host, address, allow=(allow,))


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("10.1.0.0/16", "10.2.0.1"),
        ("other.internal", "10.1.0.1"),
        ("0.0.0.0/0", "169.254.169.254"),
        ("169.254.0.0/16", "::ffff:169.254.169.254"),
        ("crm.example", "169.254.169.254"),
        ("::/0", "fd00:ec2::254"),
        ("127.0.0.1", "127.0.0.2"),
    ],
)
def test_what_the_list_does_not_name_stays_refused(allow: str, address: str) -> None:
    assert refused("crm.example", address, allow=(allow,))


def test_refusal_says_what_to_write() -> None:
    with pytest.raises(AddressRefused, match=r'crm.example is 10.0.0.5, which is private.*allow = \["10.0.0.5"\]'):
        Network().check("crm.example", "10.0.0.5")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.1", "0x7f.1", "[::1]", "metadata"])
def test_hosts_that_are_private_as_written_are_known_without_dns(host: str) -> None:
    assert Network().refusal_of_host(host) is not None


@pytest.mark.parametrize("host", ["vendor.example", "8.8.8.8", "2130706433.example"])
def test_other_hosts_are_left_to_the_connection(host: str) -> None:
    assert Network().refusal_of_host(host) is None


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "127.0.0.1", "::1", "[::1]", "fd00::/8", "receiver.internal", "db_1"])
def test_right_entries_are_taken(entry: str) -> None:
    assert wrong_entry(entry) is None


@pytest.mark.parametrize(
    "entry", ["10.1.2.3/8", "http://receiver", "*", "*.internal", "host:80", "", "a b", "10.0.0.0/33"]
)
def test_wrong_entries_are_named_with_what_to_write(entry: str) -> None:
    text = wrong_entry(entry)

    assert text is not None
    assert ": write " in text

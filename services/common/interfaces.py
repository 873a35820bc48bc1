"""Reads the addresses of this network namespace from the kernel, without rights and without programs."""

import fcntl
import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv6Address
from pathlib import Path

_LOOPBACK = "lo"
_SIOCGIFADDR = 0x8915  # netdevice(7): the IPv4 address of an interface
_IPV6_TABLE = Path("/proc/net/if_inet6")
_GLOBAL_SCOPE = "00"  # link-local addresses lead to no other node


def read_addresses(ipv6_table: Path = _IPV6_TABLE) -> dict[str, list[str]]:
    """Return, for each interface, its IPv4 address and its IPv6 addresses that are valid beyond the link."""
    found: dict[str, list[str]] = {name: [] for _, name in socket.if_nameindex()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        for name in found:
            found[name] += _ipv4(kernel, name)
    for name, address in _ipv6(ipv6_table):
        found.setdefault(name, []).append(address)
    return found


def _ipv4(kernel: socket.socket, name: str) -> list[str]:
    try:
        answer = fcntl.ioctl(kernel, _SIOCGIFADDR, struct.pack("256s", name.encode()))
    except OSError:  # the interface has no IPv4 address, or is gone since it was listed
        return []
    return [socket.inet_ntoa(answer[20:24])]


def _ipv6(table: Path) -> list[tuple[str, str]]:
    if not table.exists():  # a kernel without IPv6
        return []
    rows = [line.split() for line in table.read_text().splitlines()]
    return [(row[5], str(IPv6Address(bytes.fromhex(row[0])))) for row in rows if row[3] == _GLOBAL_SCOPE]


def beyond_loopback(addresses: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return those of the interfaces that lead somewhere: with an address, and not the loopback."""
    return {name: have for name, have in addresses.items() if name != _LOOPBACK and have}

import pytest

from services.common.errors import Unavailable
from services.vpn.direct import DirectTunnel
from services.vpn.interfaces import read_addresses


def test_an_interface_with_an_address_is_a_network() -> None:
    tunnel = DirectTunnel(lambda: {"lo": ["127.0.0.1"], "eth0": ["172.18.0.2"]})

    assert tunnel.check() == "direct: eth0 172.18.0.2"


@pytest.mark.parametrize("addresses", [{}, {"lo": ["127.0.0.1"]}, {"lo": ["127.0.0.1"], "eth0": []}])
def test_the_loopback_alone_is_no_network(addresses: dict[str, list[str]]) -> None:
    tunnel = DirectTunnel(lambda: addresses)

    with pytest.raises(Unavailable, match="no interface but the loopback has an address — connect"):
        tunnel.check()


def test_the_kernel_names_the_loopback_and_its_address() -> None:
    assert read_addresses()["lo"] == ["127.0.0.1"]


def test_ipv6_addresses_count_unless_they_end_at_the_link(tmp_path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "20010db8000000000000000000000001 02 40 00 80     mesh0\n"
        "fe800000000000000042acfffe110002 02 40 20 80     mesh0\n"
    )

    assert read_addresses(table)["mesh0"] == ["2001:db8::1"]


def test_a_kernel_without_ipv6_has_its_ipv4_addresses(tmp_path) -> None:
    assert read_addresses(tmp_path / "missing")["lo"] == ["127.0.0.1"]

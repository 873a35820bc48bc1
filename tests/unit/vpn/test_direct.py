import pytest

from services.common.errors import Unavailable
from services.vpn.direct import DirectTunnel


def test_an_interface_with_an_address_is_a_network() -> None:
    tunnel = DirectTunnel(lambda: {"lo": ["127.0.0.1"], "eth0": ["172.18.0.2"]})

    assert tunnel.check() == "direct: eth0 172.18.0.2"


@pytest.mark.parametrize("addresses", [{}, {"lo": ["127.0.0.1"]}, {"lo": ["127.0.0.1"], "eth0": []}])
def test_the_loopback_alone_is_no_network(addresses: dict[str, list[str]]) -> None:
    tunnel = DirectTunnel(lambda: addresses)

    with pytest.raises(Unavailable, match="no interface but the loopback has an address — connect"):
        tunnel.check()

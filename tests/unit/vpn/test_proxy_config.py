"""What HAProxy is told: whose endpoints, in which order."""

import re
from typing import Any

from services.vpn.proxy_config import render
from tests.unit.vpn.members import member


def servers(backend: str, *, own_endpoint: bool = False, **changes: Any) -> list[str]:
    """Return name and address of a backend's servers, the most wanted first."""
    text = render(member(**changes), own_endpoint=own_endpoint)
    (section,) = re.findall(rf"^(?:backend|listen) {backend}\n((?:  .*\n)+)", text, re.MULTILINE)
    return re.findall(r"^  server (\S+ \S+)", section, re.MULTILINE)


def test_where_the_seed_s_is_the_only_endpoint_nobody_asks_it_whether_it_is_ready() -> None:
    assert servers("http") == ["seed 10.77.0.1:8000"]
    assert servers("grpc") == ["seed 10.77.0.1:8001"]
    assert "check inter" not in render(member(), own_endpoint=False)


def test_the_health_page_is_the_seed_s() -> None:
    assert servers("health", own_endpoint=True, endpoint_nodes=["10.77.0.9"]) == ["seed 10.77.0.1:8080"]


def test_a_node_s_own_endpoint_comes_first_then_the_seed_s_then_those_of_others() -> None:
    others = ["10.77.0.9", "10.77.0.5", "10.77.0.7"]  # as the authority says it, with this node among them

    for kind, seed, port in (("http", 8000, 18000), ("grpc", 8001, 18001)):
        wanted = [
            f"own 127.0.0.1:{port}",
            f"seed 10.77.0.1:{seed}",
            f"member-10.77.0.9 10.77.0.9:{port}",
            f"member-10.77.0.7 10.77.0.7:{port}",
        ]
        assert servers(f"{kind}-ready", own_endpoint=True, endpoint_nodes=others) == wanted
        assert servers(f"{kind}-any", own_endpoint=True, endpoint_nodes=others) == wanted
        assert servers(f"{kind}-ready", endpoint_nodes=others) == wanted[1:]


def test_grpc_goes_where_the_same_endpoint_is_ready() -> None:
    text = render(member(endpoint_nodes=["10.77.0.9"]), own_endpoint=False)

    assert re.findall(r"server (\S+) \S+ track http-ready/(\S+)", text) == [
        ("seed", "seed"),
        ("member-10.77.0.9", "member-10.77.0.9"),
    ]

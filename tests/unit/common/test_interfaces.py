"""What the kernel says about the addresses of this machine."""

from pathlib import Path

from services.common.interfaces import beyond_loopback, read_addresses


def test_the_kernel_names_the_loopback_and_its_address() -> None:
    assert read_addresses()["lo"] == ["127.0.0.1"]


def test_ipv6_addresses_count_unless_they_end_at_the_link(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "20010db8000000000000000000000001 02 40 00 80     mesh0\n"
        "fe800000000000000042acfffe110002 02 40 20 80     mesh0\n"
    )

    assert read_addresses(table)["mesh0"] == ["2001:db8::1"]


def test_a_kernel_without_ipv6_has_its_ipv4_addresses(tmp_path: Path) -> None:
    assert read_addresses(tmp_path / "missing")["lo"] == ["127.0.0.1"]


def test_an_interface_leads_somewhere_if_it_has_an_address_and_is_no_loopback() -> None:
    addresses = {"lo": ["127.0.0.1"], "eth0": [], "calyx0": ["10.77.0.2"]}

    assert beyond_loopback(addresses) == {"calyx0": ["10.77.0.2"]}

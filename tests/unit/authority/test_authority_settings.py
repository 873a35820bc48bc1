"""What the authority can be told, and that a password stays masked."""

import pytest

from services.common.errors import InvalidSetting
from services.common.settings import AuthoritySettings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in AuthoritySettings.variables().values():
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("address", ["seed.example", "192.0.2.1", "2001:db8::1", "seed"])
def test_names_and_addresses_are_understood(address: str) -> None:
    assert AuthoritySettings.load(public_address=address).public_address == address


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CALYX_PUBLIC_ADDRESS", "seed.example:7443"),
        ("CALYX_PUBLIC_ADDRESS", "https://seed.example"),
        ("CALYX_POOL_NAME", "my pool"),
        ("CALYX_MESH_NETWORK", "10.77.0.1/16"),
        ("CALYX_MESH_NETWORK", "10.77.0.0/31"),
        ("CALYX_MESH_NETWORK", "fd00::/64"),
        ("CALYX_CERTIFICATE_LIFETIME", "14s"),
        ("CALYX_CERTIFICATE_LIFETIME", "24"),
        ("CALYX_CA_LIFETIME", "59s"),
        ("CALYX_CA_LIFETIME", "soon"),
        ("CALYX_LEASE_SECONDS", "1"),
        ("CALYX_DATABASE_URL", "mysql://u:secret-word@h/d"),
    ],
)
def test_a_wrong_value_names_its_setting(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(InvalidSetting, match=f"setting {variable}: ") as caught:
        AuthoritySettings.load()
    assert "secret-word" not in str(caught.value)


def test_lifetimes_are_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_CA_LIFETIME", "60s")
    monkeypatch.setenv("CALYX_CERTIFICATE_LIFETIME", "15s")
    settings = AuthoritySettings.load()

    assert (settings.ca_lifetime, settings.certificate_lifetime) == (60, 15)


def test_no_certificate_may_outlive_its_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_CA_LIFETIME", "60m")
    monkeypatch.setenv("CALYX_CERTIFICATE_LIFETIME", "61m")

    with pytest.raises(
        InvalidSetting, match=r"^CALYX_CERTIFICATE_LIFETIME is longer than CALYX_CA_LIFETIME — "
    ):
        AuthoritySettings.load()


def test_the_database_s_password_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_DATABASE_URL", "postgresql+psycopg://u:secret-word@h/d")
    settings = AuthoritySettings.load()

    assert settings.describe()["CALYX_DATABASE_URL"] == "********"
    assert "secret-word" not in repr(settings)

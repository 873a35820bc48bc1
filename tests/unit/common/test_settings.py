"""Where values come from, what a wrong one is told, and that secrets stay masked."""

import os
from pathlib import Path

import pytest

from services.common.errors import InvalidSetting
from services.common.settings import (
    DEFAULT_MODEL,
    SECTIONS,
    EndpointSettings,
    HealthSettings,
    LoggingSettings,
    ServerSettings,
    StackSettings,
    SwarmSettings,
    VpnSettings,
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults must not depend on what the developer's shell has set."""
    for section in SECTIONS:
        for variable in section.variables().values():
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(f"{variable}_FILE", raising=False)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_loads_with_nothing_set(section):
    section.load()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_says_what_it_means(section):
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name} has no docstring below it"


def test_no_variable_belongs_to_two_settings():
    variables = [variable for section in SECTIONS for variable in section.variables().values()]
    assert len(variables) == len(set(variables))


def test_the_environment_sets_a_value(monkeypatch):
    monkeypatch.setenv("CALYX_ENDPOINT_LISTEN_PORT", "9000")
    assert EndpointSettings.load().endpoint_listen_port == 9000


def test_an_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("CALYX_ENDPOINT_LISTEN_PORT", "9000")
    assert EndpointSettings.load(endpoint_listen_port=9001).endpoint_listen_port == 9001


@pytest.mark.parametrize("section", SECTIONS)
def test_empty_variables_count_as_unset(monkeypatch, section):
    defaults = section.load()
    for variable in section.variables().values():
        monkeypatch.setenv(variable, "")
        monkeypatch.setenv(f"{variable}_FILE", "")
    assert section.load() == defaults


def test_a_file_sets_a_value(monkeypatch, tmp_path):
    path = tmp_path / "peers"
    path.write_text("\n/ip4/10.0.0.1/tcp/1/p2p/A\n/ip4/10.0.0.2/tcp/1/p2p/B\n")
    monkeypatch.setenv("CALYX_INITIAL_PEERS_FILE", str(path))
    assert SwarmSettings.load().initial_peers == ["/ip4/10.0.0.1/tcp/1/p2p/A", "/ip4/10.0.0.2/tcp/1/p2p/B"]


def test_a_file_sets_a_secret_of_another_prefix(monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_text("hf_secret\n")
    monkeypatch.setenv("HF_TOKEN_FILE", str(path))
    token = SwarmSettings.load().hf_token
    assert token is not None
    assert token.get_secret_value() == "hf_secret"


def test_the_environment_wins_over_a_file(monkeypatch, tmp_path):
    path = tmp_path / "model"
    path.write_text("owner/from-the-file")
    monkeypatch.setenv("CALYX_MODEL_FILE", str(path))
    assert SwarmSettings.load().model == "owner/from-the-file"
    monkeypatch.setenv("CALYX_MODEL", "owner/from-the-environment")
    assert SwarmSettings.load().model == "owner/from-the-environment"
    monkeypatch.setenv("CALYX_MODEL", "")
    assert SwarmSettings.load().model == "owner/from-the-file", "an empty variable is no value"


def test_an_empty_file_counts_as_unset(monkeypatch, tmp_path):
    path = tmp_path / "empty"
    path.write_text("\n")
    monkeypatch.setenv("CALYX_MODEL_FILE", str(path))
    monkeypatch.setenv("HF_TOKEN_FILE", str(path))
    assert SwarmSettings.load().model == DEFAULT_MODEL
    assert SwarmSettings.load().hf_token is None


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setenv("CALYX_INITIAL_PEERS_FILE", "/nowhere/peers")
    with pytest.raises(InvalidSetting) as caught:
        SwarmSettings.load()
    assert str(caught.value) == (
        "reading CALYX_INITIAL_PEERS_FILE: No such file or directory: /nowhere/peers"
        " — create the file or correct the path"
    )


def test_a_file_that_is_not_text_is_named(monkeypatch, tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("HF_TOKEN_FILE", str(path))
    with pytest.raises(InvalidSetting, match="reading HF_TOKEN_FILE"):
        SwarmSettings.load()


def test_a_wrong_value_names_variable_problem_value_and_meaning(monkeypatch):
    monkeypatch.setenv("CALYX_LOG_LEVEL", "LOUD")
    with pytest.raises(InvalidSetting) as caught:
        LoggingSettings.load()
    assert str(caught.value).startswith("setting CALYX_LOG_LEVEL: Input should be 'DEBUG'")
    assert "got 'LOUD'" in str(caught.value)
    assert "The least severe event that is written" in str(caught.value)


def test_a_wrong_value_of_a_variable_of_another_prefix_says_its_meaning_too(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "maybe")
    with pytest.raises(InvalidSetting, match=r"setting HF_HUB_OFFLINE: .* — 1 uses only files"):
        SwarmSettings.load()


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (ServerSettings, {"CALYX_DEVICE": "tpu"}),
        (ServerSettings, {"CALYX_NUM_BLOCKS": "0"}),
        (ServerSettings, {"CALYX_BLOCK_INDICES": "5:2"}),
        (ServerSettings, {"CALYX_BLOCK_INDICES": "2:2"}),
        (ServerSettings, {"CALYX_BLOCK_INDICES": "all"}),
        (ServerSettings, {"CALYX_THROUGHPUT": "nan"}),
        (ServerSettings, {"CALYX_PUBLIC_NAME": "x" * 61}),
        (ServerSettings, {"CALYX_NUM_BLOCKS": "1", "CALYX_BLOCK_INDICES": "0:1"}),
        (SwarmSettings, {"CALYX_DHT_PREFIX": "has.dot"}),
        (SwarmSettings, {"CALYX_DHT_PREFIX": "has space"}),
        (SwarmSettings, {"CALYX_CACHE_LIMIT": "much"}),
        (EndpointSettings, {"CALYX_ENDPOINT_LISTEN_PORT": "65536"}),
        (EndpointSettings, {"CALYX_MAX_RUNNING": "0"}),
        (HealthSettings, {"CALYX_HEALTH_UPDATE_PERIOD": "0"}),
        (HealthSettings, {"CALYX_HEALTH_UPDATE_PERIOD": "inf"}),
        (StackSettings, {"CALYX_SERVER_MEMORY": "lots"}),
        (VpnSettings, {"CALYX_VPN_MODE": "teleport"}),
        (LoggingSettings, {"CALYX_LOG_FORMAT": "xml"}),
    ],
)
def test_values_that_can_never_work_are_refused(monkeypatch, section, values):
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting) as caught:
        section.load()
    assert all(variable in str(caught.value) for variable in values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a b", ["a", "b"]), ("a,b", ["a", "b"]), (" a ,\n b ", ["a", "b"]), (" , ", []), ("[a]", ["[a]"])],
)
def test_lists_are_words_between_commas_or_white_space(monkeypatch, text, words):
    monkeypatch.setenv("CALYX_INITIAL_PEERS", text)
    assert SwarmSettings.load().initial_peers == words


def test_sizes_have_units(monkeypatch):
    monkeypatch.setenv("CALYX_CACHE_LIMIT", "5GiB")
    assert SwarmSettings.load().cache_limit == 5 * 1024**3


def test_secrets_are_masked_wherever_a_section_is_printed(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    settings = SwarmSettings.load()
    assert settings.describe()["HF_TOKEN"] == "********"
    for printed in (repr(settings), str(settings), str(settings.describe())):
        assert "hf_secret" not in printed


def test_a_section_describes_every_setting_by_its_variable():
    described = HealthSettings.load(health_update_period=2.5).describe()
    assert described == {
        "CALYX_HEALTH_CERTIFICATES_FILE": "/node/certificates.json",
        "CALYX_HEALTH_CREDITS_DIR": "None",
        "CALYX_HEALTH_CREDITS_PERIOD": "600",
        "CALYX_HEALTH_ENDPOINT_METRICS": "http://127.0.0.1:8000/metrics",
        "CALYX_HEALTH_HISTORY_FILE": "/history/health.sqlite3",
        "CALYX_HEALTH_HOST": "0.0.0.0",
        "CALYX_HEALTH_LISTEN_PORT": "8080",
        "CALYX_HEALTH_UPDATE_PERIOD": "2.5",
    }


def test_a_loaded_section_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        HealthSettings.load().health_update_period = 1.0


def test_settings_are_read_again_at_each_load(monkeypatch, tmp_path: Path):
    path = tmp_path / "peers"
    monkeypatch.setenv("CALYX_INITIAL_PEERS_FILE", os.fspath(path))
    path.write_text("/first")
    assert SwarmSettings.load().initial_peers == ["/first"]
    path.write_text("/second")
    assert SwarmSettings.load().initial_peers == ["/second"]

from pathlib import Path

import pytest

from scripts.helper.environment import read_env_file
from services.common.errors import InvalidSetting


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_a_missing_file_sets_nothing(env_file: Path) -> None:
    assert read_env_file(env_file, {}) == {}


def test_forms_that_compose_reads_too(env_file: Path) -> None:
    env_file.write_text("# ports\nCALYX_ENDPOINT_PORT=9000\nexport A='x y'\nB=\"${A}!\"\nEMPTY=\nBARE\n")
    assert read_env_file(env_file, {}) == {
        "CALYX_ENDPOINT_PORT": "9000",
        "A": "x y",
        "B": "x y!",
        "EMPTY": "",
    }


def test_the_environment_wins(env_file: Path) -> None:
    env_file.write_text("CALYX_ENDPOINT_PORT=9000\n")
    assert read_env_file(env_file, {"CALYX_ENDPOINT_PORT": "7000"}) == {}


def test_a_broken_line_is_named_without_its_value(env_file: Path) -> None:
    env_file.write_text("CALYX_MODEL=a/b\nHF_TOKEN='hf_secret\nCALYX_DTYPE=float32\n")
    with pytest.raises(InvalidSetting, match=r"line 2 is not NAME=value: HF_TOKEN=…") as caught:
        read_env_file(env_file, {})
    assert "hf_secret" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(env_file: Path) -> None:
    env_file.write_bytes(b"A=\xff\xfe\x00")
    with pytest.raises(InvalidSetting, match="is not text"):
        read_env_file(env_file, {})


def test_a_folder_in_its_place_is_refused(env_file: Path) -> None:
    env_file.mkdir()
    with pytest.raises(InvalidSetting, match="directory"):
        read_env_file(env_file, {})

"""The addresses of the bootstrap peer, as other containers read them."""

import os
from pathlib import Path

import pytest

from services.bootstrap.app import publish
from services.common.errors import Broken

ADDRESSES = ["/ip4/10.0.0.1/tcp/31330/p2p/Qm1", "/ip4/10.0.0.2/tcp/31330/p2p/Qm1"]


def test_one_address_a_line(tmp_path: Path) -> None:
    publish(ADDRESSES, tmp_path / "initial_peers")

    assert (tmp_path / "initial_peers").read_text() == "\n".join(ADDRESSES) + "\n"


def test_new_addresses_take_the_place_of_the_old_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "initial_peers"
    publish(ADDRESSES[:1], path)
    with path.open() as reader:
        publish(ADDRESSES[1:], path)

        # Whoever had opened the old file reads it to its end
        assert reader.read() == ADDRESSES[0] + "\n"
        assert os.fstat(reader.fileno()).st_nlink == 0
    assert path.read_text() == ADDRESSES[1] + "\n"
    assert os.listdir(tmp_path) == ["initial_peers"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "initial_peers"

    with pytest.raises(
        Broken, match=f"writing {path}: No such file or directory — set CALYX_BOOTSTRAP_ADDRESSES"
    ):
        publish(ADDRESSES, path)

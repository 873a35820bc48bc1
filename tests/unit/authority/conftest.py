"""The pieces that most tests of the authority start from."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.authority.authority import Authority, open_authority
from services.common.settings import AuthoritySettings
from tests.unit.authority.authority_fakes import Clock, FakeSigner, Pool


@pytest.fixture(autouse=True)
def _umask_of_before() -> Iterator[None]:
    """The authority's command hides from other users whatever its process makes; here that is all tests' process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> FakeSigner:
    return FakeSigner(clock)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuthoritySettings:
    for variable in AuthoritySettings.variables().values():
        monkeypatch.delenv(variable, raising=False)
    return AuthoritySettings.load(
        authority_dir=tmp_path / "authority",
        authority_peers_file=tmp_path / "initial_peers",
        seed_token_file=tmp_path / "seed_token",
        public_address="seed.example",
    )


@pytest.fixture
def authority(settings: AuthoritySettings, signer: FakeSigner) -> Iterator[Authority]:
    opened = open_authority(settings, signer)
    opened.authorities.ensure()
    yield opened
    opened.database.close()


@pytest.fixture
def pool(authority: Authority, clock: Clock) -> Pool:
    return Pool(authority, clock)

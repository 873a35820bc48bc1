"""The network, the database server and the authorities of these tests, on the engine that the stack's tests share."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.stack.authority.containers import DATABASE_IMAGE, Authority, Database, Engine
from tests.integration.stack.pool import ROOT, Finished, Pool, run

Start = Callable[..., Authority]


@pytest.fixture(scope="session")
def engine(first_up: tuple[Pool, Finished]) -> Iterator[Engine]:
    """Where the containers are; their images are made as they are now."""
    with Pool(files=("compose.yaml", "compose.seed.yaml")) as pool:
        pool.compose("build", "authority")
        folder = ROOT / "tests/integration/stack/authority/database"
        done = run(["docker", "build", "--quiet", "--tag", DATABASE_IMAGE, folder])
        assert done.code == 0, done.err
        yield Engine(pool)


@pytest.fixture(scope="session")
def database(engine: Engine) -> Database:
    """A PostgreSQL server."""
    return Database(engine)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Where a new authority keeps its records; empty means SQLite."""
    if request.param == "SQLite":
        return ""
    server: Database = request.getfixturevalue("database")
    return server.new_url()


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Start authorities for one test; see ``Authority.start``."""
    started: list[Authority] = []

    def one(database_url: str = "", **options: object) -> Authority:
        started.append(Authority.start(engine, database_url, **options))
        return started[-1]

    yield one
    for authority in started:
        authority.container.remove(force=True)

"""Opens the authority that the settings describe: its folder, its database, its keys."""

from dataclasses import dataclass

from services.authority.certificate_authorities import Authorities
from services.authority.certificates import Signer
from services.authority.nebula_cert import NebulaCert
from services.authority.rotation import Lifetimes
from services.authority.state_folder import StateFolder
from services.authority.store_database import Database
from services.common.settings import AuthoritySettings


@dataclass(frozen=True)
class Authority:
    """The parts that serving and administration work on."""

    settings: AuthoritySettings
    state: StateFolder
    database: Database
    authorities: Authorities


def open_authority(settings: AuthoritySettings, signer: Signer | None = None) -> Authority:
    """Open the folder and the database, whose schema is brought up to date.

    Raises:
        CalyxError: the folder or the database cannot be used.
    """
    state = StateFolder(settings.authority_dir)
    lifetimes = Lifetimes(settings.ca_lifetime, settings.certificate_lifetime, settings.lease_seconds)
    authorities = Authorities(state, signer or NebulaCert(), settings.pool_name, lifetimes)
    database = Database(database_url(settings, state))
    database.migrate()
    return Authority(settings, state, database, authorities)


def database_url(settings: AuthoritySettings, state: StateFolder) -> str:
    """Return where the database is: what the settings name, or a file in the authority's folder."""
    named = settings.database_url
    return named.get_secret_value() if named else f"sqlite:///{state.database}"

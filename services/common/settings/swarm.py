"""Which swarm, and which model of it: read by every room that talks to peers."""

from pathlib import Path

from pydantic import ByteSize, Field, SecretStr, field_validator

from services.common.settings.base import Section, WordList

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

PUBLIC_PEERS = "public"
"""The word for the peers through which everybody enters Petals' public swarm."""


class SwarmSettings(Section):
    """The model's name, the peers to start from and where weights are found and kept."""

    model: str = DEFAULT_MODEL
    """The model's name on the hub; it is known by this name everywhere, also when its files come from a
    local folder."""

    revision: str | None = None
    """A branch, tag or commit of the model's repository; empty means its default branch."""

    dht_prefix: str | None = None
    """The prefix of the model's keys in the swarm's DHT; empty derives it as stock Petals does."""

    batch_invariant: bool = False
    """1 makes an answer's numbers independent of those that run beside it, to the last bit: the server's batches and
    the endpoint's head compute with a fixed number of rows. Costs speed when few sessions run."""

    initial_peers: WordList = Field(default_factory=list)
    """Multiaddrs of peers that are already in the swarm (/ip4/…/tcp/…/p2p/…), with spaces or commas between
    them; ``public`` stands for those of Petals' public swarm; compose fills this from the file that the bootstrap
    peer writes."""

    announce_host: str | None = None
    """IP address that other peers reach this node at; empty announces every address of the node."""

    models_dir: Path = Path("/models")
    """Folder whose sub-folders ``<owner>/<name>`` hold complete models; looked at before the hub."""

    cache_dir: Path = Path("/cache")
    """Folder that downloaded weights are kept in."""

    cache_limit: ByteSize = ByteSize(200 * 1024**3)
    """The most that the folder of downloaded weights may hold, such as 50GiB; the least recently used files
    are removed first."""

    hf_token: SecretStr | None = Field(default=None, validation_alias="HF_TOKEN")
    """Token of the model hub, for models that ask for one."""

    hf_endpoint: str | None = Field(default=None, validation_alias="HF_ENDPOINT")
    """Address of a mirror of the model hub."""

    hf_hub_offline: bool = Field(default=False, validation_alias="HF_HUB_OFFLINE")
    """1 uses only files that are there already and asks no hub."""

    @field_validator("dht_prefix")
    @classmethod
    def _no_delimiters(cls, value: str | None) -> str | None:
        if value is not None and any(delimiter in value for delimiter in ". "):
            raise ValueError("must hold neither '.' nor ' ', which delimit block names in the DHT")
        return value

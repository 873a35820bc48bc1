"""How applications reach the swarm's models."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.common.settings.base import Section, WordList


class EndpointSettings(Section):
    """Read by the inference endpoint alone."""

    endpoint_host: str = "0.0.0.0"  # noqa: S104 - inside the node's own network; compose publishes on loopback
    """Address that the endpoint listens on inside the node's network."""

    endpoint_listen_port: int = Field(default=8000, ge=1, le=65535)
    """TCP port that the endpoint listens on inside the node's network."""

    grpc_listen_port: int = Field(default=8001, ge=1, le=65535)
    """TCP port that the endpoint listens on for gRPC inside the node's network."""

    models_file: Path = Path("/config/models.yaml")
    """File that lists the models to serve; without it, the endpoint serves CALYX_MODEL alone."""

    discover_models: bool = False
    """1 also serves every model whose blocks are all online in the swarm, as long as it is announced there. Its
    embeddings and head are taken from the folder of models or from the hub, and kept in this machine's memory."""

    discover_patterns: WordList = Field(default_factory=lambda: ["*"])
    """Patterns of the names that such models may have, such as meta-llama/*; with spaces or commas between them."""

    discover_limit: int = Field(default=4, ge=1)
    """How many such models are served at most."""

    endpoint_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the embeddings and of the head; ``auto`` takes bfloat16 if the CPU computes in it."""

    max_running: int = Field(default=16, ge=1)
    """How many sessions may generate at once."""

    max_waiting: int = Field(default=64, ge=0)
    """How many more may wait for one of those; further requests are refused at once."""

    answer_tokens: int = Field(default=1024, ge=1)
    """The most tokens of an answer over the OpenAI API or gRPC whose request names no limit; servers reserve memory
    for all of them in advance."""

    speculative_tokens: int = Field(default=0, ge=0, le=64)
    """How many tokens are guessed ahead in one pass through the swarm, where a text repeats itself; 0 is off."""

    draft_model: str | None = Field(default=None, pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=200)
    """A small model with the tokens of CALYX_MODEL, which the endpoint keeps whole in its memory and lets guess
    where a text does not repeat itself; only with CALYX_SPECULATIVE_TOKENS. In models.yaml: ``draft``."""

    request_timeout: float = Field(default=600.0, gt=0)
    """The most seconds that one generation may take."""

    idle_timeout: float = Field(default=1800.0, gt=0)
    """Seconds after which an open session that sends nothing is closed."""

    route_timeout: float = Field(default=15.0, gt=0)
    """Seconds to look for servers of missing blocks before a request fails."""

    client_timeout: float = Field(default=30.0, gt=0)
    """Seconds that a client may take to send a request, or to take anything of what it is sent, before its
    connection ends."""

    max_message_bytes: int = Field(default=1024 * 1024, ge=1024)
    """The largest request body or WebSocket message."""

    allowed_origins: WordList = Field(default_factory=list)
    """Origins, such as https://example.org, whose web pages may call the endpoint from a browser besides its
    own pages; with spaces or commas between them."""

    keys_file: Path = Path("/access/keys.json")
    """File of the API keys that the endpoint asks for; while there is none, it asks for no key."""

"""What nodes send: the bodies of the authority's API."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from services.authority.nodes import NAME_PATTERN

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
PublicKey = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class _Message(BaseModel):
    # Fields of later versions are passed over, so that a newer node can join an older pool.
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Enrol(_Message):
    """``POST /v1/enrol``."""

    token_id: Text
    secret: Text
    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    public_key: PublicKey


class Heartbeat(_Message):
    """``POST /v1/heartbeat``."""

    state: Literal["running", "paused"]
    blocks: Annotated[str, StringConstraints(max_length=64)] | None = None
    model: Annotated[str, StringConstraints(max_length=200)] | None = None
    endpoint: bool = False


class Renew(_Message):
    """``POST /v1/renew``."""

    public_key: PublicKey

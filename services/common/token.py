"""The text that lets a machine join a pool: where its authority is, how to know it, and the right to enrol.

``calyx1_`` and the base64url form, without padding, of a compact JSON object with a CRC-32 behind it. The number
tells other versions apart, and the checksum a token that was cut off or mistyped on its way from one machine to
the other: both are said before any network is asked.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass, field, fields

from services.common.errors import InvalidInput

VERSION = 1
_PREFIX = "calyx"
_FORM = re.compile(_PREFIX + r"(\d{1,6})_(.*)", re.ASCII)
_CHECKSUM_BYTES = 4
_MAX_LENGTH = 4096
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(\d{1,5})", re.ASCII)
_ASK_AGAIN = "ask the pool's owner for a new token"


@dataclass(frozen=True)
class JoinToken:
    """What a new node needs to enrol.

    Args:
        pool: the pool's name.
        authority: ``host:port`` of the authority, an IPv6 address in brackets.
        pin: the SHA-256 of the authority's TLS certificate in DER, in lower-case hex. The certificate is signed by
            nobody, so this is what tells the authority from an impostor.
        id: which of the authority's tokens this is; no secret.
        secret: the proof; whoever has it may enrol.
    """

    pool: str
    authority: str
    pin: str
    id: str
    secret: str = field(repr=False)

    def text(self) -> str:
        """Return the form that people copy and :meth:`parse` reads."""
        content = json.dumps(asdict(self), separators=(",", ":")).encode()
        checksum = binascii.crc32(content).to_bytes(_CHECKSUM_BYTES, "big")
        return f"{_PREFIX}{VERSION}_{urlsafe_b64encode(content + checksum).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Read a token; white space is ignored, because terminals and mail programs break long lines.

        Raises:
            InvalidInput: it is no token, one of another version, or damaged; the message says which, and never
                quotes it.
        """
        match = _FORM.fullmatch("".join(text.split()))
        if match is None:
            raise InvalidInput(
                "reading the join token: this is not a token of Calyx",
                f"paste the whole text that begins with {_PREFIX}{VERSION}_",
            )
        if int(match[1]) != VERSION:
            raise InvalidInput(
                f"reading the join token: its version is {match[1]}, this Calyx reads version {VERSION}",
                "run the same version of Calyx as the pool does",
            )
        return cls._from_content(_checked(match[2]))

    @classmethod
    def _from_content(cls, content: bytes) -> "JoinToken":
        try:
            document = json.loads(content)
            token = cls(**{one.name: document[one.name] for one in fields(cls)})
        except (ValueError, KeyError, TypeError):
            raise InvalidInput("reading the join token: its content is incomplete", _ASK_AGAIN) from None
        if not all(isinstance(value, str) and value for value in asdict(token).values()):
            raise InvalidInput("reading the join token: its content is incomplete", _ASK_AGAIN)
        address = _ADDRESS.fullmatch(token.authority)
        if address is None or not 0 < int(address[2]) < 2**16:
            raise InvalidInput("reading the join token: it names no address of an authority", _ASK_AGAIN)
        if not re.fullmatch(r"[0-9a-f]{64}", token.pin):
            raise InvalidInput("reading the join token: it pins no certificate", _ASK_AGAIN)
        return token


def _checked(payload: str) -> bytes:
    """Return the content of the base64url text ``payload`` if its checksum is right."""
    try:
        # Standard base64 decoding passes over foreign characters, which the comparison makes an error.
        raw = urlsafe_b64decode(payload[:_MAX_LENGTH] + "=" * (-len(payload) % 4))
        whole = urlsafe_b64encode(raw).decode().rstrip("=") == payload
    except ValueError:
        raw, whole = b"", False
    content, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not whole or binascii.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        raise InvalidInput(
            "reading the join token: it is cut off or mistyped, its checksum is wrong",
            "copy it again, from its first character to its last",
        )
    return content

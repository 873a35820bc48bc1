"""The file of a backup: the archive that the authority writes, and behind it the API keys of the endpoint.

The authority knows nothing of them: an endpoint asks for keys in a stack without a pool, too.
"""

import io
import tarfile
from typing import BinaryIO

_KEYS = "endpoint/keys.json"
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


def add_keys(file: BinaryIO, keys: bytes) -> None:
    """Write API keys behind what the authority wrote to a file that is open for reading and writing."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="a:") as archive:
        member = tarfile.TarInfo(_KEYS)
        member.size, member.mode = len(keys), 0o600
        archive.addfile(member, io.BytesIO(keys))


def split(content: bytes) -> tuple[bytes, bytes | None]:
    """Return what is the authority's of a backup, and the API keys if it has any; what is no backup is not judged."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                if member.name == _KEYS and (keys := archive.extractfile(member)) is not None:
                    return content[: member.offset] + _END_OF_ARCHIVE, keys.read()
    except (tarfile.TarError, ValueError, EOFError):
        pass  # the authority says what is wrong with it
    return content, None

"""What a container that runs one command is given."""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Surroundings:
    """The world of one command.

    Attributes:
        environment: its variables.
        volumes: name → place in the container.
        files: place in the container → content, which only ``user`` can read.
        user: number of the user that it runs as.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    user: str = "0"

    def archive(self) -> bytes:
        """Return the files as a tar archive for the root of the container."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for place, content in self.files.items():
                member = tarfile.TarInfo(place.lstrip("/"))
                member.size, member.mode = len(content), 0o400
                member.uid = member.gid = int(self.user)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

"""The node's key pair, made by Nebula's own program. The private half never leaves the state folder."""

import subprocess
import tempfile
from pathlib import Path

from services.common.errors import Broken
from services.vpn.membership import KEY, PUBLIC_KEY, StateFolder


def make_key_pair(folder: StateFolder) -> str:
    """Make a key pair; return the public half in Nebula's PEM form.

    Raises:
        Broken: Nebula's program is missing, or the disk takes no more.
    """
    with tempfile.TemporaryDirectory() as scratch:
        private, public = Path(scratch, "key"), Path(scratch, "pub")
        command = ["nebula-cert", "keygen", "-out-key", str(private), "-out-pub", str(public)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Broken(f"making a key: {error.strerror}", "build the image calyx/vpn anew") from error
        if done.returncode:
            raise Broken(f"making a key: {done.stderr.strip()}", "check the disk")
        folder.write(KEY, private.read_text())
        folder.write(PUBLIC_KEY, public.read_text())
        return public.read_text()

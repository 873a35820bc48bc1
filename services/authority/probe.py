"""``python -m services.authority.probe``: healthy when the authority answers over TLS, under its own pin."""

import http.client
import ssl
import sys
from hashlib import sha256
from hmac import compare_digest

from services.authority.state_folder import TLS_NAME
from services.authority.tls import pin_of
from services.common.errors import CalyxError
from services.common.settings import AuthoritySettings

_TIMEOUT = 4.0


def run_probe(port: int, pin: str) -> int:
    """Ask the authority on this machine's loopback; print its first line and return 0 for good, else 1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin below says more than any chain
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_TIMEOUT, context=context)
    try:
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True) or b""
        if not compare_digest(sha256(certificate).hexdigest(), pin):
            return _say("another certificate is served than the one in the authority's folder", healthy=False)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return _say(answer.read(400).decode(errors="replace"), healthy=answer.status == 200)
    except (OSError, http.client.HTTPException) as error:
        return _say(f"asking https://127.0.0.1:{port}/healthz: {error}", healthy=False)
    finally:
        connection.close()


def _say(text: str, healthy: bool) -> int:
    sys.stdout.write((text.splitlines() or [""])[0] + "\n")
    return 0 if healthy else 1


def main() -> int:
    """Read where the authority is, and ask it."""
    try:
        settings = AuthoritySettings.load()
        return run_probe(settings.authority_listen_port, pin_of(settings.authority_dir / TLS_NAME))
    except CalyxError as error:
        return _say(str(error), healthy=False)


if __name__ == "__main__":
    sys.exit(main())

"""The health check of a room that serves HTTP: ask its own address, over the loopback, with a short limit."""

import http.client
import sys
import urllib.error
import urllib.request

# Docker puts its client's proxy settings into every container, and a proxy cannot reach this loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run_probe(port: int, path: str, timeout: float = 4.0) -> int:
    """GET ``http://127.0.0.1:<port><path>``; print its first line and return 0 for a 2xx answer, else 1."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with _DIRECT.open(url, timeout=timeout) as response:
            body, ok = response.read(400), True
    except urllib.error.HTTPError as error:
        body, ok = error.read(400), False
    except (OSError, http.client.HTTPException) as error:
        body, ok = f"asking {url}: {error}".encode(), False
    sys.stdout.write(body.decode(errors="replace").splitlines()[0] + "\n" if body else "\n")
    return 0 if ok else 1

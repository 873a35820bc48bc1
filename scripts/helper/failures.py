"""What the engine, Compose and BuildKit say when they fail, and what it means to the person who waits."""

import re
from pathlib import Path

from services.common.errors import Broken, CalyxError, InvalidSetting, Refused, Unavailable

_AGAIN = "then run ./scripts/calyx up again"

_KNOWN: tuple[tuple[str, type[CalyxError], str, str], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        Refused,
        "no space is left on the engine's disk",
        f"free some (docker system df shows what takes it), {_AGAIN}",
    ),
    (
        r"(?:Bind for|listen tcp\d?) \S*?:(?P<port>\d+)\b.*?(?:already allocated|already in use)"
        r"|exposing port \S*?:(?P<port2>\d+)\b",
        Refused,
        "port {port} is taken by another program",
        "stop it, or choose other ports: write CALYX_ENDPOINT_PORT=… CALYX_GRPC_PORT=… CALYX_HEALTH_PORT=… "
        "before the command",
    ),
    (
        r"/dev/net/tun",
        Refused,
        "this machine has no /dev/net/tun",
        f"load it (modprobe tun), {_AGAIN}",
    ),
    (
        r'could not select device driver "nvidia"|invalid runtime name: nvidia|nvidia-container-cli',
        Refused,
        "the engine cannot hand the GPU over",
        f"install the NVIDIA container toolkit and restart the engine, {_AGAIN}",
    ),
    (
        r"permission denied.*docker\.sock",
        Refused,
        "this user may not use the Docker engine",
        "add the user to the group 'docker' and log in again, or run this by sudo",
    ),
    (
        r"cannot connect to the docker daemon|error during connect|docker\.sock: connect: |"
        r"error reading from server: EOF|rpc error: code = Unavailable",
        Unavailable,
        "the Docker engine stopped answering",
        "see that it runs (./scripts/calyx doctor), then run the command again",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|unable to get local issuer certificate",
        Refused,
        "a download's certificate is not trusted",
        "behind a proxy that signs TLS itself, name its certificates by CALYX_CA_BUNDLE=<file>",
    ),
    (
        r"Temporary failure in name resolution|Could not resolve host|no matching distribution found|"
        r"Failed to establish a new connection|Temporary failure resolving",
        Unavailable,
        "a download failed, the network or the package index does not answer",
        "check the network; PIP_INDEX_URL names another index, CALYX_WHEELHOUSE a folder of wheels",
    ),
    (
        r"failed to resolve source metadata|pull access denied|failed to do request",
        Unavailable,
        "a base image is missing and no registry has it",
        "as root on Debian or Ubuntu, ./scripts/calyx up makes the base images itself",
    ),
    (
        r"exit code: 137|cannot allocate memory|signal: killed",
        Refused,
        "the machine ran out of memory",
        f"close other programs, {_AGAIN}",
    ),
    (
        r"failed to read .*?\.env|invalid interpolation format|required variable",
        InvalidSetting,
        "Compose refuses the settings: {line}",
        "correct .env; .env.example shows every setting",
    ),
)

_TELLING = re.compile(
    r"^(?:#\d+ )?(?:ERROR|error|failed|Error)\b|failed to solve|denied|invalid", re.IGNORECASE
)


def explain(doing: str, output: str, log: Path | None = None) -> CalyxError:
    """Return the error that fits what a failed command or call wrote.

    Args:
        doing: what was being done, as in "building the images".
        output: everything it wrote.
        log: where the whole output is kept, named when the cause is not a known one.
    """
    for pattern, kind, problem, remedy in _KNOWN:
        match = re.search(pattern, output, re.IGNORECASE)
        if match:
            ports = [value for name, value in match.groupdict().items() if name.startswith("port") and value]
            text = problem.format(port=ports[0] if ports else "?", line=_line_of(output, match.start()))
            return kind(f"{doing}: {text}", remedy)
    return Broken(f"{doing}: {telling_line(output)}", f"the whole output is in {log}" if log else None)


def telling_line(output: str) -> str:
    """Return the line of a failed command's output that says most about why: the last that names an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    return (telling or lines or ["it said nothing"])[-1][:300]


def _line_of(text: str, position: int) -> str:
    return text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0].strip()[:300]

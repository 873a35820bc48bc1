"""Docker Compose, called only to make and to remove: images, containers, networks and volumes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from scripts.helper.context import Context
from scripts.helper.failures import explain
from scripts.helper.shell import Finished

_MONITORING = ("--profile", "monitoring")


class Compose:
    """The stack's Compose files under one project name.

    Args:
        context: the folder of ``compose.yaml``, the project's name, the log and the shell.
        gpu: whether ``compose.gpu.yaml`` is added.
        monitoring: whether Prometheus belongs to it.
        environment: variables for ``compose.yaml`` besides the environment's and ``.env``'s.
    """

    def __init__(
        self,
        context: Context,
        *,
        gpu: bool,
        monitoring: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._shell = context.shell
        self._log = context.compose_log
        self._command = ["docker", "compose", "--ansi", "never", "--progress", "plain"]
        self._command += ["--project-name", context.project, "--project-directory", str(context.root)]
        self._environment = (context.pool.settings if context.pool else {}) | dict(environment or {})
        self._scale = ["--scale", "server=0"] if context.pool and not context.pool.server else []
        if context.pool and context.pool.endpoint:
            self._command += ["--profile", "endpoint"]
        fragments = [context.pool.fragment] if context.pool else []
        for name in ("compose.yaml", *fragments, *(["compose.gpu.yaml"] if gpu else [])):
            self._command += ["--file", str(context.root / name)]
        self._profile = _MONITORING if monitoring else ()

    def build(self, on_line: Callable[[str], None]) -> None:
        """Build the images; BuildKit's cache makes this a matter of seconds when nothing changed."""
        self._run("building the images", [*self._profile, "build"], on_line)

    def create(self, services: Sequence[str] = ()) -> None:
        """Make what is missing and make anew what changed, without starting it: of these services, or of all."""
        chosen = services or self._scale
        command = [*self._profile, "create", "--no-build", "--remove-orphans", *chosen]
        self._run("creating the containers", command)

    def recreate(self, services: Sequence[str]) -> None:
        """Make these services' containers anew, whether changed or not."""
        command = [*self._profile, "create", "--no-build", "--force-recreate", *services]
        self._run("creating containers anew", command)

    def down(self, *, volumes: bool) -> None:
        """Stop and remove containers and networks, and the volumes too if asked."""
        options = ["--remove-orphans", *(["--volumes"] if volumes else [])]
        self._run("removing the stack", [*_MONITORING, "down", *options])

    def _run(self, doing: str, arguments: list[str], on_line: Callable[[str], None] | None = None) -> None:
        finished = self._shell.run([*self._command, *arguments], env=dict(self._environment), on_line=on_line)
        self._keep(arguments, finished)
        if not finished.ok:
            raise explain(doing, finished.output, self._log)

    def _keep(self, arguments: list[str], finished: Finished) -> None:
        # A disk that is full shall not keep the helper from removing what it made
        with suppress(OSError):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a") as file:
                file.write(f"$ docker compose {' '.join(arguments)}\n{finished.output}exit {finished.code}\n")

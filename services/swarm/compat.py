"""Makes Petals 2.2.0.post1 (November 2023) run on the libraries of today.

Petals' own pins are the only thing that stops it, apart from the places below. ``apply()`` runs when
``services.swarm`` is imported: it patches hivemind, and sees to it that the rest happens around the first import of
Petals, or of a module of this room that does more than read the swarm's table. hivemind's and Petals' processes are
forked, so they inherit the patches; a spawned process imports ``services.swarm`` again when it unpickles its target.

What is replaced, and why:

1. ``hivemind.<name>``: since 1.1.12 hivemind no longer re-exports these at top level, where Petals takes them.
2. ``transformers.utils.get_file_from_repo``: gone in transformers 5; ``cached_file`` is its successor.
3. ``petals.models``: Petals' three families hold blocks of transformers 4.34's API. An empty module takes their
   place and ``services.swarm.family`` registers its own.
4. ``petals.__init__``'s assertion on transformers' version: switched off by the variable that Petals reads.
5. hivemind's log handler: its loggers propagate to the root logger instead, so that one format serves all rooms;
   progress bars of transformers and of the hub are off, since a log is no terminal.
6. ``__del__`` of Petals' inference sessions: the garbage collector may run it inside the event loop's thread, where
   it waits for that same loop forever. Those of Petals' own programming interface end with their context.
7. hivemind's ``cancel_task_if_running``: without an event loop, as when the interpreter ends, it raises before
   libp2p's daemon has been ended, which then lives on as an orphan.
8. Recovery from lost servers in Petals' own programming interface: see ``services.swarm.recovery``.
9. The steps of a session in Petals' handlers, which may go back: see ``services.swarm.serving.going_back``.
10. The end of hivemind's searches, which one unreadable value kept from coming: see ``services.swarm.searches``.
"""

import asyncio
import importlib
import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from packaging.version import Version

from services.common.errors import Broken
from services.swarm.on_demand import OnDemand, load_apart

READS_THE_TABLE = frozenset(
    f"services.swarm.{name}"
    for name in (
        "compat",
        "directory",
        "dht",
        "on_demand",
        "parsing",
        "processes",
        "reachability",
        "records",
        "searches",
        "witness",
    )
)
"""What works with hivemind alone, and the modules below of Petals, which need nothing of it."""
_APART = ("constants", "data_structures", "utils.dht", "server.reachability")

KNOWN_VERSIONS = {
    "petals": ("2.2.0.post1", "2.2.0.post2"),
    "hivemind": ("1.1.12", "1.2"),
    "transformers": ("5.20", "6"),
    "torch": ("2.9", "3"),
}
"""Package → first version that is known to work, first version that is not known."""

_HIVEMIND_HOMES = {
    "hivemind.p2p": ("P2P", "P2PContext", "PeerID"),
    "hivemind.utils": ("get_logger", "get_dht_time", "MAX_DHT_TIME_DISCREPANCY_SECONDS", "TimedStorage"),
    "hivemind.utils.serializer": ("MSGPackSerializer",),
    "hivemind.utils.nested": ("nested_flatten", "nested_pack", "nested_compare"),
    "hivemind.utils.tensor_descr": ("TensorDescriptor", "BatchTensorDescriptor"),
    "hivemind.utils.asyncio": ("anext",),
    "hivemind.compression": (
        "serialize_torch_tensor",
        "deserialize_torch_tensor",
        "deserialize_tensor_stream",
    ),
}


def check_versions(known: dict[str, tuple[str, str]] | None = None) -> None:
    """Refuse to run on versions that nobody has tried.

    Args:
        known: package → (first known version, first unknown version); the table above when not given.

    Raises:
        Broken: a package is missing, older or newer than what the patches are made for.
    """
    for package, (first, end) in (known or KNOWN_VERSIONS).items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            raise Broken(f"{package} is not installed", f"install {package}>={first},<{end}") from None
        if not Version(first) <= Version(installed) < Version(end):
            raise Broken(
                f"{package} {installed} is not a version that Calyx knows (from {first}, below {end})",
                f"install {package}>={first},<{end}, or extend services/swarm/compat.py after running the tests",
            )


def _restore_hivemind_names() -> None:
    hivemind = importlib.import_module("hivemind")
    for home, names in _HIVEMIND_HOMES.items():
        module = importlib.import_module(home)
        for name in names:
            setattr(hivemind, name, getattr(module, name))


def _restore_transformers_names() -> None:
    transformers_utils = importlib.import_module("transformers.utils")
    cached_file = transformers_utils.cached_file

    def get_file_from_repo(path_or_repo: str, filename: str, **kwargs: Any) -> str | None:
        """Return the file's local path, or None if the repository has no such file."""
        kwargs["token"] = kwargs.pop("use_auth_token", kwargs.get("token"))
        found: str | None = cached_file(
            path_or_repo, filename, _raise_exceptions_for_missing_entries=False, **kwargs
        )
        return found

    transformers_utils.get_file_from_repo = get_file_from_repo  # type: ignore[attr-defined]


def _leave_out_petals_families() -> None:
    sys.modules.setdefault("petals.models", ModuleType("petals.models", "Replaced by services.swarm.family."))


def _join_logs() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hivemind_logging: Any = importlib.import_module("hivemind.utils.logging")
    hivemind_logging.use_hivemind_log_handler("nowhere")
    hivemind_logging.use_hivemind_log_handler = lambda where: None  # Petals' modules call it when imported
    root.handlers[:], root.level = handlers, level
    logging.addLevelName(logging.WARNING, "WARNING")
    for noisy in ("hivemind.dht", "hivemind.p2p", "petals.server.memory_cache", "petals.server.handler"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _quieten_libraries() -> None:
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    # They warn that code could be loaded from the hub, and of each product that numbers are not float16
    for needless in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        logging.getLogger(needless).setLevel(logging.ERROR)


def _own_the_closing_of_sessions() -> None:
    sessions = importlib.import_module("petals.client.inference_session")
    for session_class in (sessions._ServerInferenceSession, sessions.InferenceSession):
        session_class.__del__ = lambda self: None


def _end_daemons_without_a_loop() -> None:
    def cancel_task_if_running(task: asyncio.Task[Any] | None) -> None:
        """Cancel the task if its loop still runs; otherwise it will never run again anyway."""
        if task is not None and not task.done() and task.get_loop().is_running():
            task.cancel()

    for user in ("hivemind.p2p.p2p_daemon", "hivemind.p2p.p2p_daemon_bindings.control"):
        importlib.import_module(user).cancel_task_if_running = cancel_task_if_running  # type: ignore[attr-defined]


def _before_petals() -> None:
    _restore_transformers_names()
    _leave_out_petals_families()
    _quieten_libraries()


def _after_petals() -> None:
    for name in _APART:
        parent, _, last = f"petals.{name}".rpartition(".")
        setattr(importlib.import_module(parent), last, sys.modules[f"petals.{name}"])
    _own_the_closing_of_sessions()
    importlib.import_module("services.swarm.recovery").install()
    importlib.import_module("services.swarm.serving.going_back").install()
    importlib.import_module("services.swarm.registry").register_families()


def _needs_petals(module: str) -> bool:
    return module.startswith("services.swarm.") and module not in READS_THE_TABLE


def apply() -> None:
    """Check the versions and put every patch in place, or on the way; called once, when the room is imported.

    Raises:
        Broken: see ``check_versions``.
    """
    check_versions()
    os.environ["PETALS_IGNORE_DEPENDENCY_VERSION"] = "1"
    os.environ.setdefault("PETALS_LOGGING", "0")
    _restore_hivemind_names()
    _join_logs()
    _end_daemons_without_a_loop()
    importlib.import_module("services.swarm.searches").install()
    load_apart("petals", _APART)
    sys.meta_path.insert(0, OnDemand("petals", _needs_petals, _before_petals, _after_petals))

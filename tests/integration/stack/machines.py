"""Machines of one pool: Compose projects with networks of their own, of which only what the seed publishes is shared.

That is NAT for all of them: nobody reaches another's address on its network.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.stack.pool import BLOCKS, Finished, Pool, eventually

SEED_ADDRESS = "172.17.0.1"
"""This machine, as containers of every network reach it: the address of the engine's default bridge."""
SEED_IN_MESH = "10.77.0.1"
SERVER_PORT = 31331
EXACT: dict[str, object] = {"CALYX_DTYPE": "float32", "CALYX_ENDPOINT_DTYPE": "float32"}
"""Settings with which a take-over changes no token: what a server computes again comes out a little different, and
bfloat16's rounding makes that visible."""
HALVES = (f"0:{BLOCKS // 2}", f"{BLOCKS // 2}:{BLOCKS}")


@dataclass
class Machine:
    """A node and the folder that its helper keeps its state in."""

    pool: Pool
    state: Path

    def calyx(self, *arguments: str) -> Finished:
        """Run the helper."""
        return self.pool.calyx(*arguments, XDG_STATE_HOME=self.state)

    def done(self, *arguments: str) -> str:
        """Run the helper, which must succeed; return what it wrote."""
        finished = self.calyx(*arguments)
        assert finished.code == 0, finished.err
        return finished.out

    def status(self) -> dict[str, Any]:
        """Return what ``status`` says, whether the node is whole or not."""
        document: dict[str, Any] = json.loads(self.calyx("status", "--json").out)
        return document

    def ways(self) -> dict[str, str]:
        """Return node → how this one reaches it."""
        node = self.status()["node"]
        assert node is not None, "the sidecar does not answer"
        return {peer["name"]: peer["way"] for peer in node["peers"]}

    def checks(self) -> dict[str, tuple[str, str]]:
        """Return what ``doctor`` checks → verdict and detail."""
        found = json.loads(self.calyx("doctor", "--json").out)
        return {check["name"]: (check["verdict"], check["detail"]) for check in found}

    @property
    def address(self) -> str:
        """Its address in the mesh."""
        return self.pool.read("vpn", "/node/announce_host").strip()

    def reaches(self, address: str, port: int) -> bool:
        """Whether a program in its server's container reaches a port, asked as the user that rooms run as."""
        script = f"import socket; socket.create_connection(('{address}', {port}), 5)"
        code, _ = self.pool.containers()["server"].exec_run(["python3", "-c", script], user="10001")
        return bool(code == 0)

    def signal_nebula(self, name: str) -> None:
        """Send Nebula a signal."""
        script = (
            "import os, pathlib, signal\n"
            "for path in pathlib.Path('/proc').glob('[0-9]*/comm'):\n"
            "    if path.read_text() == 'nebula\\n':\n"
            f"        os.kill(int(path.parent.name), signal.{name})"
        )
        code, output = self.pool.containers()["vpn"].exec_run(["python3", "-c", script])
        assert code == 0, output


@dataclass
class Mesh:
    """The machines."""

    seed: Machine
    workers: list[Machine]

    def invite(self, *options: str) -> str:
        """Return a new token."""
        return re.findall(r"calyx1_\S+", self.seed.done("token", "create", *options))[0]

    def states(self) -> dict[str, str]:
        """Return node → state, as the seed sees them."""
        return {node["name"]: node["state"] for node in json.loads(self.seed.done("nodes", "--json"))}

    def works(self) -> None:
        """Wait until each worker is answered on its own port."""
        for worker in self.workers:
            eventually(worker.pool.works)

"""Every error that Calyx raises on purpose.

::

    CalyxError
     ├── InvalidInput      the caller's mistake: a wrong value, a wrong order, an unknown name
     │    └── InvalidSetting   …made in the configuration
     ├── Unavailable       not there now, may be later: blocks missing, no free slot, an engine that is down
     ├── Refused           there, but not for this caller: over a limit, not allowed
     └── Broken            ours or the disk's: a corrupt shard, a library of an unknown version

Each is one line saying what is wrong and, where it helps, what to do next. They become HTTP, WebSocket or
exit codes at one boundary per interface.
"""


class CalyxError(Exception):
    """Base of the tree above; ``str()`` gives "what is wrong — what to do next"."""

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split()) if remedy else None
        super().__init__(f"{self.problem} — {self.remedy}" if self.remedy else self.problem)

    def __reduce__(self) -> tuple[type["CalyxError"], tuple[str, str | None]]:
        """Errors cross process borders by pickle, which would pass the joined text as ``problem``."""
        return type(self), (self.problem, self.remedy)


class InvalidInput(CalyxError):
    """The caller sent something that can never work."""


class InvalidSetting(InvalidInput):
    """A setting has a value that can never work."""


class Unavailable(CalyxError):
    """What was asked for is not there now; the same request may work later."""


class Refused(CalyxError):
    """What was asked for is there, but not for this caller or not in this amount."""


class Broken(CalyxError):
    """Something of ours, of the disk or of a library is not as it must be."""

"""Imports a large package when it is first needed, with something to do before and after.

Who only reads the swarm's table needs neither Petals nor the model layer: without them, and all that they bring, a
process is smaller by 180 MB.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

Step = Callable[[], None]


class OnDemand(MetaPathFinder):
    """Stands in Python's way to modules until the package is needed, once.

    Args:
        package: its name.
        needed_by: tells whether a module of another package needs it.
        before: is called before the package runs.
        after: is called when it has run, before whoever needs it goes on.
    """

    def __init__(self, package: str, needed_by: Callable[[str], bool], before: Step, after: Step) -> None:
        self._package, self._needed_by = package, needed_by
        self._before, self._after = before, after

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load the package; for modules that need it load it first, and leave them to others."""
        if fullname == self._package:
            sys.meta_path.remove(self)
            self._before()
            spec = find_spec(fullname)
            if spec is not None and spec.loader is not None:
                spec.loader = _Followed(spec.loader, self._after)
            return spec
        if self._needed_by(fullname):
            importlib.import_module(self._package)
        return None


class _Followed(Loader):
    def __init__(self, loader: Loader, after: Step) -> None:
        self._loader, self._after = loader, after

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._after()


def load_apart(package: str, names: Iterable[str]) -> None:
    """Load modules of a package without the package; it takes them over when it is imported.

    Args:
        package: its name.
        names: of modules that need nothing of it but each other, each after those that it needs.

    Raises:
        ImportError: there is no such module.
    """
    found = find_spec(package)
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise ImportError(f"there is no package {package}")
    for name in names:
        whole = f"{package}.{name}"
        spec = spec_from_file_location(whole, Path(folders[0], *name.split(".")).with_suffix(".py"))
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no module {whole}")
        sys.modules[whole] = module = module_from_spec(spec)
        spec.loader.exec_module(module)

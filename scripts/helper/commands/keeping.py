"""``calyx backup``, ``restore`` and ``rotate-ca``: the seed keeps what the pool is."""

from datetime import UTC, datetime
from pathlib import Path

from scripts.helper.authority import Authority
from scripts.helper.backup_file import split
from scripts.helper.commands.keys import Keys
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from services.common.errors import CalyxError, InvalidInput

_LIMIT = 1024**3


def backup(context: Context, target: Path) -> int:
    """Write the pool's keys, tokens and members, and the API keys of its endpoint, to a file."""
    engine = Engine.connect(context.environment)
    authority = Authority(context, engine)
    lacks = []
    try:
        api_keys = Keys(context, engine).export()
    except CalyxError as error:  # which is no reason to lose the pool with them
        api_keys = None
        lacks.append(f"it has no API keys: {error}")
    if (lack := authority.backup(target, api_keys)) is not None:
        lacks.append(lack)
    context.steps.step(f"The pool is in {target}: whoever has this file has the pool, so keep it safe")
    for lack in lacks:
        context.steps.detail(lack)
    return 0


def restore(context: Context, source: Path) -> int:
    """Become the pool of a backup again."""
    content = read_backup(source)
    context.steps.step("Putting the backup in the place of the authority's keys and database")
    put_back(context, Engine.connect(context.environment), content)
    context.steps.step("The pool is that of the backup; its members reconnect by themselves")
    return 0


def put_back(context: Context, engine: Engine, content: bytes) -> None:
    """Become the pool of a backup, and ask for the API keys that it has; if it has none, those of here stay.

    Raises:
        Refused: it is no backup, or a damaged one.
    """
    pool, api_keys = split(content)
    Authority(context, engine).restore(pool)
    if api_keys is not None:
        Keys(context, engine).replace(api_keys)


def rotate_ca(context: Context) -> int:
    """Make the mesh a new certificate authority, to which every node moves by itself."""
    made = Authority(context, Engine.connect(context.environment)).ask("rotate-ca")
    ends = datetime.fromtimestamp(made["expires_at"], UTC)
    context.steps.step(f"A new certificate authority was made, which ends on {ends:%Y-%m-%d}")
    context.steps.detail("nodes trust it within seconds and get their next certificate from it; the old one")
    context.steps.detail("is forgotten when no node needs it any more. Make a new backup.")
    return 0


def read_backup(source: Path) -> bytes:
    """Return a backup's content.

    Raises:
        InvalidInput: there is no such file, or it is too large to be one.
    """
    try:
        if source.stat().st_size > _LIMIT:
            raise InvalidInput(f"{source} is too large for a backup", "name the file that `backup` wrote")
        return source.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"reading {source}: {error.strerror}", "name the file that `backup` wrote"
        ) from error

"""Lets a search of hivemind's table end whatever strangers wrote: one value that cannot be read stopped it for ever.

A peer stores bytes unread. Who searches reads them when the search ends, in a task whose error nobody hears, and
waits on: one server's broken bytes hid all others of its block, and a look at the swarm with them. Here such a value
is ``None``, which is no announcement.

A server writes the same bytes under the key of each of its blocks, so what was read lately is not read again.
"""

from functools import lru_cache
from typing import Any

from hivemind.dht.node import _SearchState
from hivemind.utils.serializer import MSGPackSerializer

_REMEMBERED = 2048
_MAX_REMEMBERED_BYTES = 2048
"""Announcements take half of that; what is longer is read each time, so that strangers cannot fill the memory."""

_original_finish = _SearchState.finish_search


def _read(content: Any) -> Any:
    try:
        return MSGPackSerializer.loads(content)
    except Exception:
        # msgpack, hivemind's types and the nesting that a stranger chose raise as they like
        return None


_read_once = lru_cache(_REMEMBERED)(_read)


class Forgiving(MSGPackSerializer):
    """Reads values as hivemind does, and ``None`` for what cannot be read. Nobody may change what it returns."""

    @classmethod
    def loads(cls, buf: bytes) -> Any:
        """Return the value that some bytes stand for."""
        known = isinstance(buf, bytes) and len(buf) <= _MAX_REMEMBERED_BYTES
        return _read_once(buf) if known else _read(buf)


def _finish_search(self: _SearchState) -> None:
    self.serializer = Forgiving
    _original_finish(self)
    if not self.future.done():  # hivemind found no value but something else
        self.future.set_result(None)


def install() -> None:
    """Replace the end of hivemind's searches; safe to call again."""
    _SearchState.finish_search = _finish_search

"""How nodes give up their places: the name, the address and the certificates, which nobody accepts from then on."""

from services.authority.nodes import Node
from services.authority.store import Store
from services.authority.tokens import Token
from services.common.errors import Refused

_REASONS = {
    "left": "it left",
    "displaced": "it was gone, and its address was given to another node",
    "replaced": "it was gone, and another node took its place",
}


def make_way(store: Store, name: str, token: Token, now: int) -> None:
    """Free the name for who enrols with ``token`` if its owner is not there.

    Raises:
        Refused: the owner is there, or is a seed that may come back.
    """
    if token.role == "seed":
        _free_seed(store, now)
    known = store.node_named(name)
    presence = known.presence(now) if known else "left"
    if known is None or presence in {"left", "revoked"}:
        return
    # Who may join as a worker must not get the place of a lighthouse that is restarting.
    if presence != "gone" or known.role == "seed":
        raise Refused(
            f"enrolling: a node named {known.name} is in the pool already",
            "choose another name, or let that node leave first",
        )
    release(store, known, now, "replaced")


def _free_seed(store: Store, now: int) -> None:
    """Free the place of a seed that is not there.

    The pool's one seed is beside the authority. Without its volume, such as on another machine, it comes as a new
    node, which must get the address that every member knows: the lowest, once it is free.
    """
    for seed in store.seeds():
        if seed.presence(now) != "gone":
            raise Refused(
                f"enrolling: the pool's seed {seed.name} is there already", "wait until its lease is over"
            )
        release(store, seed, now, "replaced")


def release(store: Store, node: Node, now: int, kind: str) -> None:
    """Take a node out: nobody accepts its certificates any more, its name and address are free.

    Args:
        store: the transaction.
        node: whom.
        now: seconds since the epoch.
        kind: a key of ``_REASONS``, and the event.
    """
    store.revoke_certificates(node.id, now)
    # A revoked node stays revoked when its address is taken.
    ended = {} if node.revoked_at is not None else {"left_at": now, "reason": _REASONS[kind]}
    store.change_node(node.id, address=None, **ended)
    store.add_event(now, kind, f"{node.name} ({node.id})")

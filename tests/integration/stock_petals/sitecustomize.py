"""Gives hivemind its top-level names back, which Petals 2.2.0.post1 imports and hivemind 1.1.12 no longer has.

Python imports this module by itself when its folder is on ``PYTHONPATH``; the client's program stays as people
write it.
"""

from importlib import import_module

_HOMES = {
    "hivemind.p2p": ("P2P", "P2PContext", "PeerID"),
    "hivemind.utils": ("get_logger", "get_dht_time", "MAX_DHT_TIME_DISCREPANCY_SECONDS", "TimedStorage"),
    "hivemind.utils.asyncio": ("anext",),
    "hivemind.utils.nested": ("nested_compare", "nested_flatten", "nested_pack"),
    "hivemind.utils.serializer": ("MSGPackSerializer",),
    "hivemind.utils.tensor_descr": ("BatchTensorDescriptor", "TensorDescriptor"),
    "hivemind.compression": (
        "deserialize_tensor_stream",
        "deserialize_torch_tensor",
        "serialize_torch_tensor",
    ),
}

hivemind = import_module("hivemind")
for home, names in _HOMES.items():
    for name in names:
        setattr(hivemind, name, getattr(import_module(home), name))

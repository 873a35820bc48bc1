"""The sidecar that owns a node's network: the node's other containers live in its network namespace."""

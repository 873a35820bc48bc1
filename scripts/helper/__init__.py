"""The helper on the host, ``./scripts/calyx``: sets a machine up, starts the stack, and says how it is."""

"""How a database becomes one of today: one file per step, run at start, never changed once released."""

"""Counts what the pool's nodes share, for the authority to book: see docs/credits.md for what counts and why."""

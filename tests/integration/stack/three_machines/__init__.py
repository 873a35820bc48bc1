"""A package, so that pytest ends its pool with its last test."""

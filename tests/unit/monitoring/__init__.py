"""A package, so that pytest ends its exporters and its Prometheus with its last test."""

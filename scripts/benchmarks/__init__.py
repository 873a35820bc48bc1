"""What the project measures about itself; ``./scripts/bench`` runs it."""

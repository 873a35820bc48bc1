"""The steps; ``down_revision`` puts them in order."""

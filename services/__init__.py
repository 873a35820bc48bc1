"""What runs in containers, one room each: ``python -m services.<room>``."""

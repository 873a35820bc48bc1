"""The page for people at ``/``: rendered here, styled and refreshed by the files in ``static``."""

"""Tests of this room may import petals and hivemind themselves, which works behind the patches alone."""

import services.swarm  # noqa: F401

"""The only room that imports petals or hivemind. Importing it makes Petals run on today's libraries.

Reading order: ``compat`` (what is patched, and when), ``family`` (any decoder as blocks and ends), ``files``,
``adapters`` and ``loading`` (weights), ``model`` and ``client`` (the client's side), ``serving`` (the server's side),
``directory`` (what the swarm announces), ``registry``, ``session`` and ``recovery`` (Petals' own entry points).
"""

from services.swarm import compat

compat.apply()

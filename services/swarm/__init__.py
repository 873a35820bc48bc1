"""The only room that imports petals or hivemind. Importing it makes Petals run on today's libraries.

Reading order: ``compat`` (what is patched), ``family`` (any decoder as blocks and ends), ``loading`` (weights),
``model`` (the client's side), ``serving`` (the server's side), ``directory`` (what the swarm announces).
"""

from services.swarm import compat

compat.apply()

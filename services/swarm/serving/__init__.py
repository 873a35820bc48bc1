"""The server's side: blocks behind Petals' wire protocol.

Petals' connection handlers, memory accounting, announcements and runtime are used as they are; the model layer
(``services.swarm.family``) and the life of a server (``span_server``) are ours.
"""

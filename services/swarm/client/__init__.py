"""The client's side of a text: ``session`` (one text), ``chain`` (its servers, and what to do when one dies),
``stream`` (the conversation with one server), ``routes`` (which servers), ``ends`` and ``batches`` (embeddings, norm,
head and choice of tokens, for all sessions that wait at once).

Everything runs on the event loop on which hivemind's connections live, except the products, which have one thread.
"""

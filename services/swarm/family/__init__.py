"""Any decoder-only architecture of transformers, cut into blocks (for servers) and ends (for clients).

No architecture is named in the code. ``families.json`` lists those that a test has shown to be exact, with what
stock Petals appends to their DHT prefix.
"""

"""Watches the swarm through its DHT and says, to people and to programs, which models can be used."""

"""The peer that others enter the swarm through: a node of the DHT that serves no blocks."""

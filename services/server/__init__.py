"""Shares this machine with the swarm: holds some of a model's blocks and runs them for whoever asks."""

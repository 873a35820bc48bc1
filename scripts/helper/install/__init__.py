"""Setting a machine up: a Docker engine where none answers, and base images where no registry does."""

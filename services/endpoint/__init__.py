"""The way in for applications: one generation core and a file per protocol that only translates."""

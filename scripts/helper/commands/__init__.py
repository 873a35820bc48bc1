"""The helper's commands, one a file; each ``run`` returns the exit code."""

"""What every room may import: settings, errors, logging and probes. Imports nothing of ours."""

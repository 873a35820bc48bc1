"""What the exporter answers to programs; each file only translates what the collector knows."""

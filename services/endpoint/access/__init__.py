"""Who may call the endpoint, from where, and how much at once."""

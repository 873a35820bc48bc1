"""The chat page at ``/``: plain files that speak the OpenAI API of the endpoint they come from."""

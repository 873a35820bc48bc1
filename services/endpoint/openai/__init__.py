"""The OpenAI API: what requests hold (``schema``), what answers look like (``chat``, ``completions``), the routes."""

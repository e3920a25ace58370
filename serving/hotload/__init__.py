"""A bundle is loaded beside models that answer, in a process of its own."""

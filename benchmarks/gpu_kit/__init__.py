"""A kit that measures on a borrowed machine with a GPU and without a network."""

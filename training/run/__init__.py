"""A run: its loop, its folder, and what it reports."""

"""`python -m serving doctor`: what would keep a server from working, found before it is needed.

One file per subject, each with a `check` that yields findings; `command.py` runs them all.
"""

"""The shell that every command line here runs in."""

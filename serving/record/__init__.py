"""What becomes of each request: its id, a line of the access log, and a span."""

"""What the server does now, once a second, for as long as somebody looks."""

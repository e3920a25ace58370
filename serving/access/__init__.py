"""Who may call the server: TLS, and whose certificates."""

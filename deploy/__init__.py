"""Where the server runs: containers, systemd, clusters; Python only where these want some."""

"""The server's settings by subject; `serving.config` makes one class of them."""

"""`python -m serving tune`: find the settings that suit a bundle on this machine, and use them."""

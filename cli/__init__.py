"""What every command line here needs."""

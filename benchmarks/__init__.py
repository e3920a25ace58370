"""What measures speed, and its recorded results."""

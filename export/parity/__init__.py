"""What a conversion changed: compared, recorded, shown."""

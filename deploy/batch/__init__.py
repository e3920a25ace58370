"""A data set at rest -> a row per image: what is independent of where the engine runs."""

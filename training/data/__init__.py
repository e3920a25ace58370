"""Images on their way to the network: datasets, pixels, batches."""

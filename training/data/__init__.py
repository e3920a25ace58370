"""Images on their way to the network: datasets, augmentation, batches."""

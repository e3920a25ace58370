"""Finished bundles: prove them anywhere, look into them, compare two of them."""

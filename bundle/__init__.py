"""The one thing that passes from export to serving."""

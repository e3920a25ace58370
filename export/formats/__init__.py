"""The file formats that can be written; each module imports its own framework."""

"""MindSpore Lite."""

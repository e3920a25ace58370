"""The application for Ray, with Ray and without."""

collect_ignore = ["inside"]  # for the interpreter of .venv-ray

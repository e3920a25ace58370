"""A data set at rest; Arrow and Ray are in an environment of their own."""

collect_ignore = ["inside"]  # for the interpreter of .venv-ray

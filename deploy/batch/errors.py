"""What keeps a data set from being classified; the message is for the user."""


class DatasetError(Exception):
    """The source, the target or an engine is not usable; the message says what would be right."""


class EngineLostError(DatasetError):
    """The device is lost for this process; another one may have it, and goes on with the run."""


class StoppedError(Exception):
    """The run is over: what still works for it must end."""

"""What can go wrong in an export.

ValueError
 +-- ExportError              what was asked for cannot be exported
 |    +-- ParityError         a written file does not answer as the checkpoint does
 |    +-- PrecisionError      a reduced precision cannot be had, or costs too much
 |    +-- VerificationError   a finished bundle does not hold what it states
 +-- BundleError              (bundle.store) a bundle is damaged or not what it says
"""


class ExportError(ValueError):
    """What was asked for cannot be exported; the message says what would be right."""


class ParityError(ExportError):
    """A written file does not answer as the evaluated checkpoint does; nothing was exported."""


class PrecisionError(ExportError):
    """A reduced precision cannot be had, or costs more than it may; the message has numbers."""


class VerificationError(ExportError):
    """A finished bundle does not hold what it states, on this machine."""

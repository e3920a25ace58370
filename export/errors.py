"""What can go wrong in an export; the command line prints the message, without a traceback.

ValueError
 +-- ExportError              what was asked for cannot be exported
 |    +-- ParityError         a written file does not answer as the original does
 |    +-- PrecisionError      a reduced precision is impossible, or costs too much
 |    +-- VerificationError   a finished bundle does not hold what it states
 +-- BundleError              (bundle.store) a bundle is damaged or not what it says
 +-- KeyFileError             (bundle.keys) a file holds no key that can sign a bundle, or check it
 +-- TrainingError            (training.errors) no usable checkpoint, dataset or device
"""


class ExportError(ValueError):
    """What was asked for cannot be exported; the message says what would be right."""


class ParityError(ExportError):
    """A written file does not answer as the original does, so nothing was exported."""


class PrecisionError(ExportError):
    """A reduced precision is impossible for this model, or costs more than it may.

    The message has the numbers, and names the flag that would leave the precision out.
    """


class VerificationError(ExportError):
    """A finished bundle does not hold what it states, on this machine.

    The message names every problem that was found, not only the first.
    """

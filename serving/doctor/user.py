"""Has the server more rights than it needs?"""

import os
from collections.abc import Iterator

from serving.doctor.finding import Case, Finding


def check(case: Case) -> Iterator[Finding]:  # noqa: ARG001 - every check has it
    """Look at the user that a server of this user's would run as."""
    if os.geteuid() == 0:
        yield Finding(
            "warn",
            "this user is root: a fault in a decoder would have all rights",
            "run the server as a user without rights: User= of systemd, --user of Docker",
        )
    else:
        yield Finding("ok", f"this user ({os.geteuid()}) is not root")

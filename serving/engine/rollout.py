"""Labels of a model's versions, and which version answers a request that names none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

# What these three labels do; any other is only a name.
STABLE = "stable"  # answers requests that name no version
CANARY = "canary"  # answers a share of them
SHADOW = "shadow"  # runs their images again while nothing else does


@dataclass(frozen=True)
class Rollout:
    """The labels of one model.

    Attributes:
        versions: the version of each label.
        canary_share: share of the requests without a version that go to the canary, 0 to 1.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    canary_share: float = 0.0

    def share_of(self, label: str) -> float:
        """Return the share of the requests without a version that a label stands for."""
        if label == CANARY:
            return self.canary_share
        return 1.0 - self.canary_share if label == STABLE else 0.0

    def __str__(self) -> str:
        """Name the labels, for the log."""
        shares = {CANARY: f" ({100 * self.canary_share:.6g}% of the requests without a version)"}
        named = (
            f"{label} {version}{shares.get(label, '') if self.canary_share else ''}"
            for label, version in self.versions.items()
        )
        return ", ".join(named) or "none"


NO_LABELS = Rollout()


def on_canary(name: str, request_id: str, share: float) -> bool:
    """Whether a request is among those that go to the canary.

    It stays among them when the share grows, on every server, whatever versions they hold.

    Args:
        name: of the model: each has other callers on its canary.
        request_id: the same for requests that belong together.
        share: of all requests, 0 to 1.
    """
    digest = blake2b(f"{name}/{request_id}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> 11 < share * 2**53  # as many bits as a float has

"""`python -m benchmarks.revisions`: the servers of two checkouts, by turns."""

from pathlib import Path

from pydantic import DirectoryPath, Field

from benchmarks.command import configured, start
from benchmarks.records import circumstances
from benchmarks.server import serving
from benchmarks.turns import Comparison, Turns
from cli.program import revision


class RevisionRecord(Turns):
    """A run of this benchmark."""

    old_revision: str
    old_model: str
    model: str


class Revisions(Comparison):
    """Compare the server of this checkout with that of an older one, each with its defaults."""

    model_config = configured("benchmarks.revisions")

    old: DirectoryPath = Field(description="folder of the other checkout")
    old_model: Path | None = Field(
        None, description="bundle that the other one exported; unset: the same"
    )

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started, old_model = circumstances("benchmarks.revisions"), self.old_model or self.model
        old = serving(old_model, tree=self.old.absolute())
        with old as before, serving(self.model) as after:
            turns = self.compare({"old": before, "new": after})
        record = RevisionRecord(
            **started.model_dump(),
            images=self.images,
            duration_s=self.duration_s,
            turns=turns,
            old_revision=revision(self.old) or "unknown",
            old_model=str(old_model),
            model=str(self.model),
        )
        page = f"old: {record.old_revision}, {record.old_model}; new: {record.model}\n\n"
        self.write(record, "revisions", page)


if __name__ == "__main__":
    start(Revisions)

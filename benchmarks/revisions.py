"""`python -m benchmarks.revisions`: the servers of two checkouts, by turns."""

from pathlib import Path

from pydantic import DirectoryPath, Field, PositiveFloat, PositiveInt

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import circumstances, markdown
from benchmarks.server import serving
from benchmarks.turns import HEADER, Turns, compared
from cli.program import revision
from cli.tables import show_rows


class RevisionRecord(Turns):
    """A run of this benchmark."""

    old_revision: str
    old_model: str
    model: str


class Revisions(Benchmark):
    """Compare the server of this checkout with that of an older one, each with its defaults."""

    model_config = configured("benchmarks.revisions")

    old: DirectoryPath = Field(description="folder of the other checkout")
    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle of this checkout"
    )
    old_model: Path | None = Field(
        None, description="bundle that the other one exported; unset: the same"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    concurrency: list[PositiveInt] = Field(
        [1, 32], description="requests in flight, comma-separated"
    )
    rounds: PositiveInt = Field(6, description="how often both take turns")
    duration_s: PositiveFloat = Field(4.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for revisions.json and revisions.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = record.cells()
        show_rows(HEADER, table, title=f"{record.model}, {record.images}", text_columns=2)
        page = f"old: {record.old_revision}, {record.old_model}; new: {record.model}\n\n"
        record.write(self.output, "revisions", page + markdown(HEADER, table, text_columns=2))

    def _measure(self) -> RevisionRecord:
        started, old_model = circumstances("benchmarks.revisions"), self.old_model or self.model
        old = serving(old_model, tree=self.old.absolute())
        with old as before, serving(self.model) as after:
            turns = compared(
                {"old": before, "new": after},
                images=self.images,
                concurrency=self.concurrency,
                rounds=self.rounds,
                seconds=self.duration_s,
            )
        return RevisionRecord(
            **started.model_dump(),
            images=self.images,
            duration_s=self.duration_s,
            turns=turns,
            old_revision=revision(self.old) or "unknown",
            old_model=str(old_model),
            model=str(self.model),
        )


if __name__ == "__main__":
    start(Revisions)

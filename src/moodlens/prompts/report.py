"""What reading one table of texts found, for a study's record and for the person who gave it."""

from pydantic import BaseModel, ConfigDict, Field


class TableReport(BaseModel):
    """What reading one table of texts found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="name of the file")
    dialect: str = Field(description="what separates its cells, or JSON, JSON lines, Parquet")
    encoding: str = Field(description="of its text; binary for Parquet")
    n_read: int = Field(description="rows that hold anything (count)")
    n_without_text: int = Field(description="rows without a text, left out (count)")
    n_without_label: int = Field(
        description="rows kept as unlabelled; all where no label was asked for (count)"
    )
    n_neutral: int = Field(
        description="rows that are labelled neutral and the study has no such emotion (count)"
    )
    n_contradictory: int = Field(
        description="rows whose text has different labels, so kept as unlabelled (count)"
    )
    n_duplicates: int = Field(description="rows that repeat an earlier text (count)")
    n_merged_groups: int = Field(description="texts that are there more than once, each one group (count)")
    n_rated: dict[str, int] = Field(
        default={}, description="column of ratings -> texts that have one (count)"
    )
    n_averaged: int = Field(
        default=0, description="ratings that became the mean of those of the same text (count)"
    )
    n_numbered: int = Field(
        description="texts that differ from an earlier one in numbers only, not joined (count)"
    )
    labels_merged: dict[str, tuple[str, ...]] = Field(description="label -> its other spellings")
    remarks: tuple[str, ...] = Field(description="sentences on labels and groups that are not what they seem")

    @property
    def line(self) -> str:
        """Everything worth saying, as one line."""
        n = self.n_read - self.n_without_text
        counts = {
            "without a text left out": self.n_without_text,
            "without a label": self.n_without_label if self.n_without_label < n else 0,
            "neutral": self.n_neutral,
            **{f"rated ({column})": count for column, count in self.n_rated.items()},
            "ratings averaged with others of the same text": self.n_averaged,
            f"repeat an earlier text ({self.n_merged_groups} texts, a group each)": self.n_duplicates,
            "differ from an earlier text in numbers only and are not joined": self.n_numbered,
        }
        parts = [f"{self.file}: {n} texts", *(f"{count} {what}" for what, count in counts.items() if count)]
        parts += [f"{', '.join(spelled)} read as {label}" for label, spelled in self.labels_merged.items()]
        return "; ".join([*parts, *self.remarks])

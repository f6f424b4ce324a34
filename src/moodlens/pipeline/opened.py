"""A study as a person opens it: what it found, and what can be done with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.errors import BadInput
from moodlens.core.inside import refuse_links
from moodlens.core.progress import Progress, silent
from moodlens.pipeline import transaction
from moodlens.pipeline.stage import plan
from moodlens.study.record import make_anew
from moodlens.study.records.verdict import Verdict
from moodlens.study.state import Standing, read_states, standing
from moodlens.study.study import Study

if TYPE_CHECKING:
    import polars as pl

    from moodlens.features.inspect import Inspection
    from moodlens.settings.steer import SteerSettings
    from moodlens.settings.study import Settings
    from moodlens.steer.run import SteerOutcome
    from moodlens.study.records.verdict import Verdict


class OpenStudy(Study):
    """A study that was run: ``moodlens.open("runs/quickstart")``.

    What is finished, current and undamaged can be read; everything else is refused with the verb that makes it anew.
    """

    @classmethod
    def open(cls, path: Path | str) -> "OpenStudy":
        """Open a study folder.

        Raises:
            BadInput: it is not one, or a link in it leads out of it.
        """
        path = Path(path)
        refuse_links(path)
        if (path / transaction.COMMIT).is_dir():  # a run was killed while its results were moved into place
            with transaction.locked(path):
                transaction.finish_commit(path)
        if not (path / "study.yaml").is_file():
            raise BadInput(
                f"{path}: not a study folder (no study.yaml); make one with: moodlens run --out {path}"
            )
        study = cls(path)
        study._keys, study.memory = expected_keys(study.settings, path), study.settings.engine.memory
        return study

    @property
    def verdict(self) -> Verdict:
        """Go or no-go, with every criterion beside its controls."""
        return self.require("verdict").read(Verdict)

    def examples(self, feature: int, n: int = 5) -> "pl.DataFrame":
        """The ``n`` test texts that fire a feature most: text, emotion, activation.

        Raises:
            BadInput: there is no such feature, or the study is not that far.
        """
        import polars as pl

        self.require("train")
        if not 0 <= feature < self.sae().d_sae:
            raise BadInput(f"feature {feature}: the SAE has features 0 to {self.sae().d_sae - 1}")
        rows = self.rows.where("test", kinds=None)
        activation = self.codes()[rows, feature]
        best = np.argsort(-activation, kind="stable")[:n]
        best = best[activation[best] > 0]
        emotion = [self.emotions[label] if label >= 0 else None for label in self.rows.label[rows[best]]]
        return pl.DataFrame(
            {
                "text": self.rows.texts[rows[best]].tolist(),
                "emotion": pl.Series(emotion, dtype=pl.String),
                "activation": activation[best],
            }
        )

    def score(
        self, texts: Sequence[str], labels: Sequence[str | None] | None = None, *, progress: Progress = silent
    ) -> "pl.DataFrame":
        """Family scores and activations of the emotion features for any texts, one row each.

        Args:
            texts: one or more, of any length; families read them as `validation.transfer.reading` says (token by token unless told otherwise),
                activations are the largest of a text's sentences.
            labels: the emotion of each, shown beside it.

        Raises:
            BadInput: the features are not there or outdated, the study's encoder cannot be loaded, a text is none or blank,
                or there is not one label a text.
        """
        import polars as pl

        from moodlens.embed.reading import check_texts
        from moodlens.pipeline.score import score_frame

        self.require("features")
        check_texts(texts)  # one string is a sequence of strings, too
        n = len(texts)
        if not n:
            raise BadInput("texts: none are given")
        if labels is not None and (isinstance(labels, str) or len(labels) != n):
            got = "one string" if isinstance(labels, str) else f"{len(labels)} labels"
            raise BadInput(f"labels: expected one for each of {n} texts, in a list; got {got}")
        frame = pl.DataFrame(
            {
                "id": [str(i) for i in range(n)],
                "text": list(texts),
                "emotion": pl.Series(list(labels) if labels is not None else [None] * n, dtype=pl.String),
                "group": [str(i) for i in range(n)],
            }
        )
        settings = self.settings
        parts: list[pl.DataFrame] = []
        score_frame(
            self,
            frame,
            "texts",
            settings.encoder,
            settings.validation.transfer,
            grouped=False,
            take=lambda part: parts.append(part.table),
            progress=progress,
        )
        return pl.concat(parts)

    def steer(
        self, out: Path | str, settings: "SteerSettings | None" = None, *, progress: Progress = silent
    ) -> "SteerOutcome":
        """Generate music with the study's families added to the conditioning, beside every baseline, into ``out``.

        Raises:
            BadInput: the features are not there or outdated, or the generator's text encoder is another.
        """
        from moodlens.settings.steer import SteerSettings
        from moodlens.steer.run import run_steer

        self.require("features")
        chosen = settings or self.settings.steer or SteerSettings()
        return run_steer(self, out, chosen, progress)

    def inspect(
        self, features: Sequence[int] = (), *, emotion: str | None = None, top: int = 3, n: int = 5
    ) -> "list[Inspection]":
        """Features laid out on the test rows: what fires each, what should and does not, names, neighbours, readings.

        Args:
            features: their numbers; empty: the ``top`` emotion features of ``emotion``, or of each.
            n: texts in each list.

        Raises:
            BadInput: the features are not there or outdated, or there is no such feature.
        """
        from moodlens.features.inspect import inspect_feature, top_features

        self.require("features")
        table = self.features
        chosen = list(features) or top_features(table, emotion, top)
        if not chosen:
            raise BadInput(
                f"{self.path}: it has no emotion feature (moodlens features {self.path} says why); name one with --feature N"
            )
        test = self.rows.where("test", kinds=None)
        codes, rows = self.codes()[test], self.rows[test]
        strength = self.families.scores(codes)
        readings = self.notes.latest(self.sae_key)
        shown = []
        for feature in chosen:
            lean = table["emotion"][feature] if 0 <= feature < table.height else None
            if lean is not None and lean not in self.emotions:
                raise BadInput(
                    f"{self.path}: a feature is of emotion {lean!r}, which the prompts have not; "
                    f"{make_anew('features', self.path)}"
                )
            shown.append(
                inspect_feature(
                    feature,
                    table,
                    codes,
                    rows,
                    seed=self.seed,
                    n=n,
                    decoder=self.W_dec(),
                    strength=None if lean is None else strength[:, self.emotions.index(lean)],
                    reading=readings.get(feature),
                )
            )
        return shown

    def record_reading(self, feature: int, *, name: str, clarity: str, note: str, author: str) -> None:
        """Keep a person's reading of a feature in notes.db; the next report shows it."""
        self.notes.add(feature, sae=self.sae_key, name=name, clarity=clarity, note=note, author=author)

    def __repr__(self) -> str:
        states = read_states(self.path)
        done = "verdict" in states
        what = ("GO" if self.verdict.go else "NO-GO") if done else f"{len(states)} stages done"
        return f"<moodlens study {self.settings.name!r} in {self.path}: {what}>"


def expected_keys(settings: "Settings", folder: Path) -> Mapping[str, str]:
    """Stage -> the key that its record must have to be current."""
    from moodlens.pipeline.stages import STAGES
    from moodlens.settings.study import with_absolute_paths

    return plan(with_absolute_paths(settings), folder, STAGES, read_states(folder)).keys


def stage_states(folder: Path | str, *, deep: bool = False) -> dict[str, Standing]:
    """How each stage of the study in ``folder`` stands, in order.

    Args:
        deep: compare the hash of every file, however unchanged it looks.

    Raises:
        BadInput: not a study folder, or its study.yaml cannot be read.
    """
    from moodlens.pipeline.stages import STAGES

    study = OpenStudy.open(folder)
    states, keys = read_states(study.path), expected_keys(study.settings, study.path)
    return {each.name: standing(study.path, each.name, states, keys, deep=deep) for each in STAGES}


def open(path: Path | str) -> OpenStudy:
    """Open the study in a folder: ``moodlens.open("runs/quickstart")``.

    Raises:
        BadInput: it is not a study folder.
    """
    return OpenStudy.open(path)

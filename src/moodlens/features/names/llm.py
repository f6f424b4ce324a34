"""Names from a language model, held to the same test as all others; and a language model as a second judge of any names.

The namer sees train + val texts that fire a feature and texts that do not, and answers with a short name. It never sees
the texts that test the name. The judge sees a name and unseen texts of the feature's own emotion, half of which fire it,
and says which do; it is asked the same of a name dealt from another feature of that emotion.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.features.names.endpoint import ask_each, ask_json
from moodlens.features.names.judge import JudgedNames
from moodlens.features.names.make import Material, Named
from moodlens.features.names.words import read_name
from moodlens.settings.names import NamerSettings, NameSettings
from moodlens.study.coded import Coded
from moodlens.study.records.names import JudgeAgreement

if TYPE_CHECKING:
    import polars as pl

NAMING = (
    "You name features of text embeddings of music descriptions. You get texts that activate a feature, strongest "
    'first, and texts that do not. Answer with a JSON object {"name": "..."} whose value is two to six single words of '
    "the activating texts, separated by commas, that say what these texts are about; not instruments, genres or tempi."
)
HEADED = (
    ' If they are about one of these, begin with it and a colon, as in "{example}: word, word": {concepts}.'
)
JUDGING = (
    "You get the name of a feature of text embeddings of music descriptions, and numbered texts. About half of the texts "
    'activate the feature. Answer with a JSON object {"active": [...]}: the numbers of those that the name makes you '
    "expect to."
)


@dataclass(frozen=True)
class ModelNamer:
    """Gives the emotion features other names; the other features keep theirs."""

    codes: np.ndarray
    """(n_rows, d_sae) activations of the study's rows."""
    strong: frozenset[int]
    """The emotion features."""
    namer: NamerSettings
    seed: int
    sleep: Callable[[float], None] = time.sleep
    progress: Progress = silent

    @classmethod
    def of(
        cls,
        table: "pl.DataFrame",
        codes: np.ndarray,
        namer: NamerSettings,
        *,
        seed: int,
        progress: Progress = silent,
    ) -> "ModelNamer":
        """For the emotion features of ``table``."""
        strong = table.filter(table["emotion_feature"])["feature"].to_list()
        return cls(codes, frozenset(strong), namer, seed, progress=progress)

    def __call__(self, named: Sequence[Named], material: Material) -> list[Named]:
        """Ask for the names, several side by side.

        Raises:
            BadInput: the key is not set, or the endpoint cannot be reached or answers something else.
        """
        concepts = sorted({concept for _, concept in material.reader.concepts})
        texts = material.texts.rows.texts

        def answered(item: Named) -> Named:
            active = self.codes[material.numbers, item.feature]
            examples = [
                texts[part].tolist() for part in _examples(active, self.namer.n_examples, seed=self.seed)
            ]
            answer = ask_name(examples, concepts, self.namer, feature=item.feature, sleep=self.sleep)
            learned = item.learned.model_copy(update={"model": self.namer.model, "answer": answer})
            return replace(item, name=read_name(answer, concepts), learned=learned)

        strong = [i for i, item in enumerate(named) if item.feature in self.strong]
        answers = ask_each([named[i] for i in strong], answered, self.namer, progress=self.progress)
        out = list(named)
        for i, item in zip(strong, answers, strict=True):
            out[i] = item
        return out


def _examples(activation: np.ndarray, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to show: half the strongest and half from all firings, strongest first; and silent rows."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-activation, kind="stable")
    active = order[activation[order] > 0]
    rest = rng.permutation(active[(n + 1) // 2 :])[: n // 2]
    shown = np.r_[active[: (n + 1) // 2], rest]
    quiet = rng.permutation(np.flatnonzero(activation <= 0))[:n]
    return shown[np.argsort(-activation[shown], kind="stable")], quiet


def ask_name(
    examples: Sequence[Sequence[str]],
    concepts: Sequence[str],
    namer: NamerSettings,
    *,
    feature: int,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Ask for the name of one feature, given (texts that fire it, texts that do not).

    Raises:
        BadInput: no usable answer, in one line that names the address and the reason.
    """
    titles = ("Texts that activate the feature:", "Texts that do not:")
    question = "\n\n".join("\n".join([title, *texts]) for title, texts in zip(titles, examples, strict=True))
    headed = HEADED.format(example=concepts[0], concepts=", ".join(concepts)) if concepts else ""
    name = ask_json(namer, NAMING + headed, question, where=f"feature {feature}", sleep=sleep).get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise BadInput(
            f"{namer.url}: feature {feature}: the answer's name is not a short text; try another model"
        )
    return " ".join(name.split())


def judge_with_model(
    judged: JudgedNames,
    table: "pl.DataFrame",
    coded: Coded,
    settings: NameSettings,
    namer: NamerSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> JudgedNames:
    """Ask a language model which unseen texts fire each judged feature, by its own name and by a dealt one.

    Args:
        judged: names with their first judgement.
        table: one row per feature with ``feature`` and ``emotion``.
        coded: the study's rows with codes.
        settings: ``splits``.
        namer: the endpoint; ``n_examples`` texts that fire and as many that do not are shown.
        seed: of the texts, and of the names that are dealt.

    Returns:
        The same with the column ``name_judged`` and the record's ``judge``.

    Raises:
        BadInput: the endpoint cannot be reached or answers something else.
    """
    import polars as pl

    rows, codes = coded.rows, coded.codes
    known = judged.table.filter(pl.col("name_score").is_not_null()).join(
        table.select("feature", "emotion"), on="feature", how="left", maintain_order="left"
    )
    rng = np.random.default_rng([seed, 0x1D6E])
    questions: list[tuple[int, str, list[str], np.ndarray]] = []
    for emotion in known["emotion"].unique(maintain_order=True).to_list():
        of_emotion = known.filter(pl.col("emotion") == emotion)
        unseen = rows.where(*settings.splits)
        unseen = unseen[rows.label[unseen] == rows.emotions.index(emotion)]
        names = of_emotion["name"].to_list()
        # Every feature gets the name of the next one in a random circle: never its own, where there are two.
        circle = rng.permutation(len(names))
        dealt = {int(a): names[int(b)] for a, b in zip(circle, np.roll(circle, 1), strict=True)}
        for i, (feature, name) in enumerate(zip(of_emotion["feature"].to_list(), names, strict=True)):
            fires = codes[unseen, feature] > 0
            n = int(min(namer.n_examples, fires.sum(), (~fires).sum()))
            drawn = [rng.permutation(unseen[side])[:n] for side in (fires, ~fires)]
            shown = rng.permutation(np.concatenate(drawn))
            truth = codes[shown, feature] > 0
            for called in (name, dealt[i]):
                questions.append((feature, called, rows.texts[shown].tolist(), truth))
    answers = ask_each(questions, lambda question: _accuracy(*question, namer), namer, progress=progress)
    own, control = answers[::2], answers[1::2]
    agreement = JudgeAgreement(
        model=namer.model,
        n_asked=len(own),
        accuracy=float(np.median(own)) if own else None,
        control=float(np.median(control)) if own else None,
    )
    judged_names = pl.DataFrame(
        {"feature": known["feature"], "name_judged": own},
        schema={"feature": pl.Int64, "name_judged": pl.Float64},
    )
    columns = judged.table.columns
    frame = judged.table.drop("name_judged").join(
        judged_names, on="feature", how="left", maintain_order="left"
    )
    return replace(
        judged, table=frame.select(columns), summary=judged.summary.model_copy(update={"judge": agreement})
    )


def _accuracy(
    feature: int, name: str, texts: Sequence[str], truth: np.ndarray, namer: NamerSettings
) -> float:
    """Share of the texts that the model puts on the right side."""
    lines = [f"Name: {name}", "", *(f"{i}. {text}" for i, text in enumerate(texts, 1))]
    answer = ask_json(namer, JUDGING, "\n".join(lines), where=f"feature {feature}").get("active")
    if not isinstance(answer, list) or not all(isinstance(i, int) for i in answer):
        raise BadInput(
            f"{namer.url}: feature {feature}: the answer holds no list of numbers; try another model"
        )
    picked = np.array([i in answer for i in range(1, len(texts) + 1)])
    return float((picked == truth).mean())

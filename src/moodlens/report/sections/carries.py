"""Does it carry over: new words and scenes, negations and mixtures, texts written by others."""

from typing import Any

from moodlens.report.document import Absent, Block, Picture, Section, Table, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, interval, number
from moodlens.report.sections.proof import lead

METHOD_NAMES = {
    "family": "SAE family (up to 10 features)",
    "top_feature": "Best single SAE feature",
    "family_active": "SAE family, active features only",
    "top_feature_active": "Best single SAE feature, active only",
    "difference_in_means": "Dense: difference-in-means",
    "linear_probe": "Dense: linear probe",
}


def generalization(e: Evidence) -> Section:
    """New words, new scenes, and texts written by others."""
    title = "Generalization and transfer"
    blocks = lead(e, "generalization")
    if e.features is not None and e.features["held_out_auroc"].null_count() < e.features.height:
        blocks.append(
            Picture(
                "held-out",
                "Each emotion feature on test texts and on held-out emotion words, scenes and templates. On the diagonal "
                "nothing is lost.",
                "Scatter plot of held-out AUROC against test AUROC of the emotion features.",
            )
        )
    else:
        blocks.append(Absent("generalization to held-out words and scenes", "moodlens transfer DIR"))
    transfer = e.transfer or {}
    blocks += _held_out(e, transfer.get("held_out") or {})
    special = _special(e, transfer.get("special") or [])
    blocks += [special] if special else []
    sets = transfer.get("sets") or []
    if not sets:
        blocks.append(
            Absent(
                "transfer to texts of other people", "moodlens transfer DIR TEXTS.csv --text-column caption"
            )
        )
    for number_, texts in enumerate(sets):
        blocks += _transfer_blocks(e, number_ + 1, texts)
    return Section("generalization", title, tuple(blocks))


def _transfer_blocks(e: Evidence, place: int, texts: dict[str, Any]) -> list[Block]:
    name = plain_text(texts["name"])
    caption = f"AUROC on {name}: {texts['n']:,} texts in {texts['n_groups']:,} groups, read {plain_text(texts['reading'])}"
    return [
        _areas(e, caption, texts["auroc"], texts.get("n_seen") or 0),
        Picture(
            f"transfer-{place}",
            "SAE families and single features beside two dense baselines that see the whole embedding.",
            f"AUROC with intervals on {name} for each method and emotion.",
        ),
    ]


def _areas(e: Evidence, caption: str, auroc: dict[str, Any], n_seen: int = 0) -> Table:
    judged = "nothing on these"
    if n_seen:
        judged = f"and {n_seen:,} of these texts, or sentences of them, were among those: not new to the SAE"
    columns = [*[x for x in e.emotions if any(x in of for of in auroc.values())], "mean"]
    rows = []
    for method, label in METHOD_NAMES.items():
        if method in auroc:
            cells = [auroc[method].get(column) or {} for column in columns]
            rows.append((label, *(f"{number(c.get('value'))} {_ci(c.get('ci'))}".strip() for c in cells)))
    reading = ""
    if "family_active" in auroc:  # studies of earlier versions were read from activations alone
        reading = (
            "Families and single features are read before the SAE's threshold; the rows named active count only texts "
            "in which a feature passes it. "
        )
    return Table(
        caption,
        ("Method", *(plain_text(c) if c != "mean" else "mean of emotions" for c in columns)),
        tuple(rows),
        numeric=frozenset(range(1, len(columns) + 1)),
        note=f"0.5 is chance. {reading}Everything was fitted on the study's train and validation texts, {judged}. "
        "In brackets: 95 % interval, bootstrap over groups.",
    )


def _held_out(e: Evidence, found: dict[str, Any]) -> list[Block]:
    if not found.get("auroc"):
        return []
    caption = f"AUROC on held-out emotion words, scenes and templates: {found['n']:,} texts in {found['n_groups']:,} groups"
    return [_areas(e, caption, found["auroc"])]


_SPECIAL = {"negation": "Negations", "mixed": "Mixed emotions", "neutral": "No emotion"}


def _special(e: Evidence, found: list[dict[str, Any]]) -> Table | None:
    rows = [
        (
            _SPECIAL[one["kind"]],
            plain_text(one["emotion"]),
            f"{one['n']:,} ({one['n_groups']:,})",
            number(one["score"]),
            number(one["plain_own"]),
            number(one["plain_others"]),
            number(one["percentile_own"], 1),
            number(one["percentile_others"], 1),
        )
        for one in found
        if one["kind"] in _SPECIAL and one["emotion"] in e.emotions
    ]
    if not rows:
        return None
    head = (
        "Texts", "Family", "n (groups)", "Mean score", "Plain texts of it", "Plain texts of others",
        "Percentile among its own", "Percentile among others",
    )  # fmt: skip
    return Table(
        "Negations, mixed emotions and neutral texts on the family's score",
        head,
        tuple(rows),
        numeric=frozenset(range(2, 8)),
        note="A family that reads meaning puts a negation of its emotion among the texts of others (around the 50th "
        "percentile there); one that reads words puts it among its own.",
    )


def _ci(ci: Any) -> str:
    text = interval(ci, lambda value: number(value, 2))
    return "" if text == NONE else text

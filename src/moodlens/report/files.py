"""The files of a study folder that a report reads, each checked for what the report needs of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput, read_json, read_table

if TYPE_CHECKING:
    import polars as pl

# File -> keys that must be there (a dot leads into an inner object), and the command that writes it anew.
_JSON: dict[str, tuple[tuple[str, ...], str]] = {
    "embeddings/manifest.json": (("info", "rows"), "moodlens embed"),
    "phase0.json": (
        (
            "n", "n_groups", "d_in", "similarity.within.mean", "similarity.within.n_pairs", "similarity.between.mean",
            "similarity.between.n_pairs", "similarity.difference", "similarity.permutation.p",
            "similarity.permutation.null_p95", "similarity.permutation.n_units", "similarity.matrix", "similarity.t_p",
            "linear_probe.mean", "linear_probe.chance", "pca.coordinates", "pca.variance_share",
            "signal_to_noise.mean", "signal_to_noise.chance", "signal_to_noise.dimensions", "signal_to_noise.values",
        ),
        "moodlens probe",
    ),
    "cfg.json": (("d_in", "d_sae"), "moodlens train"),
    "reconstruction.json": (("held_out.mse", "held_out.explained_variance", "train", "baselines.mean"), "moodlens train"),
    "selection.json": (
        ("n_emotion_features", "n_alive", "per_emotion", "shuffled.counts", "shuffled.mean", "shuffled.p95"),
        "moodlens features",
    ),
    "families.json": (("families",), "moodlens features"),
    "transfer.json": (("sets",), "moodlens transfer"),
    "agreement.json": (("n_seeds", "emotions", "mean"), "moodlens report"),
    "pairs.json": (("compositionality", "orthogonality"), "moodlens pairs"),
    "verdict.json": (("go", "criteria"), "moodlens report"),
}  # fmt: skip
_CRITERION = ("id", "label", "must", "threshold", "value", "passed")

_TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "prompts.parquet": (("text", "emotion", "kind", "split", "group"), "moodlens prompts"),
    "sweep.parquet": (
        ("name", "architecture", "d_sae", "explained_variance", "l0", "mse", "dead_share", "pareto", "chosen"),
        "moodlens sweep",
    ),
    "features.parquet": (
        (
            "feature", "emotion", "auroc_dev", "auroc", "selectivity", "p", "q", "density", "tested",
            "emotion_feature", "held_out_auroc",
        ),
        "moodlens features",
    ),
    "interventions.parquet": (
        (
            "kind", "subject", "feature", "emotion", "target", "dose", "readout", "effect", "ci_low", "ci_high",
            "control_mean", "control_p99", "p", "q", "n_groups",
        ),
        "moodlens causal",
    ),
    "stability.parquet": (("feature", "n_seeds", "reappears", "decoder_cosine", "null_cosine_p95"), "moodlens stability"),
}  # fmt: skip


def json_file(folder: Path, name: str) -> Any:
    """A JSON file of the study, None where it is absent.

    Raises:
        BadInput: it is damaged or lacks something the report needs.
    """
    path = folder / name
    if not path.is_file():
        return None
    value = read_json(path)
    keys, command = _JSON[name if name in _JSON else path.name]
    for key in keys:
        inner = value
        for part in key.split("."):
            if not isinstance(inner, dict) or part not in inner:
                raise BadInput(f"{path}: lacks {key!r}; make it anew: {command} {folder} --force")
            inner = inner[part]
    if name == "verdict.json":
        _check_criteria(path, value["criteria"], folder)
    return value


def _check_criteria(path: Path, criteria: Any, folder: Path) -> None:
    whole = isinstance(criteria, list) and all(
        isinstance(c, dict) and all(key in c for key in _CRITERION) for c in criteria
    )
    if not whole:
        raise BadInput(
            f"{path}: every criterion needs {', '.join(_CRITERION)}; make it anew: moodlens report {folder} --force"
        )


def table_file(folder: Path, name: str) -> "pl.DataFrame | None":
    """A Parquet file of the study, None where it is absent.

    Raises:
        BadInput: it is damaged or lacks a column the report needs.
    """
    path = folder / name
    if not path.is_file():
        return None
    frame = read_table(path).fill_nan(None)
    columns, command = _TABLES[name]
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInput(f"{path}: lacks the column {missing[0]!r}; make it anew: {command} {folder} --force")
    return frame


def command_of(name: str) -> str:
    """The command that measures what a topic needs."""
    commands = {
        "prompts": "prompts", "phase0": "probe", "sae_config": "train", "reconstruction": "train", "histories": "train",
        "sweep": "sweep", "features": "features", "selection": "features", "families": "features", "codes": "train",
        "named": "names", "interventions": "causal", "stability": "stability", "agreement": "agreement",
        "pairs": "pairs", "transfer": "transfer", "judged_held_out": "transfer", "verdict": "report",
    }  # fmt: skip
    return f"moodlens {commands[name]} DIR"

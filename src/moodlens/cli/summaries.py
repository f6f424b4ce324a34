"""What each stage says when it is done: one JSON object, and lines for people."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from moodlens.cli.output import describe, table
from moodlens.core import read_json, read_table
from moodlens.study.study import Study

Summary = tuple[dict[str, Any], list[str]]


def run_summary(folder: Study) -> Summary:
    """The verdict, where the report is and how long everything took."""
    verdict = read_json(folder.path / "verdict.json")
    seconds = folder.seconds()
    value = {
        "study": str(folder.path),
        "go": verdict["go"],
        "verdict": verdict,
        "report": str(folder.path / "report.html"),
        "seconds": seconds | {"total": folder.elapsed()},
    }
    times = ", ".join(f"{name} {took:.0f}" for name, took in seconds.items() if took >= 0.5)
    lines = [
        *_verdict_lines(folder, verdict),
        "",
        f"report:  {folder.path / 'report.html'}",
        f"seconds: {folder.elapsed():.0f} ({times})",
    ]
    return value, lines


def _verdict_lines(folder: Study, verdict: dict[str, Any]) -> list[str]:
    rows = []
    for one in verdict["criteria"]:
        control = one["control"] or {"name": "", "value": None}
        state = "pass" if one["passed"] else "uninformative" if one["uninformative"] else "FAIL"
        state = "not measured" if one["value"] is None else state
        rows.append(
            [
                "must" if one["must"] else "nice",
                one["id"],
                "-" if one["value"] is None else f"{one['value']:.4g}",
                "-" if control["value"] is None else f"{control['value']:.4g}",
                state,
                one["threshold"],
            ]
        )
    head = "GO" if verdict["go"] else "NO-GO"
    note = "" if folder.study.control == "none" else " (control study: the labels are shuffled)"
    lines = [f"{head}: {folder.study.name}, encoder {folder.encoder_info['encoder']}{note}", ""]
    lines += table(["", "criterion", "value", "control", "", "threshold"], rows)
    if verdict["next_steps"]:
        lines += ["", "what to do next:", *(f"- {step}" for step in verdict["next_steps"])]
    return lines


def prompts(folder: Study) -> Summary:
    """Counts of emotions by split."""
    frame = folder.prompts.with_columns(pl.col("emotion").fill_null("(none)"))
    counts = frame.group_by("emotion", "split").agg(pl.len(), pl.col("group").n_unique().alias("groups"))
    splits = [s for s in ("train", "val", "test", "held_out") if s in set(frame["split"])]
    rows = []
    by: dict[str, Any] = {}
    for emotion in (*folder.study.emotions, "(none)"):
        mine = {r["split"]: r for r in counts.filter(pl.col("emotion") == emotion).to_dicts()}
        if mine:
            by[emotion] = {s: {"rows": r["len"], "groups": r["groups"]} for s, r in mine.items()}
            rows.append(
                [emotion, *(f"{mine[s]['len']} ({mine[s]['groups']})" if s in mine else "-" for s in splits)]
            )
    value = {"n": frame.height, "n_groups": frame["group"].n_unique(), "emotions": by}
    return value, [f"{frame.height} prompts; rows (groups) by split:", *table(["emotion", *splits], rows)]


def embed(folder: Study) -> Summary:
    """What the store holds."""
    info = folder.encoder_info
    value = {"rows": folder.prompts.height, **info, "store": str(folder.path / "embeddings")}
    return value, describe(value)


def probe(folder: Study) -> Summary:
    """Phase 0."""
    return phase0(read_json(folder.path / "phase0.json"))


def phase0(value: dict[str, Any]) -> Summary:
    """Phase 0, of a study or of embeddings alone."""
    similarity, linear = value["similarity"], value["linear_probe"]
    return value, [
        f"{value['n']} texts, {value['n_groups']} groups, {value['d_in']} dimensions",
        *describe({"similarity": _short(similarity), "linear probe": _short(linear)}),
    ]


def _short(value: dict[str, Any]) -> dict[str, Any]:
    """The entries that fit on a line: no matrices."""
    kept = {}
    for key, item in value.items():
        if isinstance(item, list) and (len(item) > 8 or any(isinstance(i, (list, dict)) for i in item)):
            continue
        kept[key] = _short(item) if isinstance(item, dict) else item
    return kept


def sweep(folder: Study) -> Summary:
    """One line per SAE, the choice and the advice."""
    from moodlens.sae import advice

    frame = read_table(folder.path / "sweep.parquet")
    records = frame.drop("settings").to_dicts()
    columns = [
        "architecture",
        "d_sae",
        "k",
        "l1_coefficient",
        "explained_variance",
        "mse",
        "l0",
        "active_share",
        "dead_share",
    ]
    rows = [
        [*(record[c] for c in columns), "*" if record["pareto"] else "", "chosen" if record["chosen"] else ""]
        for record in records
    ]
    chosen = next(record for record in records if record["chosen"])
    said = advice(chosen)
    value = {"saes": records, "chosen": chosen["name"], "reason": chosen["reason"], "advice": said}
    lines = [*table([*columns, "pareto", ""], rows), "", f"chosen: {chosen['reason']}"]
    return value, lines + [f"advice: {line}" for line in said]


def train(folder: Study) -> Summary:
    """Reconstruction beside its baselines."""
    value = read_json(folder.path / "reconstruction.json")
    rows = [
        [
            name,
            part.get("mse"),
            part.get("explained_variance"),
            part.get("l0"),
            part.get("active_share"),
            part.get("dead_share"),
        ]
        for name, part in (
            ("SAE, test rows", value["held_out"]),
            ("SAE, training rows", value["train"]),
            ("train mean", value["baselines"]["mean"]),
            (f"PCA, {value['baselines']['pca']['n_components']} components", value["baselines"]["pca"]),
        )
    ]
    head = ["", "mse", "explained variance", "l0", "active share", "dead share"]
    names = ["main", *folder.seed_names()]
    return value | {"saes": names}, [
        *table(head, rows),
        "",
        f"SAEs: {', '.join(names)} in {folder.path / 'sae'}",
    ]


def stability(folder: Study) -> Summary:
    """How many features come back."""
    frame = read_table(folder.path / "stability.parquet")
    alive = frame.filter(pl.col("alive"))
    needed = folder.study.verdict.min_reappearance - 1e-9
    value = {
        "n_features": frame.height,
        "n_alive": alive.height,
        "n_seeds": int(frame["n_seeds"][0]),
        "reappear_share": float((alive["reappears"] >= needed).mean() or 0),  # type: ignore[arg-type]
        "null_share": float(frame["null_share"][0]),
        "mean_decoder_cosine": float(alive["decoder_cosine"].mean() or 0),  # type: ignore[arg-type]
        "null_cosine_p95": float(frame["null_cosine_p95"][0]),
        "mean_correlation": float(alive["correlation"].mean() or 0),  # type: ignore[arg-type]
    }
    return value, describe(value)


def features(folder: Study) -> Summary:
    """The count beside its control, and the best features of every emotion."""
    found = read_json(folder.path / "selection.json")
    frame = read_table(folder.path / "features.parquet").filter(pl.col("emotion_feature"))
    shown = ["feature", "emotion", "auroc", "selectivity", "q", "density", "stability", "n_groups"]
    best = frame.sort("auroc", descending=True).group_by("emotion", maintain_order=True).head(5)
    best = best.sort(pl.col("emotion").cast(pl.Enum(folder.study.emotions)), maintain_order=True)
    alone, shuffled = found["threshold_only"], found["shuffled"]
    lines = [
        f"{found['n_emotion_features']} emotion features of {found['n_features']}; under shuffled labels "
        f"{shuffled['mean']:.1f} on average, 95th percentile {shuffled['p95']:.1f}",
        f"the threshold alone (selectivity > 2) passes {alone['count']}; shuffled {alone['shuffled_mean']:.0f}",
        "",
        *table(shown, [[record[c] for c in shown] for record in best.to_dicts()]),
    ]
    return found | {"features": frame.drop("family_rank", "family_weight").to_dicts()}, lines


def names(folder: Study) -> Summary:
    """Names and how well they detect."""
    frame = read_table(folder.path / "names.parquet").join(
        read_table(folder.path / "features.parquet").select("feature", "emotion", "auroc"), on="feature"
    )
    frame = frame.filter(pl.col("name").is_not_null()).sort("name_score", descending=True, nulls_last=True)
    value = read_json(folder.path / "names.json")
    shown = ["feature", "emotion", "name", "name_score", "name_control", "name_q", "interpretable"]
    rows = [[record[c] for c in shown] for record in frame.head(30).to_dicts()]
    return value | {"names": frame.drop("name_evidence").to_dicts()}, [
        *describe(_short(value)),
        "",
        *table(shown, rows),
    ]


def causal(folder: Study) -> Summary:
    """How many features move their emotion, beside the controls."""
    value = read_json(folder.path / "causal.json")
    rows = [
        [e, value["per_emotion"].get(e, 0), value["control_per_emotion"].get(e, 0)]
        for e in folder.study.emotions
    ]
    lines = [*table(["emotion", "causal features", value["control_name"]], rows), "", value["rule"]]
    return value, lines


def transfer(folder: Study) -> Summary:
    """AUROCs on held-out words and on the user's texts."""
    value = read_json(folder.path / "transfer.json")
    sets = [{"name": "held-out words and scenes", **value["held_out"]}, *value["sets"]]
    lines: list[str] = []
    for one in sets:
        lines += [*auroc_lines(one, folder.study.emotions), ""]
    return value, lines[:-1]


def auroc_lines(result: dict[str, Any], emotions: tuple[str, ...]) -> list[str]:
    """One table of AUROCs: methods by emotions."""
    if not result.get("auroc"):
        return [f"{result['name']}: {result.get('note') or 'no labels, so no AUROC'}"]
    columns = [*emotions, "mean"]

    def cell(part: dict[str, Any]) -> str:
        if part is None or part["value"] is None:
            return "-"
        interval = f" [{part['ci'][0]:.2f}, {part['ci'][1]:.2f}]" if part.get("ci") else ""
        return f"{part['value']:.3f}{interval}"

    rows = [[method, *(cell(parts.get(c)) for c in columns)] for method, parts in result["auroc"].items()]
    where = f"{result['name']}: {result['n']} labelled texts, {result['n_groups']} groups, AUROC"
    return [
        where + (f" ({result['reading']})" if "reading" in result else ""),
        *table(["method", *columns], rows),
    ]


def report(folder: Study) -> Summary:
    """The verdict."""
    return run_summary(folder)


SUMMARIES: dict[str, Callable[[Study], Summary]] = {
    "prompts": prompts,
    "embed": embed,
    "probe": probe,
    "sweep": sweep,
    "train": train,
    "stability": stability,
    "features": features,
    "names": names,
    "causal": causal,
    "transfer": transfer,
    "report": report,
}


def values_of(result: dict[str, Any]) -> dict[str, Any]:
    """``{"family": {"happy": {"value": x, "ci": ...}}}`` as ``{"family": {"happy": x}}``."""
    return {
        method: {name: None if part is None else part["value"] for name, part in parts.items()}
        for method, parts in result.get("auroc", {}).items()
    }


def intervals_of(result: dict[str, Any]) -> dict[str, Any]:
    """The same shape, with the intervals."""
    return {
        method: {name: None if part is None else part.get("ci") for name, part in parts.items()}
        for method, parts in result.get("auroc", {}).items()
    }


def records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts with NaN as null."""
    return [
        {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
        for row in frame.to_dicts()
    ]

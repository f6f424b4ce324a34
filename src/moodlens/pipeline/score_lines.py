"""AUROCs of texts as lines for people."""

from moodlens.core.lines import table
from moodlens.study.records.estimates import Estimate
from moodlens.study.records.transfer import HeldOut, TransferSet, without_family


def auroc_lines(name: str, result: HeldOut | TransferSet, emotions: tuple[str, ...]) -> list[str]:
    """One table of AUROCs: methods by emotions."""
    if not result.auroc:
        return [f"{name}: {getattr(result, 'note', '') or 'no labels, so no AUROC'}"]
    columns = [*emotions, "mean"]
    alike: dict[str, list[str]] = {}
    for method, how in (result.readings if isinstance(result, TransferSet) else {}).items():
        alike.setdefault(how, []).append(method)

    def cell(estimate: Estimate) -> str:
        if estimate.value is None:
            return "-"
        ci = estimate.ci
        return f"{estimate.value:.3f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci is not None else "")

    rows = [[method, *(cell(parts[c]) for c in columns)] for method, parts in result.auroc.items()]
    missing = without_family(result.auroc)
    seen = result.n_seen if isinstance(result, TransferSet) else None
    note = [f"{seen} of these {result.n} texts, or sentences of them, were trained on: not new to the SAE"]
    return [
        f"{name}: {result.n} labelled texts, {result.n_groups} groups, AUROC",
        *(note if seen else []),
        *table(["method", *columns], rows),
        *([f"mean: without {', '.join(missing)}, of which there is no family"] if missing else []),
        *(f"{', '.join(methods)}: read by {how}" for how, methods in alike.items()),
        *(
            [
                "each text counts as a group of its own: if some belong together, name their column by --group-column"
            ]
            if isinstance(result, TransferSet) and result.n_groups == result.n
            else []
        ),
    ]

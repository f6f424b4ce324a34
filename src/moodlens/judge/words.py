"""The results of a steering run in words: claims first, the SAE's losses before its wins, and no claim of the rest."""

from moodlens.judge.chance import FEWEST, KINDS, MORE, control_of
from moodlens.settings.steer import EDITING, UNSCALED
from moodlens.study.records.judge import (
    Change,
    ComparisonRow,
    EffectRow,
    EqualChange,
    Interval,
    MatchedMethod,
    MixtureRow,
    Results,
)

CHANGE_OF: dict[Change, str] = {
    "kl": "teacher-forced KL, nats per token",
    "velocity": "squared change of the predicted velocity at fixed noise",
}
"""What methods are matched on, and its unit."""


def statements(results: Results) -> list[str]:
    """What the confirmatory tables say, one sentence each, losses of the SAE first."""
    lines = [
        _compared(row, results)
        for row in sorted(results.comparisons, key=lambda r: r.difference)
        if row.confirmatory
    ]
    rows = [row for row in results.rows if row.confirmatory]
    tested = [row for row in rows if row.q is not None]  # of the others nobody knows whether they moved
    if tested:
        what = ", ".join(f"{r.method} towards {r.emotion}" for r in tested if r.moved) or "nothing"
        lines.append(f"{results.readout}: beyond chance and beyond random directions moved: {what}.")
    specific = [row for row in results.specificity if row.specific]
    if specific:
        names = ", ".join(row.method for row in specific)
        lines.append(f"{results.readout}: moves its own emotion more than the others: {names}.")
    return lines + _limits(results, rows)


def _compared(row: ComparisonRow, results: Results) -> str:
    c = "" if row.coefficient is None else f" at coefficient {row.coefficient:g}"
    some = f" over {', '.join(row.emotions)}" if len(row.emotions) < len(results.emotions) else ""
    figures = (
        f"{row.method} {row.effect:+.3f}, {row.baseline} {row.baseline_effect:+.3f}{c}{some}, difference "
        f"{row.difference:+.3f}{_ci(row.ci)}, {_q(row)}, {row.n_prompts} prompts"
    )
    if row.ahead is None:
        return f"{row.readout}: {row.method} and {row.baseline} do the same ({figures})."
    first, second = (row.method, row.baseline) if row.ahead == "method" else (row.baseline, row.method)
    verb = "beats" if row.winner else "is ahead of"
    rest = "" if row.winner else f"; {_unclaimed(row, results)}"
    return f"{row.readout}: {first} {verb} {second} ({figures}){rest}."


def _unclaimed(row: ComparisonRow, results: Results) -> str:
    """Why a difference is no claim: it was not tested, chance does as much, or neither method moved anything."""
    if row.q is None:
        return f"not tested: {_untested(row, results)}"
    if row.q > results.settings.alpha:
        return "the difference is within chance"
    return f"not claimed, since neither {row.method} nor {row.baseline} moved anything beyond chance"


def _untested(row: ComparisonRow, results: Results) -> str:
    """What a comparison lacks to be tested: draws of what each side stands beside, or prompts."""
    lacks = []
    for method in (row.method, row.baseline):
        at = None if method == EDITING else row.coefficient
        paired = any((c.method, c.coefficient) == ("neutral_difference", at) for c in results.controls)
        control = control_of(method, paired=paired)
        made = (
            c for c in results.controls if (c.readout, c.method, c.coefficient) == (row.readout, control, at)
        )
        n = max((c.n_directions for c in made), default=0)
        if n < FEWEST:
            lacks.append(f"{'too few' if n else 'no'} {KINDS[control]}")
    if row.random_p is not None:
        return "too few prompts"
    return " and ".join(dict.fromkeys(lacks)) or "what it stands beside does not vary"


def _limits(results: Results, rows: list[EffectRow]) -> list[str]:
    """Why nothing could have been claimed, where that is so."""
    lines, alpha = [], results.settings.alpha
    if results.renamed:
        lines.append(
            "the confirmatory table was named after the clips were made: what it claims is to be found again in new clips."
        )
    if not rows:
        named = ", ".join(results.settings.methods)
        lines.append(
            f"no clip of a confirmatory method ({named}) at matched strength: nothing can be claimed."
        )
    bare: dict[str, set[str]] = {}
    for row in rows:
        if row.random_p is None:
            paired = any(
                c.method == "neutral_difference" and c.coefficient == row.coefficient
                for c in results.controls
            )
            bare.setdefault(control_of(row.method, paired=paired), set()).add(row.method)
    lines += [
        f"{', '.join(sorted(methods))}: not tested, for there are too few {KINDS[control]} to compare with at the same "
        f"strength: nothing can be claimed; make some ({MORE[control]})."
        for control, methods in bare.items()
    ]
    least = 2.0**-results.n_prompts
    if least > alpha:
        lines.append(
            f"{results.n_prompts} prompts cannot give a p below {least:.2g}: nothing can reach {alpha:g}; use more prompts."
        )
    return lines


def below_floor(method: MatchedMethod) -> str:
    """Which coefficients of a method are not matched; empty if all are."""
    if not method.below:
        return ""
    at = ", ".join(f"{c:g}" for c in method.below if c is not None)
    return f"{method.method} at {at}" if at else method.method


def not_matched(row: EqualChange) -> str:
    """Which conditions of a row change no more than two unsteered seeds show; empty if none."""
    return "; ".join(text for text in map(below_floor, row.methods) if text)


def _equal_change(results: Results) -> list[str]:
    """The primary readout's rows at equal change."""
    rows = [row for row in results.equal_change if row.readout == results.readout]
    if not rows:
        why = "how far each condition moves the generator"
        if results.unmeasurable is not None:
            why += f" cannot be measured for this run: {results.unmeasurable}"
        elif not results.settings.change_seconds:
            why += " was not asked for (change_seconds=0)"
        else:
            why += " was not measured (moodlens judge RUN --change)"
        return [f"not compared at equal change: {why}"]
    lines = [f"exploratory, at equal change, matched on {CHANGE_OF[rows[0].of]}, read by {results.readout}:"]
    for row in rows:
        under = not_matched(row)
        floor = f"; not above what two unsteered seeds show, so not matched: {under}" if under else ""
        if row.change is None:
            lines.append(f"  {row.emotion:<10} fewer than two methods can be matched{floor}")
            continue
        matched = ", ".join(_matched(each) for each in row.methods if each.effect is not None)
        beside = "" if row.random_p95 is None else f", random p95 {row.random_p95:+.3f} of {row.n_random}"
        lines.append(f"  {row.emotion:<10} at {row.change:.3g}: {matched}{beside}{floor}")
    return lines


def _matched(each: MatchedMethod) -> str:
    line = "" if each.between else ", on a line from no steering"
    at = "" if each.coefficient is None else f" (coefficient {each.coefficient:.2g}{line})"
    return f"{each.method} {each.effect:+.3f}{at}"


def compared_here(row: EffectRow, coefficient: float | None) -> bool:
    """Whether a row is at matched strength, or of a method that has none."""
    return row.coefficient == coefficient or row.method in UNSCALED


def _ci(ci: Interval | None) -> str:
    return "" if ci is None else f" [{ci[0]:+.3f}, {ci[1]:+.3f}]"


def _q(row: EffectRow | ComparisonRow) -> str:
    return "no q" if row.q is None else f"q = {row.q:.2g}"


def result_lines(results: Results) -> list[str]:
    """For a terminal: the confirmatory table, the exploratory rows at matched strength, then the statements."""
    c = results.coefficient
    at = "" if c is None else f", coefficient {c:g}"
    lines = [f"{results.n_clips} clips, {results.n_prompts} prompts, {results.n_seeds} seeds{at}"]
    claimed = [row for row in results.rows if row.confirmatory]
    lines.append(f"confirmatory, read by {results.readout}, q over {results.n_confirmatory} rows:")
    lines += [_row(row) for row in claimed] or ["  nothing"]
    for row in results.specificity:
        if row.confirmatory:
            lines.append(
                f"  {row.method:<22} own minus other emotions {row.difference:+.3f}  {_q_or_p(row.q, row.p)}"
            )
    rest = [row for row in results.rows if not row.confirmatory and compared_here(row, c)]
    if rest:
        lines.append("exploratory, no claims (p alone, not corrected):")
        lines += [f"  {row.readout:<10}{_row(row)}" for row in rest]
    mixed = [row for row in results.mixtures if row.coefficient == c]
    if mixed:
        lines.append("mixed emotions, each on its own readout, no claims:")
        lines += [f"  {row.readout:<10}{_mixed(row)}" for row in mixed]
    if len({row.method for row in results.rows}) > 1:
        lines += _equal_change(results)
    return lines + list(results.statements)


def _mixed(row: MixtureRow) -> str:
    beside = "" if row.random_p95 is None else f"  random {row.random_p5:+.3f} to {row.random_p95:+.3f}"
    name = row.direction.removeprefix("mixture/")
    return f"  {name}  {row.emotion:<10} {row.effect:+.3f}{_ci(row.ci)}  {_q_or_p(None, row.p)}{beside}"


def _row(row: EffectRow) -> str:
    beside = "" if row.random_p95 is None else f"  random p95 {row.random_p95:+.3f} of {row.n_random}"
    mark = "  moved" if row.moved else ""
    return f"  {row.method:<22} {row.emotion:<10} {row.effect:+.3f}{_ci(row.ci)}  {_q_or_p(row.q, row.p)}{beside}{mark}"


def _q_or_p(q: float | None, p: float | None) -> str:
    if q is not None:
        return f"q {q:.2g}"
    return "not tested" if p is None else f"p {p:.2g}"

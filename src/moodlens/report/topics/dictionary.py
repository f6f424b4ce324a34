"""The dictionary: its shape, how well it rebuilds beside trivial methods, how it trained, and what else was tried."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core.lines import explained
from moodlens.report import style
from moodlens.report.document import Bullets, Paragraph, Picture, Table, plain_text
from moodlens.report.numbers import number, percent
from moodlens.report.subject import SAE_MAIN, Need, Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.opening import signs
from moodlens.study.records.sae import SWEEP, Baseline, Core, Metrics, Reconstruction, Sweep
from moodlens.study.study import MAIN, Study

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from moodlens.sae.history import Epoch
    from moodlens.sae.model import SAE

SWEEP_ROWS = 24


def shape(_: Subject, sae: "SAE") -> Blocks:
    """Width and architecture."""
    facts, trained = [f"{sae.d_in} → {sae.d_sae:,} features"], sae.settings
    if trained is not None:
        l1 = trained.architecture == "l1"
        facts += [
            trained.architecture,
            f"l1_coefficient {trained.l1_coefficient:g}" if l1 else f"k {trained.k}",
        ]
    yield Paragraph(f"SAE {MAIN}: {', '.join(facts)}.")


@needs(Core)
def core(subject: Subject, sae: "SAE", found: Core) -> Blocks:
    """The features that may be claimed: what several SAEs agree on, or why there are none."""
    if found.imported is not None:
        yield Paragraph(
            f"The SAE was {plain_text(found.imported)}. It was not trained here, on these texts or any: all splits are unseen to it as "
            f"far as this study knows. Without a consensus each of its {found.atoms:,} features may be claimed; one untrained "
            "dictionary of its size and sparsity stands beside every count."
        )
        return
    if not found.members:
        yield Paragraph(f"No core was asked for: each of the {found.atoms:,} features may be claimed.")
        return
    if found.remark is not None:
        yield Paragraph(f"No core: {found.remark}.")
        return
    settings = subject.settings.core
    others = ", ".join(f"{plain_text(name)} {n:,}" for name, n in found.pipelines.items() if name != MAIN)
    yield Paragraph(
        f"The first {found.atoms:,} features are the core: what {found.members} narrow SAEs of {found.member_size:,} features "
        f"agree on, found without a label: each is in at least {percent(settings.least)} of them. The other "
        f"{sae.d_sae - found.atoms:,} rebuild what they leave. Only the first {found.claimable:,}, found in at least "
        f"{percent(settings.claim)}, are tested and claimed: those at the very edge of this core are as likely as not beyond the "
        f"edge of another pipeline's. Alone, the core explains {number(found.explained_variance)} of the variance of test texts. Cores of "
        f"other pipelines: {others}."
    )
    yield Table(
        "In how many of the narrow SAEs each feature of the core was found",
        ("Narrow SAEs", "Features"),
        tuple((str(n), number(atoms)) for n, atoms in enumerate(found.found) if atoms),
        numeric=frozenset({0, 1}),
    )


@needs(Reconstruction, absent="reconstruction on held-out texts")
def reconstruction(_: Subject, sae: "SAE", measured: Reconstruction) -> Blocks:
    """Reconstruction of held-out texts beside trivial methods, and the roadmap's tuning hints."""
    from moodlens.validate.tuning import advice

    control, pca = measured.baselines, measured.baselines.pca
    fits = [
        _fit("SAE, test texts", measured.held_out),
        _fit("SAE, the texts it was trained on", measured.train),
        _fit("Control: predict the train mean", control.mean),
    ]
    if pca is not None:
        fits.append(_fit("Control: PCA with as many components as L0", pca, pca.n_components))
    yield Table(
        f"Reconstruction of texts the SAE was not trained on ({measured.rows.test:,} test texts, "
        f"{measured.rows.train:,} training texts)",
        ("Method", "MSE per element", "Explained variance", "L0", "Active", "Dead"),
        tuple(fits),
        numeric=frozenset(range(1, 6)),
        note="The controls are judged on the test texts. Dead: fires on no training text.",
    )
    if sae.settings is not None:
        hints = advice(measured, sae.settings)
        yield Bullets(tuple(f"Advice: {plain_text(hint)}." for hint in hints) or ("Advice: none needed.",))


def _fit(method: str, fit: Metrics | Baseline, l0: float | None = None) -> tuple[str, ...]:
    full = fit if isinstance(fit, Metrics) else None
    return (
        method,
        number(fit.mse, 4),
        number(explained(fit.explained_variance)),
        number(full.l0 if full else l0),
        percent(full.active_share if full else None, 1),
        percent(full.dead_share if full else None, 1),
    )


def read_histories(study: Study) -> "dict[str, list[Epoch]]":
    """SAE -> its history, of those that were trained and kept; the study's own first."""
    from moodlens.sae.history import read_history

    histories = {}
    for name in (MAIN, *study.seed_names, *study.narrow_names):
        path = study.path / "sae" / name / "history.jsonl"
        if not path.is_file() and name != MAIN:
            continue  # a core is what others agree on
        histories[name] = read_history(path)
    return histories


HISTORIES = Need(f"sae/{MAIN}/history.jsonl", "train", read_histories)


@needs(HISTORIES)
def training(_: Subject, sae: "SAE", histories: dict[str, list]) -> Blocks:
    """Training curves of the study's SAE and of the others that were kept."""
    split = sae.core_size < sae.d_sae
    whose = (
        "Thick: the rest, whose explained variance is of what the core leaves. Thin: one narrow SAE of each of two pipelines."
        if split
        else f"One line for each of {len(histories)} SAEs; the study's own is thick."
    )
    yield Picture(
        "training",
        f"{whose} Early stopping kept the epoch with the lowest validation loss. A growing gap between train and "
        "validation is memorising.",
        "Training curves: loss, explained variance, L0 and share of dead features over epochs.",
        lambda: training_curves(histories, sae.d_sae, others="narrow SAEs" if split else "other seeds"),
    )


def sweep(_: Subject, trained: "pl.DataFrame", choice: Sweep) -> Blocks:
    """What was tried, what was chosen and why."""
    if not trained.height:
        yield Paragraph(f"{choice.reason[0].upper()}{choice.reason[1:]}.")
        return
    order = ["chosen", "pareto", "explained_variance", "name"]
    frame = trained.sort(order, descending=[True, True, True, False])
    yield Paragraph(
        f"{choice.n_tried} SAEs trained. Chosen: {plain_text(frame['name'][0])}. Rule, in order: {signs(choice.reason)}."
    )
    settings = ("architecture", "d_sae", "k", "l1_coefficient", "learning_rate", "batch_size", "seed")
    varied = [name for name in settings if frame[name].n_unique() > 1]
    shown = frame.head(SWEEP_ROWS)
    rows = tuple(
        (
            plain_text(row["name"]) + (" (chosen)" if row["chosen"] else ""),
            *(number(row[name], 4) for name in varied),
            number(row["explained_variance"]),
            number(row["explained_variance_train"]),
            number(row["mse"], 4),
            number(row["l0"]),
            percent(row["dead_share"], 1),
            number(row["dev_selective"]),
            "yes" if row["pareto"] else "no",
        )
        for row in shown.iter_rows(named=True)
    )
    head = ("SAE", *varied, "Held-out EV", "Train EV", "MSE", "L0", "Dead", "Selective (dev)", "Pareto")
    cut = shown.height < frame.height
    note = f"{shown.height} of {frame.height} rows; all are in sweep.parquet." if cut else ""
    yield Table("SAEs of the sweep", head, rows, frozenset(range(1, len(head))), note)


@needs(Reconstruction)
def pareto_front(_: Subject, trained: "pl.DataFrame", _choice: Sweep, measured: Reconstruction) -> Blocks:
    """What sparsity costs, beside PCA."""
    if trained.height > 1:
        yield Picture(
            "sweep",
            "Up and to the left is better. A dictionary below the PCA control at its L0 reconstructs worse than the same "
            "number of dense components would.",
            "Held-out explained variance against L0 of every SAE trained, with the Pareto front and the chosen one.",
            lambda: sweep_pareto(trained, measured.baselines.pca),
        )


@style.look()
def training_curves(
    histories: "Mapping[str, Sequence[Epoch]]", d_sae: int, *, others: str = "other seeds"
) -> "Figure":
    """Loss, explained variance, L0 and dead share over epochs, one line for each seed, train and validation.

    Args:
        histories: SAE name -> its epochs.
        d_sae: features of the dictionary, to turn the count of dead ones into a share.
        others: what the SAEs after the first are.
    """
    from matplotlib.lines import Line2D

    dashes = (0, (3, 1.5))
    panels = (
        ("Loss", "loss (scaled units)", "loss", "val_loss", 1.0),
        ("Explained variance", "explained variance", "explained_variance", "val_explained_variance", 1.0),
        ("L0", "active features per text", "l0", "val_l0", 1.0),
        ("Dead features", "share of dictionary (%)", "dead", None, 100.0 / d_sae),
    )
    figure, grid = style.canvas(style.WIDTH, 4.4, 2, 2)
    for axes, (title, unit, key, val_key, scale) in zip(grid.flat, panels, strict=True):
        lines = (
            ((key, style.MUTED, dashes), (val_key, style.ACCENT, "-"))
            if val_key
            else ((key, style.INK, "-"),)
        )
        for place, history in enumerate(histories.values()):
            epochs = [entry.epoch + 1 for entry in history]
            width, alpha = (0.7, 0.55) if place else (1.5, 1.0)
            for name, color, line in lines:
                values = np.array([getattr(entry, name) for entry in history], dtype=float) * scale
                axes.plot(epochs, values, color=color, ls=line, lw=width, alpha=alpha)
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.grid(axis="y")
    _cut_first_epochs(grid.flat[1])
    grid.flat[3].set_ylim(bottom=0)
    n_others = len(histories) - 1
    handles = [
        Line2D([], [], color=style.ACCENT, lw=1.5),
        Line2D([], [], color=style.MUTED, lw=1.5, ls=dashes),
    ]
    names = ["validation", "train"]
    if n_others:
        handles.append(Line2D([], [], color=style.ACCENT, lw=0.7, alpha=0.55))
        names.append(f"{others} ({n_others})")
    style.legend_below(figure, handles, names)
    return figure


def _cut_first_epochs(axes: Any) -> None:
    """An untrained SAE explains less than nothing; keep that from squeezing everything else into a line."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    values = values[np.isfinite(values)]
    if values.size:
        low = max(values.min(), -0.1)
        axes.set_ylim(low - 0.02, max(values.max(), low + 0.1) + 0.02)


@style.look()
def sweep_pareto(frame: "pl.DataFrame", control: Baseline | None = None) -> "Figure":
    """Held-out explained variance against L0, one point for each SAE, the Pareto front joined, the chosen one ringed.

    Args:
        frame: ``explained_variance, explained_variance_train, l0, architecture, d_sae, pareto, chosen``.
        control: PCA with as many components as the chosen SAE has active features.
    """
    import polars as pl
    from matplotlib.lines import Line2D

    markers = dict(zip(("l1", "topk", "batchtopk", "matryoshka"), ("o", "s", "^", "D"), strict=True))
    figure, axes = style.canvas(style.WIDTH * 0.8, 3.6)
    handles, names = [], []
    front = frame.filter(pl.col("pareto")).sort("l0")
    if front.height > 1:
        handles += axes.plot(front["l0"], front["explained_variance"], color=style.ACCENT, lw=1, zorder=1)
        names.append("Pareto front")
    for architecture in frame["architecture"].unique(maintain_order=True):
        part, marker = frame.filter(pl.col("architecture") == architecture), markers[architecture]
        axes.scatter(
            part["l0"], part["explained_variance"], s=28, marker=marker, edgecolors=style.PAPER, linewidths=0.5, zorder=2,
            color=[style.ACCENT if on_front else style.FAINT for on_front in part["pareto"]],
        )  # fmt: skip
        handles.append(Line2D([], [], color=style.ACCENT, marker=marker, ls="", ms=5))
        names.append(f"{architecture} (n = {part.height})")
    chosen = frame.filter(pl.col("chosen"))
    ring = axes.scatter(
        chosen["l0"],
        chosen["explained_variance"],
        s=120,
        facecolors="none",
        edgecolors=style.WARN,
        linewidths=1.5,
    )
    handles.append(ring)
    names.append("chosen")
    if control:
        point = (control.n_components, control.explained_variance)
        handles += axes.plot(*point, color=style.MUTED, lw=1, ls=(0, (4, 2)), marker="x", ms=5, zorder=1)
        names.append("control: PCA with L0 components")
    axes.axhline(0, color=style.GRID, lw=0.8, zorder=0)
    l0, explained = frame["l0"].to_numpy(), frame["explained_variance"].to_numpy()
    logarithmic = l0.max() / max(l0.min(), 1e-9) > 8
    if logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(
        xlabel="L0: features active per text" + (" (log scale)" if logarithmic else ""),
        ylabel="held-out explained variance",
        ylim=(min(0.0, max(-0.5, explained.min())) - 0.03, max(1.0, explained.max()) + 0.03),
    )
    axes.grid(axis="y")
    style.legend_below(figure, handles, names)
    return figure


DICTIONARY = Topic(
    "sae",
    "The sparse autoencoder",
    (shape, core, reconstruction, training),
    needs=(SAE_MAIN,),
    absent="the sparse autoencoder",
    labels=False,
)
SWEEPS = Topic(
    "sweep",
    "Sweep over settings",
    (pareto_front, sweep),
    needs=(SWEEP, Sweep),
    absent="a sweep over settings",
    labels=False,
)

"""The flow of a study: its stages in an order in which they can run one by one, where each lives and what it does.

Nothing heavy is imported here, so the command line makes its verbs from this table before any library is loaded.
"""

FLOW: dict[str, tuple[str, str]] = {
    "prompts": ("texts", "Make or read the prompts and split them by group."),
    "embed": ("embedding", "Encode the prompts into the embedding store."),
    "probe": ("embedding", "Phase 0: is the emotion in the embeddings at all?"),
    "sweep": ("sae", "Train SAEs over a grid of settings and choose one."),
    "train": ("sae", "Find the core, train the rest, and find cores of other pipelines."),
    "stability": ("discovery", "Which features come back in other pipelines, which share only the rows?"),
    "features": ("discovery", "Find emotion features: choose on train and val, judge on test."),
    "ratings": ("ratings", "Which features go with how pleasant or exciting people rated the texts?"),
    "concepts": ("concepts", "Which claimed features also hold a concept inside their emotion?"),
    "untrained": ("untrained", "What would dictionaries that learned nothing claim by the same rules?"),
    "agreement": ("discovery", "Are the families those of other pipelines?"),
    "names": ("discovery", "Name the emotion features and test the names on held-out text."),
    "causal": ("proof", "Clamp, transplant and keep features, and read what moves."),
    "transfer": (
        "proof",
        "Judge the features on held-out words, negations, mixed emotions and other people's texts.",
    ),
    "pairs": ("proof", "Add families in pairs, and correlate pairs of features."),
    "metrics": (
        "proof",
        "The field's metrics: sparse probing, TPP, SCR, absorption, beside an untrained dictionary.",
    ),
    "verdict": ("report", "Go or no-go: every criterion beside its controls."),
    "report": ("report", "Verdict, figures, report.html and report.md."),
}
"""Stage -> the module of :mod:`moodlens.pipeline.stages` with a :class:`~moodlens.pipeline.stage.Stage` of that name,
and what its verb does."""

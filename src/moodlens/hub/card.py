"""The model card: what was found, beside what nothing would have given, and how to tell that an encoder is the same."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from moodlens.core.lines import number
from moodlens.settings.base import to_yaml
from moodlens.steer.directions import Directions
from moodlens.study.families import Families
from moodlens.study.records.share import Shared
from moodlens.study.records.verdict import Verdict

SHOWN = 4
"""Numbers of an anchor that the card shows."""
_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#+|!~$&])")


def safe(text: str) -> str:
    """A name or a text of the study as Markdown that shows it and does nothing."""
    return _ACTIVE.sub(r"\\\1", " ".join(text.split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def card(
    shared: Shared,
    directions: Directions,
    *,
    verdict: Verdict | None,
    families: Families | None,
    repo: str,
    license_id: str | None,
) -> str:
    """README.md of the repository."""
    facts = {
        **({"license": license_id} if license_id else {}),
        "library_name": "saelens" if "sae" in shared.holds else "moodlens",
        "tags": ["moodlens", "sparse-autoencoder", "steering-vectors", "emotion", "text-to-music"],
    }
    parts = [f"---\n{to_yaml(facts)}---", f"# {safe(shared.name)}", _head(shared, verdict)]
    if verdict is not None:
        parts.append(_verdict(verdict))
    if families is not None:
        parts.append(_families(families, directions))
    parts += [_encoder(shared, directions), _use(shared, repo)]
    return "\n\n".join(parts) + "\n"


def _head(shared: Shared, verdict: Verdict | None) -> str:
    what = "A sparse autoencoder and emotion directions" if "sae" in shared.holds else "Emotion directions"
    lines = [
        f"{what} for embeddings of {safe(shared.encoder)} ({shared.d_in} wide), made by moodlens {shared.made_by}."
    ]
    if shared.control != "none":
        lines.append(
            f"**This is a control ({safe(shared.control)}), not a finding**: nothing in it is to be believed."
        )
    if verdict is None:
        lines.append("**Not judged**: no verdict stands behind these vectors.")
    elif verdict.go:
        lines.append(
            "**Verdict: GO.** Every criterion that decides passed, and nothing that learned nothing passes it."
        )
    else:
        lines.append("**Verdict: NO-GO.** At least one criterion that decides did not pass; see which below.")
    return "\n\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _verdict(verdict: Verdict) -> str:
    rows = []
    for criterion in verdict.criteria:
        controls = "; ".join(f"{safe(c.name)}: {number(c.value)}" for c in criterion.controls)
        ci = f" [{number(criterion.ci[0])}, {number(criterion.ci[1])}]" if criterion.ci is not None else ""
        state = f"**{criterion.state}**" if criterion.must else criterion.state
        rows.append(
            (
                safe(criterion.label),
                f"{number(criterion.value)}{ci}",
                controls,
                safe(criterion.threshold),
                state,
            )
        )
    head = ("criterion", "value", "controls", "threshold", "state (bold: decides)")
    words = (
        "A criterion passes if it meets its threshold, beats every control, and no control meets the threshold, too. "
        "Controls are what chance, a trivial method and dictionaries that learned nothing give."
    )
    return f"## Verdict\n\n{words}\n\n{_table(head, rows)}"


def _families(families: Families, directions: Directions) -> str:
    rows = [
        (safe(f.emotion), ", ".join(map(str, f.features)) or "none", number(directions.norms.get(f.emotion)))
        for f in families.families
    ]
    head = ("emotion", "features of its family", "norm of its difference-in-means")
    unit = f"Coefficient 1 adds {number(directions.unit)} (embedding units) along a direction."
    return f"## Directions\n\n{unit}\n\n{_table(head, rows)}"


def _encoder(shared: Shared, directions: Directions) -> str:
    source = directions.provenance
    rows = [
        (safe(text[:80]), number(float(np.linalg.norm(row))), ", ".join(f"{v:.4g}" for v in row[:SHOWN]))
        for text, row in zip(source.anchor_texts, source.anchors, strict=True)
    ]
    words = (
        f"Encoder {safe(shared.encoder)}, revision {safe(shared.encoder_revision or 'unknown')}. Names cannot tell "
        "whether another encoder is the same; these texts can. Their raw embeddings are `anchors` in "
        "`directions/directions.safetensors`; moodlens compares them before it steers."
    )
    return f"## Encoder\n\n{words}\n\n{_table(('anchor', 'norm', f'first {SHOWN} numbers'), rows)}"


def _use(shared: Shared, repo: str) -> str:
    lines = [
        f"moodlens pull {repo} --out FOLDER      # every file is checked against moodlens.json",
        f"moodlens steer hub:{repo} --out CLIPS  # a generator with the same text encoder",
    ]
    text = "## Use\n\n```bash\n" + "\n".join(lines) + "\n```"
    if "sae" in shared.holds:
        text += f'\n\n```python\nfrom sae_lens import SAE\n\nsae = SAE.from_pretrained("{repo}", "sae")\n```'
    return text

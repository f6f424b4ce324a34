"""How everything was measured: formulas, meaning, source. And what is needed to do it again."""

import yaml

from moodlens.report.document import Listing, Method, Paragraph, Table, cut, visible
from moodlens.report.numbers import NONE
from moodlens.report.subject import SAE_MAIN, Subject
from moodlens.report.topic import Blocks, Topic


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _i(name: str) -> str:
    return f"<mi>{name}</mi>"


def _o(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _n(value: str) -> str:
    return f"<mn>{value}</mn>"


def _sub(base: str, below: str) -> str:
    return f"<msub>{base}{below}</msub>"


def _frac(above: str, below: str) -> str:
    return f"<mfrac>{above}{below}</mfrac>"


def _sum(body: str, below: str = "") -> str:
    sign = f"<munder>{_o('∑')}{below}</munder>" if below else _o("∑")
    return _row(sign, body)


def _square(body: str) -> str:
    return f"<msup><mrow>{_o('‖')}{body}{_o('‖')}</mrow>{_n('2')}</msup>"


_HAT = '<mover accent="true"><mi>x</mi><mo>^</mo></mover>'
_MEAN = '<msub><mover accent="true"><mi>x</mi><mo>¯</mo></mover><mtext>train</mtext></msub>'
_H = _i("h")


def formulas(subject: Subject) -> Blocks:
    """Formulas in words, symbols and sources, with the settings of this study."""
    rules, causal = subject.settings.features, subject.settings.validation.causal
    bar = subject.settings.validation.stability.reappearance
    # fmt: off
    yield Method(
        "Sparse autoencoder",
        _row(
            _H, _o("="), _i("act"), _o("("), _row(_i("x"), _o("−"), _sub(_i("b"), "<mtext>dec</mtext>")), _o(")"),
            _sub(_i("W"), "<mtext>enc</mtext>"), _o("+"), _sub(_i("b"), "<mtext>enc</mtext>"), _o(","),
            "<mspace width='1em'/>", _HAT, _o("="), _H, _sub(_i("W"), "<mtext>dec</mtext>"), _o("+"),
            _sub(_i("b"), "<mtext>dec</mtext>"),
        ),
        "h = act((x - b_dec) W_enc + b_enc),  x_hat = h W_dec + b_dec",
        "x is a text's embedding (mean over its tokens), h its activations, one per feature and mostly zero; the rows of "
        "W_dec have length 1 and are the features' directions.",
        "Bricken et al. 2023; top-k: Gao et al. 2024, arXiv:2406.04093; batch top-k: Bussmann et al. 2024, arXiv:2412.06410",
    )
    yield Method(
        "Explained variance (held-out)",
        _row(
            _i("EV"), _o("="), _n("1"), _o("−"),
            _frac(_sum(_square(_row(_i("x"), _o("−"), _HAT))), _sum(_square(_row(_i("x"), _o("−"), _MEAN)))),
        ),
        "EV = 1 - sum |x - x_hat|^2 / sum |x - mean_train|^2",
        "Sums over rows and dimensions before the ratio, about the mean of the training texts: predicting that mean "
        "scores exactly 0. MSE is per element in the embedding's own units, and says little without it.",
    )
    yield Method(
        "Selectivity",
        _row(
            _sub(_i("r"), _i("c")), _o("="), _frac(_row(_sub(_i("k"), _i("c")), _o("+"), _n("0.5")), _row(_sub(_i("n"), _i("c")), _o("+"), _n("1"))),
            _o(","), "<mspace width='1em'/>", _i("s"), _o("="),
            _frac(_sub(_i("r"), _i("c")), "<mrow><munder><mtext>mean</mtext><mrow><mi>d</mi><mo>≠</mo><mi>c</mi></mrow></munder>" + _sub(_i("r"), _i("d")) + "</mrow>"),
        ),
        "r_c = (fires + 0.5) / (n + 1),  selectivity = r_c / mean of r over the other emotions",
        "How much more often a feature fires for its emotion. Alone it fools: with thousands of features some pass by luck, "
        "which is why it is judged on test texts, with a p-value, beside shuffled labels.",
    )
    yield Method(
        "AUROC",
        _row(_i("AUROC"), _o("="), _i("P"), _o("("), _row(_sub(_i("h"), "<mtext>emotion</mtext>"), _o("&gt;"), _sub(_i("h"), "<mtext>other</mtext>")), _o(")"),
             _o("+"), _frac(_n("1"), _n("2")), _i("P"), _o("("), _row(_sub(_i("h"), "<mtext>emotion</mtext>"), _o("="), _sub(_i("h"), "<mtext>other</mtext>")), _o(")")),
        "AUROC = P(h_emotion > h_other) + P(equal) / 2",
        "The chance that a text of the emotion scores above one of another; 0.5 is chance, 1 is perfect.",
    )
    yield Method(
        "p-value",
        _row(
            _i("p"), _o("="),
            _frac(_row(_n("1"), _o("+"), _o("#"), _o("{"), _sub(_i("AUROC"), _i("π")), _o("≥"), _i("AUROC"), _o("}")), _row(_n("1"), _o("+"), _i("m"))),
        ),
        "p = (1 + number of permutations with AUROC at least as high) / (1 + number of permutations)",
        "Labels are permuted over whole groups (an emotion word, a scene, an annotator), because texts of one group are "
        "not independent. One-sided; a feature's emotion was fixed before on other texts.",
        "Phipson and Smyth 2010",
    )
    yield Method(
        "q-value and family-wise p",
        _row(
            _sub(_i("q"), "<mrow><mo>(</mo><mi>i</mi><mo>)</mo></mrow>"), _o("="),
            "<munder><mtext>min</mtext><mrow><mi>j</mi><mo>≥</mo><mi>i</mi></mrow></munder>",
            _frac(_row(_i("m"), _sub(_i("p"), "<mrow><mo>(</mo><mi>j</mi><mo>)</mo></mrow>")), _i("j")),
        ),
        "q_(i) = min over j >= i of m p_(j) / j",
        f"Among features with q < {rules.q:g} a share of {rules.q:g} is expected to be false. Max-T, from the largest statistic of "
        "each permutation, bounds the chance of even one.",
        "Benjamini and Hochberg 1995; Westfall and Young 1993",
    )
    yield Method(
        "Shuffled-label count",
        "",
        "",
        f"Choosing and judging are repeated in full with labels shuffled over groups, {rules.n_shuffles} times. The count of "
        "emotion features must lie above the 95th percentile of those.",
    )
    yield Method(
        "Core and rest",
        "",
        "",
        "Several narrow SAEs of other seeds are compared; what enough of them agree on, in direction and in use, is the core, "
        "found without a label and fixed. A wide rest rebuilds what it leaves. Only the core is tested and claimed.",
        "Paulo and Belrose 2025, arXiv:2501.16615",
    )
    yield Method(
        "Untrained dictionaries",
        "",
        "",
        "Differences of two training rows, and random directions, of the size and sparsity of the trained members, go through "
        "the same consensus and the same tests. What they claim is a control of every criterion.",
        "arXiv:2602.14111",
    )
    yield Method(
        "Concept features",
        "",
        "",
        "The statistics of the emotions once more among the texts of one emotion, its concepts in the place of labels: "
        "chosen on train and validation texts, judged on test words and scenes, concepts permuted over groups.",
    )
    yield Method(
        "Ratings",
        "",
        "",
        "Where texts carry ratings: Spearman's rank correlation of a feature's activation with the rating; its sign is chosen on "
        "train and validation texts, judged on test texts by permuting ratings over groups, one-sided.",
        "Spearman 1904",
    )
    yield Method(
        "Intervention",
        _row(
            _i("x"), _o("′"), _o("="), _i("x"), _o("+"), _i("dec"), _o("("), _i("h"), _o("′"), _o(")"), _o("−"),
            _i("dec"), _o("("), _H, _o(")"),
        ),
        "x' = x + decode(h') - decode(h)",
        "Changes the chosen activations and keeps the SAE's error, so nothing else moves. Readouts are fitted on groups "
        f"that took no part in choosing features. Controls: up to {causal.n_controls} features that are never claimed, and as "
        "many of a dictionary that learned nothing, both matched on density and activation size, and "
        f"{causal.n_random_directions} random directions of the same norm; ceiling: difference-in-means.",
    )
    yield Method(
        "Families",
        _row(_sub(_i("v"), _i("c")), _o("="), _sum(_row(_sub(_i("w"), _i("f")), _sub(_i("W"), _i("f"))), _row(_i("f"), _o("∈"), _i("c")))),
        "v_c = sum over the family's features of w_f W_f",
        f"At most {rules.family_size} claimed features of one emotion; their decoder rows at non-negative weights that bring "
        "the sum nearest to the difference in means of train and validation texts. Texts are read along the vector that "
        "steers.",
    )
    yield Method(
        "Stability",
        "",
        "",
        "Cores that other pipelines found on the same rows (without a core: SAEs of other seeds) are matched feature by feature (Hungarian method), on "
        f"decoder cosine and on correlation of activations over held-out text; a feature reappears where both reach {bar:g}.",
        "Paulo and Belrose 2025, arXiv:2501.16615",
    )
    yield Method(
        "Dense baselines",
        _row(_sub(_i("d"), _i("c")), _o("="), _sub('<mover accent="true"><mi>x</mi><mo>¯</mo></mover>', _i("c")), _o("−"),
             _sub('<mover accent="true"><mi>x</mi><mo>¯</mo></mover>', "<mtext>others</mtext>")),
        "d_c = mean of the emotion's embeddings - mean of all others",
        "Difference-in-means and a linear probe read the whole embedding and are hard to beat at detection; an SAE earns "
        "its place by being readable, not by scoring above them.",
        "Wu et al. 2025, arXiv:2501.17148; Kantamneni et al. 2025, arXiv:2502.16681",
    )
    # fmt: on


def reproducibility(subject: Subject) -> Blocks:
    """Versions, seeds, hashes, settings, command."""
    yield Paragraph(
        "The folder's `study.yaml` holds every setting. The same file, versions and seed give the same result:"
    )
    yield Listing("moodlens run study.yaml --out DIR", "sh")
    facts = {
        "seed": subject.settings.seed,
        "pipelines of other seeds": subject.settings.seeds,
        "encoder": subject.encoder.encoder,
        "encoder revision": subject.encoder.revision,
    }
    if subject.get(SAE_MAIN) is not None:
        facts["SAE weights, SHA-256"] = subject.study.sae_sha256() or None
    rows = [(name, NONE if value is None else cut(value)) for name, value in facts.items()]
    rows += [(cut(name), cut(version)) for name, version in subject.provenance.items() if version is not None]
    yield Table("Versions and seeds", ("What", "Value"), tuple(rows))
    settings = subject.settings.model_dump(mode="json", exclude={"steer"})
    yield Listing(visible(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()), "yaml")


METHODS = Topic("methods", "Methods", (formulas,), labels=False)
REPRODUCIBILITY = Topic("reproducibility", "Reproducibility", (reproducibility,), labels=False)

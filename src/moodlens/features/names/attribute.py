"""Which words carry a score: exact attribution of a pooled pre-activation to the tokens of the text.

An embedding is the mean of the states of a text's n tokens, and a pre-activation is linear in it, so

    pre(text) - pre(mean text) = sum over tokens of (state - mean) @ W_enc[:, f] / n

holds exactly: each word has the sum over its tokens, and the words, the marks between them and the encoder's special
tokens add up to the whole. A state has seen the rest of the text, so a word's share is what stands at its place, not what
would be lost without it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from moodlens.core.maps import spans
from moodlens.features.names.words import Vocabulary, stems_of
from moodlens.prompts.stems import WEAK
from moodlens.study.coded import Coded

if TYPE_CHECKING:
    import polars as pl

    from moodlens.embed.base import Encoder

_TEXTS_A_WORD = 4
"""In which a word's share is measured, where as many hold it."""
_MOST_TEXTS = 4000


@dataclass(frozen=True)
class Spoken:
    """The words of some texts as their embeddings hold them; e words in all."""

    text: np.ndarray
    """(e,) int, which of the texts; rising."""
    word: tuple[str, ...]
    """(e,) lower case."""
    vector: np.ndarray
    """(e, d_in) float32: what the word adds to the text's embedding, beyond what the mean text would at its place."""
    place: np.ndarray
    """(e, 2) int, its characters in its text."""
    whole: np.ndarray
    """(n, d_in) float32: what all tokens of each text add, marks and special ones included."""


@dataclass(frozen=True)
class Attribution:
    """What it takes to say which words of a text carry a score."""

    speak: Callable[[Sequence[str]], Spoken]
    """Reads texts with the study's encoder."""
    texts: np.ndarray
    """(n_rows,) of the study."""
    x: np.ndarray
    """(n_rows, d_in) their embeddings."""
    mean: np.ndarray
    """(d_in,) the mean text's, which ``speak`` takes off."""
    W_enc: np.ndarray
    """(d_in, d_sae) float32."""

    def rise(self, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """(r, f) pre-activations beyond that of the mean text."""
        return (self.x[rows] - self.mean) @ self.W_enc[:, features]


def word_shares(
    attribution: Attribution,
    vocabulary: Vocabulary,
    numbers: np.ndarray,
    held: sparse.csc_array,
    words: np.ndarray,
    features: np.ndarray,
    fires: np.ndarray,
) -> np.ndarray:
    """How much of the rise each word carries in texts that hold it and fire the feature.

    Args:
        attribution: of the study.
        vocabulary: of the train + val texts.
        numbers: (n,) rows of these texts.
        held: (n, w) 1 where a text holds a word.
        words: (w,) numbers of the words.
        features: (f,)
        fires: (n, f) bool.

    Returns:
        (w, f) float64 in 0..1: mean over a few texts with the word; 0 where none of them fires the feature.
    """
    sample = _sample(held)
    spoken = attribution.speak(attribution.texts[numbers[sample]].tolist())
    place = {int(word): i for i, word in enumerate(words)}
    # A compound carries its share for each of its parts.
    scored = [
        (i, place.get(vocabulary.place.get(part, -1), -1))
        for i, word in enumerate(spoken.word)
        for part in stems_of(word)
    ]
    kept, column = np.array([pair for pair in scored if pair[1] >= 0], dtype=int).reshape(-1, 2).T
    row, vector = sample[spoken.text[kept]], spoken.vector[kept]
    member = sparse.csr_array(
        (np.ones(len(kept)), (column, np.arange(len(kept)))), shape=(len(words), len(kept))
    )
    out = np.zeros((len(words), len(features)))
    for part in spans(len(kept), len(features)):
        added = vector @ attribution.W_enc[:, features[part]]
        rise = attribution.rise(numbers[sample], features[part])[spoken.text[kept]]
        firing = fires[row, part] & (rise > 0)
        share = np.where(firing, np.clip(added / np.where(firing, rise, 1), 0, 1), 0)
        total, count = member @ share.astype(np.float64), member @ firing.astype(np.float64)
        np.divide(total, count, out=out[:, part], where=count > 0)
    return out


def _sample(held: sparse.csc_array) -> np.ndarray:
    """Texts (rising) among which each word stands a few times, where as many hold it."""
    by_text, frequency = sparse.csr_array(held), np.diff(held.indptr)
    n_texts = len(by_text.indptr) - 1
    seen = np.zeros(len(frequency), dtype=int)
    out = []
    # Rare words first: their texts hold common ones too.
    rarest = np.full(n_texts, n_texts)
    for row in range(n_texts):
        of_text = by_text.indices[by_text.indptr[row] : by_text.indptr[row + 1]]
        if len(of_text):
            rarest[row] = frequency[of_text].min()
    for row in np.argsort(rarest, kind="stable"):
        of_text = by_text.indices[by_text.indptr[row] : by_text.indptr[row + 1]]
        if (seen[of_text] < _TEXTS_A_WORD).any():
            seen[of_text] += 1
            out.append(int(row))
        if len(out) == _MOST_TEXTS:
            break
    return np.array(sorted(out), dtype=int)


def activating_words(
    attribution: Attribution,
    silent: frozenset[str],
    coded: Coded,
    numbers: np.ndarray,
    features: Sequence[int],
    *,
    n_texts: int,
    n_words: int = 8,
) -> "pl.DataFrame":
    """The words that carry each feature's score in the texts that fire it most, each of another group.

    Args:
        attribution: of the study.
        silent: stems of words that say nothing of any emotion, which are not shown.
        coded: the study's rows with codes.
        numbers: (n,) rows to look at: unseen ones.
        features: to be shown.
        n_texts: most texts a feature.
        n_words: most words a feature, those of the largest share first.

    Returns:
        A table of :data:`moodlens.study.records.names.WORDS`.
    """
    import polars as pl

    from moodlens.study.records.names import WORDS

    strongest = {f: _strongest(coded.codes[numbers, f], coded.rows.group[numbers], n_texts) for f in features}
    needed = np.unique(np.concatenate([*strongest.values(), np.empty(0, dtype=int)])).astype(int)
    spoken = attribution.speak(attribution.texts[numbers[needed]].tolist())
    bounds = np.searchsorted(spoken.text, np.arange(len(needed) + 1))
    added = spoken.vector @ attribution.W_enc[:, list(features)]
    rises = attribution.rise(numbers[needed], np.array(list(features), dtype=int))
    records = []
    for column, feature in enumerate(features):
        total: dict[str, float] = {}
        texts: Counter[str] = Counter()
        wording: dict[str, Counter[str]] = {}
        for place in strongest[feature]:
            text = int(np.searchsorted(needed, place))
            rise = float(rises[text, column])
            here: set[str] = set()
            for i in range(bounds[text], bounds[text + 1]):
                stem = " ".join(stems_of(spoken.word[i]))
                if not stem or silent.issuperset(stem.split()) or spoken.word[i] in WEAK:
                    continue
                total[stem] = total.get(stem, 0.0) + (float(added[i, column]) / rise if rise > 0 else 0.0)
                wording.setdefault(stem, Counter())[spoken.word[i]] += 1
                here.add(stem)
            texts.update(here)
        n_shown = len(strongest[feature])
        best = sorted(total, key=lambda stem: (-round(total[stem], 9), stem))[:n_words]
        for rank, stem in enumerate(best, 1):
            spelled = min(wording[stem].items(), key=lambda item: (-item[1], item[0]))[0]
            records.append(
                (
                    feature,
                    rank,
                    spelled,
                    total[stem] / n_shown,
                    total[stem] / texts[stem],
                    texts[stem],
                    n_shown,
                )
            )
    schema = WORDS.dtypes()
    return pl.DataFrame(records, schema=schema, orient="row") if records else WORDS.empty()


def _strongest(activation: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Places of the most active texts, at most one of a group."""
    order = np.argsort(-activation, kind="stable")
    order = order[activation[order] > 0]
    first = np.sort(np.unique(group[order], return_index=True)[1])[:n]
    return order[first]


def speaker(encoder: "Encoder", mean: np.ndarray) -> Callable[[Sequence[str]], Spoken]:
    """What reads texts with an encoder, word by word.

    Args:
        encoder: the study's.
        mean: (d_in,) embedding of the mean text, each token's share of which is taken off.
    """
    from moodlens.embed.tokens import each_tokens, word_sums, words_of

    def speak(texts: Sequence[str]) -> Spoken:
        text: list[int] = []
        word: list[str] = []
        vector = [np.empty((0, len(mean)), dtype=np.float32)]
        place: list[tuple[int, int]] = []
        whole = [np.empty((0, len(mean)), dtype=np.float32)]
        for block in each_tokens(encoder, texts):
            for i in range(len(block)):
                tokens, spoken = block.of(i), texts[block.begin + i]
                states = (block.values[tokens] - mean) / (tokens.stop - tokens.start)
                places, owner = words_of(spoken, block.spans[tokens])
                vector.append(word_sums(states, owner, len(places)).astype(np.float32))
                whole.append(states.sum(axis=0, keepdims=True, dtype=np.float64).astype(np.float32))
                place += places
                text += [block.begin + i] * len(places)
                word += [spoken[a:b].lower().replace("’", "'").removesuffix("'s") for a, b in places]
        return Spoken(
            np.array(text, dtype=int),
            tuple(word),
            np.concatenate(vector),
            np.array(place, dtype=int).reshape(-1, 2),
            np.concatenate(whole),
        )

    return speak

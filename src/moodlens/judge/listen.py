"""A blind listening test: which of two clips is more HAPPY? One HTML file that works without a network.

Every trial pairs a steered clip with the unsteered one of the same prompt and seed. The page holds clips under names
that say nothing; what they are stays in ``key.json``, which listeners do not get. Sides are balanced within every
method, and flipped and shuffled anew for every listener.
"""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moodlens.core import BadInput, atomic_write, digest
from moodlens.core.sound import read_sound
from moodlens.judge.clips import Facts, folder_clips, is_run, run_clips
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs
from moodlens.steer.run import check_folder
from moodlens.study.records.judge import ListeningKey, Trial

FORMAT, VERSION = "moodlens-listen", 1
PAGE, CLIPS = "listen.html", "clips"


@dataclass(frozen=True)
class ListeningTest:
    """What was written.

    Attributes:
        page: the HTML file to send to listeners.
        key: what each trial is; keep it.
        trials: number of them, with repeats.
        clips: distinct ones.
        megabytes: of the page.
        left_out: methods of the run that have no clip at the coefficient.
    """

    page: Path
    key: Path
    trials: int
    clips: int
    megabytes: float
    left_out: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What to tell people, JSON-able."""
        return {
            "page": str(self.page),
            "key": str(self.key),
            "trials": self.trials,
            "clips": self.clips,
            "megabytes": round(self.megabytes, 1),
            "left_out": list(self.left_out),
        }


def make_listening_test(
    clips: Path | str, out: Path | str, settings: ListenSettings | None = None
) -> ListeningTest:
    """Write ``listen.html`` and ``key.json`` into ``out``.

    Args:
        clips: a steering run, or any folder with a sound and a JSON file for each clip (keys prompt, method, emotion,
            coefficient and seed; method ``none`` for the unsteered ones).
        out: folder of the test.

    Raises:
        BadInput: there are no such clips, one is broken, an unsteered partner is missing, or ``out`` is where the
            clips are.
    """
    settings = settings or ListenSettings()
    out = Path(out)
    folder, keys = run_clips(clips) if is_run(clips) else (Path(clips), None)
    for taken in (Path(clips), folder):
        check_folder(out, taken)
    facts = [clip.facts for clip in folder_clips(folder, keys)]
    trials = choose_trials(facts, settings, str(clips))
    asked = [t.model_dump(exclude={"steered_clip", "plain_clip"}) for t in trials]
    test = digest(FORMAT, VERSION, asked, settings.model_dump(mode="json"))[:12]
    names = sorted({name for trial in trials for name in (trial.steered, trial.plain)})
    rng = np.random.default_rng([settings.seed, 7])
    codes = dict(zip(names, (f"c{i:03d}" for i in rng.permutation(len(names))), strict=True))
    sounds = {name: _Sound.read(folder / name) for name in names}
    shown = []
    for trial in trials:
        pair = (trial.steered, trial.plain)
        gains = _gains([sounds[name] for name in pair], settings.match_loudness)
        two = [{"clip": codes[name], "gain": gain} for name, gain in zip(pair, gains, strict=True)]
        shown.append(
            {"trial": trial.trial, "emotion": trial.emotion, "pair": two[::-1] if trial.swap else two}
        )
    sources = {}
    for name, code in codes.items():
        data = sounds[name].pcm()
        if settings.embed:
            sources[code] = "data:audio/wav;base64," + base64.b64encode(data).decode()
        else:
            sources[code] = f"{CLIPS}/{code}.wav"
            with atomic_write(out / CLIPS / f"{code}.wav") as tmp:
                tmp.write_bytes(data)
    page = _render(
        {"format": FORMAT, "version": VERSION, "test": test, "question": settings.question, "trials": shown},
        sources,
    )
    with atomic_write(out / PAGE) as tmp:
        tmp.write_text(page, encoding="utf-8")
    coded = (
        t.model_copy(update={"steered_clip": codes[t.steered], "plain_clip": codes[t.plain]}) for t in trials
    )
    key = ListeningKey(format=FORMAT, test=test, settings=settings, trials=tuple(coded))
    size = (out / PAGE).stat().st_size / 1e6
    left_out = {str(clip.method) for clip in facts} - {"none", *(trial.method for trial in trials)}
    return ListeningTest(
        out / PAGE,
        out / key.write(out),
        len(trials),
        len(names),
        size,
        () if settings.methods else tuple(sorted(left_out)),
    )


def choose_trials(clips: Sequence[Facts], settings: ListenSettings, where: str) -> list[Trial]:
    """The trials of a test, in order of method and emotion; the page shuffles them.

    For each method and emotion ``pairs`` clips at the coefficient, over as many prompts and seeds as there are, each
    with its unsteered partner. A control has no emotion of its own and is asked about every one. ``swap`` puts the
    unsteered clip first; it is true in half of each method's trials (to within one).

    Args:
        clips: what is known of each clip.
        where: named in errors.

    Raises:
        BadInput: nothing fits the settings, or an unsteered partner is missing.
    """
    rng = np.random.default_rng([settings.seed, 6])
    plain = {(clip.prompt, clip.seed): clip.file for clip in clips if clip.method == "none"}
    if not plain or not all(clip.method for clip in clips):
        raise BadInput(
            f"{where}: needs a JSON file for each clip, and unsteered clips (method none) to compare with"
        )
    steered = [
        clip
        for clip in clips
        if clip.method != "none"
        and (clip.coefficient == settings.coefficient or clip.method == "prompt_editing")
    ]
    known = sorted({clip.coefficient for clip in clips if clip.coefficient is not None})
    there = f"(the run has {', '.join(f'{c:g}' for c in known)})"
    methods = settings.methods or tuple(sorted({str(clip.method) for clip in steered}))
    if len(known) > 1 and set(methods) <= {"prompt_editing"} and not settings.methods:
        raise BadInput(
            f"{where}: no clip at coefficient {settings.coefficient:g} {there}; choose another coefficient"
        )
    emotions = settings.emotions or tuple(
        sorted({clip.emotion for clip in steered if clip.emotion is not None})
    )
    trials: list[Trial] = []
    for method in methods:
        asked: list[tuple[Facts, str]] = []
        by_method = [clip for clip in steered if clip.method == method]
        controls = [clip for clip in by_method if clip.emotion is None]
        controls = _spread(controls, settings.pairs * len(emotions), rng) if controls else []
        for e, emotion in enumerate(emotions):
            towards = [clip for clip in by_method if clip.emotion == emotion]
            chosen = _spread(towards, settings.pairs, rng) if towards else controls[e :: len(emotions)]
            if not chosen:
                raise BadInput(
                    f"{where}: no {method} clip for {emotion} at coefficient {settings.coefficient:g} {there}; choose "
                    "another coefficient, methods or emotions"
                )
            asked += [(clip, emotion) for clip in chosen]
        sides = rng.permutation(np.arange(len(asked)) % 2 == 0)
        for (clip, emotion), swap in zip(asked, sides, strict=True):
            partner = plain.get((clip.prompt, clip.seed))
            if partner is None:
                raise BadInput(
                    f"{where}: {clip.file} has no unsteered clip of {clip.prompt!r} and seed {clip.seed}"
                )
            trials.append(
                Trial(
                    trial=f"t{len(trials):03d}",
                    repeat=None,
                    swap=bool(swap),
                    method=method,
                    direction=clip.direction,
                    emotion=emotion,
                    prompt=clip.prompt,
                    coefficient=clip.coefficient,
                    seed=clip.seed,
                    steered=clip.file,
                    plain=partner,
                )
            )
    again = rng.permutation(len(trials))[: settings.repeats]
    for n, i in enumerate(again, len(trials)):
        first = trials[int(i)]
        changes = {"trial": f"t{n:03d}", "repeat": first.trial, "swap": not first.swap}
        trials.append(first.model_copy(update=changes))
    return trials


def _spread(clips: Sequence[Facts], n: int, rng: np.random.Generator) -> list[Facts]:
    """``n`` of the clips, or all if there are fewer: another prompt each time, as long as there are others."""
    before: Counter[str | None] = Counter()
    turns: list[tuple[int, Facts]] = []
    for clip in (clips[i] for i in rng.permutation(len(clips))):
        turns.append((before[clip.prompt], clip))  # how many clips of its prompt came before it
        before[clip.prompt] += 1
    return [clip for _, clip in sorted(turns, key=lambda turn: turn[0])[:n]]


@dataclass(frozen=True)
class _Sound:
    audio: np.ndarray
    rate: int

    @classmethod
    def read(cls, path: Path) -> "_Sound":
        return cls(*read_sound(path))

    @property
    def scale(self) -> float:
        """What 16-bit samples are stored at: 1, or less where the clip goes beyond full scale."""
        return min(1.0, 0.999 / max(float(np.abs(self.audio).max()), 1e-9))

    def pcm(self) -> bytes:
        """A 16-bit WAV file."""
        from scipy.io import wavfile

        file = io.BytesIO()
        wavfile.write(file, self.rate, np.round(self.audio.T * self.scale * 32767).astype(np.int16))
        return file.getvalue()


def _gains(pair: list[_Sound], match: bool) -> list[float]:
    """Playback volumes, at most 1, that keep a pair's true ratio of loudness, or make both as loud as the quieter."""
    wanted = [1.0, 1.0]
    if match:
        levels = [rms_dbfs(sound.audio) for sound in pair]
        quiet = min(levels)
        if np.isfinite(quiet):
            wanted = [float(10 ** ((quiet - level) / 20)) for level in levels]
    volume = [gain / sound.scale for gain, sound in zip(wanted, pair, strict=True)]
    return [round(v / max(*volume, 1.0), 6) for v in volume]


def _render(test: Mapping[str, object], sources: Mapping[str, str]) -> str:
    import json

    from jinja2 import Environment, PackageLoader, StrictUndefined

    def script(value: Any) -> str:  # JSON that cannot end its script element
        return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")

    environment = Environment(
        loader=PackageLoader("moodlens.judge"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("listen.html.j2").render(test=script(test), sources=script(sources))

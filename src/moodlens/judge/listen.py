"""A blind listening test: which of two clips is more HAPPY? One HTML file that works without a network.

Every trial pairs a steered clip with another one of the same prompt (:mod:`moodlens.judge.trials`). The page holds clips
under names that say nothing; what they are stays in ``key.json``, which listeners do not get. Sides are balanced within
every method, and flipped and shuffled anew for every listener.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moodlens.core import atomic_write, digest
from moodlens.core.sound import read_sound
from moodlens.judge.clips import folder_clips, is_run, run_clips
from moodlens.judge.trials import choose_trials, most_heard
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs
from moodlens.steer.run import check_folder
from moodlens.study.records.judge import ListeningKey

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
        against: methods of the partners; ``none`` is unsteered.
        most_heard: trials that play the most-heard clip, repeats aside.
        left_out: methods of the run that have no clip at the coefficient.
    """

    page: Path
    key: Path
    trials: int
    clips: int
    megabytes: float
    against: tuple[str, ...]
    most_heard: int
    left_out: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What to tell people, JSON-able."""
        return {
            "page": str(self.page),
            "key": str(self.key),
            "trials": self.trials,
            "clips": self.clips,
            "megabytes": round(self.megabytes, 1),
            "against": list(self.against),
            "most_heard": self.most_heard,
            "left_out": list(self.left_out),
        }

    def warning(self) -> str | None:
        """One line where a clip is heard in more than one trial, so that listeners may know it again."""
        if self.most_heard <= 1:
            return None
        return (
            f"the most-heard clip is heard in {self.most_heard} trials, and may be known again; ask about fewer methods or "
            "emotions, with fewer pairs, or against clips of which there are more (more prompts or seeds, or random)"
        )


def make_listening_test(
    clips: Path | str, out: Path | str, settings: ListenSettings | None = None
) -> ListeningTest:
    """Write ``listen.html`` and ``key.json`` into ``out``.

    Args:
        clips: a steering run, or any folder with a sound and a JSON file for each clip (keys prompt, method, emotion,
            coefficient and seed; method ``none`` for the unsteered ones).
        out: folder of the test.

    Raises:
        BadInput: there are no such clips, one is broken, a partner is missing, or ``out`` is where the
            clips are.
    """
    settings = settings or ListenSettings()
    out = Path(out)
    folder, keys = run_clips(clips) if is_run(clips) else (Path(clips), None)
    for taken in (Path(clips), folder):
        check_folder(out, taken)
    facts = [clip.facts for clip in folder_clips(folder, keys)]
    trials = choose_trials(facts, settings, str(clips))
    asked = [t.model_dump(exclude={"steered_clip", "partner_clip"}) for t in trials]
    test = digest(FORMAT, VERSION, asked, settings.model_dump(mode="json"))[:12]
    names = sorted({name for trial in trials for name in (trial.steered, trial.partner)})
    rng = np.random.default_rng([settings.seed, 7])
    codes = dict(zip(names, (f"c{i:03d}" for i in rng.permutation(len(names))), strict=True))
    sounds = {name: _Sound.read(folder / name) for name in names}
    shown = []
    for trial in trials:
        pair = (trial.steered, trial.partner)
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
        t.model_copy(update={"steered_clip": codes[t.steered], "partner_clip": codes[t.partner]})
        for t in trials
    )
    most = most_heard(trials)
    key = ListeningKey(format=FORMAT, test=test, settings=settings, most_heard=most, trials=tuple(coded))
    against = tuple(sorted({trial.against for trial in trials}))
    left_out = {str(clip.method) for clip in facts} - {"none", *against, *(trial.method for trial in trials)}
    return ListeningTest(
        page=out / PAGE,
        key=out / key.write(out),
        trials=len(trials),
        clips=len(names),
        megabytes=(out / PAGE).stat().st_size / 1e6,
        against=against,
        most_heard=most,
        left_out=() if settings.methods else tuple(sorted(left_out)),
    )


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

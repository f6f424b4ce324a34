"""A blind listening test: which of two clips is more HAPPY? One HTML file that works without a network.

Every trial pairs a steered clip with another one of the same prompt (:mod:`moodlens.judge.trials`). The page holds clips
under names that say nothing; what they are stays in ``key.json``, which listeners do not get. Sides are balanced within
every method, and flipped and shuffled anew for every listener.
"""

import base64
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from moodlens.core import atomic_write, digest
from moodlens.judge.clips import check_whole, folder_clips, is_run, run_clips
from moodlens.judge.jspsych import write_jspsych
from moodlens.judge.render import render
from moodlens.judge.sheet import Sheet
from moodlens.judge.trials import choose_trials, most_heard
from moodlens.judge.webmushra import write_webmushra
from moodlens.settings.judge import ListenSettings
from moodlens.steer.run import check_folder
from moodlens.study.records.judge import ListeningKey

FORMAT, VERSION = "moodlens-listen", 1
PAGE, CLIPS = "listen.html", "clips"


@dataclass(frozen=True)
class ListeningTest:
    """What was written.

    Attributes:
        page: the HTML file for listeners, or what another program reads in its place.
        key: what each trial is; keep it.
        trials: number of them, with repeats.
        clips: distinct ones.
        megabytes: of the page, without clips that lie beside it; for another program, of its whole folder.
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

    def summary(self) -> dict[str, JsonValue]:
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
    """Write ``listen.html``, or what another program needs in its place, and ``key.json`` into ``out``.

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
    check_whole(clips)
    folder, keys = run_clips(clips) if is_run(clips) else (Path(clips), None)
    for taken in (Path(clips), folder):
        check_folder(out, taken)
    facts = [clip.facts for clip in folder_clips(folder, keys)]
    trials = choose_trials(facts, settings, str(clips))
    asked = [t.model_dump(exclude={"steered_clip", "partner_clip"}) for t in trials]
    test = digest(FORMAT, VERSION, asked, settings.model_dump(mode="json"))[:12]
    sheet, coded = Sheet.of(test, trials, folder, settings)
    if settings.export is None:
        page = write_page(sheet, out, embed=settings.embed)
        given = [page]
    else:
        page = {"jspsych": write_jspsych, "webmushra": write_webmushra}[settings.export](sheet, out)
        given = [file for file in page.parent.rglob("*") if file.is_file()]
    most = most_heard(trials)
    key = ListeningKey(format=FORMAT, test=test, settings=settings, most_heard=most, trials=coded)
    against = tuple(sorted({trial.against for trial in trials}))
    left_out = {str(clip.method) for clip in facts} - {"none", *against, *(trial.method for trial in trials)}
    return ListeningTest(
        page=page,
        key=out / key.write(out),
        trials=len(trials),
        clips=len(sheet.sounds),
        megabytes=sum(file.stat().st_size for file in given) / 1e6,
        against=against,
        most_heard=most,
        left_out=() if settings.methods else tuple(sorted(left_out)),
    )


def write_page(sheet: Sheet, out: Path, *, embed: bool) -> Path:
    """Write ``listen.html``, which works from a file and without a network.

    Args:
        embed: clips inside the page; else beside it, in the folder ``clips``.
    """
    sources = {}
    for code, sound in sheet.sounds.items():
        if embed:
            sources[code] = "data:audio/wav;base64," + base64.b64encode(sound.pcm()).decode()
        else:
            sources[code] = f"{CLIPS}/{code}.wav"
            with atomic_write(out / CLIPS / f"{code}.wav") as tmp:
                tmp.write_bytes(sound.pcm())
    test = {"format": FORMAT, "version": VERSION, "test": sheet.test, "quality": sheet.quality}
    page = render(
        "listen.html.j2", test=test | {"trials": list(map(asdict, sheet.questions))}, sources=sources
    )
    with atomic_write(out / PAGE) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return out / PAGE

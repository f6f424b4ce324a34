"""A study on disk: one reader of its folder, used by every room."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from moodlens.core.errors import BadInput
from moodlens.core.files import read_json
from moodlens.core.maps import taken
from moodlens.settings.engine import EngineSettings
from moodlens.study.record import Record, TableSchema, make_anew
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.rows import Rows
from moodlens.study.state import elapsed, read_states, seconds, standing

if TYPE_CHECKING:
    import polars as pl

    from moodlens.embed.manifest import EncoderInfo
    from moodlens.sae.model import SAE
    from moodlens.settings.study import Settings
    from moodlens.study.families import Families
    from moodlens.study.notes import Notes

MAIN = "main"
"""Name of the study's own SAE; the cores of other pipelines (without a core: SAEs of other seeds) are seed-1, seed-2 ..."""

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class _Cache:
    """What takes long or much memory is made once, not once a thread, and forgotten with the stage that it came from."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, Any]] = {}
        self._lock = threading.RLock()

    def get(self, name: str, stage: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._values:
                self._values[name] = (stage, make())
            return self._values[name][1]

    def forget(self, stages: Iterable[str]) -> None:
        gone = set(stages)
        with self._lock:
            self._values = {name: pair for name, pair in self._values.items() if pair[0] not in gone}


class Study:
    """The folder of a study: settings, rows, embeddings, SAEs, codes, and what each stage left.

    Arrays are read on first use and kept. Row i of the prompts, of :attr:`rows`, of :attr:`x` and of the codes is the
    same text.

    Args:
        path: where the files are.
        home: the study's own folder, if ``path`` is where a run works before it takes effect.
        keys: stage -> the key that the settings ask for; :meth:`require` refuses what was made for another.
        memory: GiB that arrays of all rows may take, about (``engine.memory``): a quarter for :attr:`x` and half for
            :meth:`codes`, beyond which they lie in files without a name; the last quarter is for what is computed of them.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        home: Path | str | None = None,
        keys: Mapping[str, str] | None = None,
        memory: float = EngineSettings().memory,
    ):
        self.path = Path(path)
        self.home = self.path if home is None else Path(home)
        self.memory = memory
        self._keys = keys
        self._cache = _Cache()
        self._readable: frozenset[str] | None = None

    def limited_to(self, stages: Iterable[str]) -> "Study":
        """The same study for a stage: it reads the files of ``stages``, and no setting but its own."""
        view = Study(self.path, home=self.home, keys=self._keys, memory=self.memory)
        view._cache = self._cache
        view._readable = frozenset(stages)
        return view

    def forget(self, stages: Iterable[str]) -> None:
        """Drop the arrays that were read from the files of ``stages``."""
        self._cache.forget(stages)

    def cached(self, name: str, stage: str, make: Callable[[], T]) -> T:
        """``make()``, done once for all who share the study; forgotten when ``stage`` runs again."""
        self._check(stage)
        return self._cache.get(name, stage, make)

    def _check(self, stage: str) -> None:
        # A stage that reads what its key does not name would not run again when that changes.
        if self._readable is not None and stage not in self._readable:
            raise AssertionError(
                f"a stage reads files of {stage!r}, which it does not need by its declaration"
            )

    # -- settings and stages -----------------------------------------------------------------------------------------

    @property
    def settings(self) -> "Settings":
        """What the study was run with (study.yaml). A stage gets its own settings as an argument instead."""
        from moodlens.settings.study import read_study

        if self._readable is not None:
            raise AssertionError("a stage is given its settings; it does not read study.yaml")
        return self._cache.get("settings", "settings", lambda: read_study(self.path / "study.yaml"))

    def require(self, *stages: str) -> Self:
        """Refuse to read what is not finished, outdated or damaged; returns the study.

        Raises:
            BadInput: a stage, or one that it reads, does not stand; the line names it and the verb that makes it anew.
        """
        states = read_states(self.path)
        for stage in stages:
            for name in (*(states[stage].needs if stage in states else ()), stage):
                state = standing(self.path, name, states, self._keys)
                if state.state == "missing":
                    raise BadInput(f"{self.path}: {name} is not there yet; run: moodlens {name} {self.path}")
                if state.state == "outdated":
                    raise BadInput(
                        f"{self.path}: {name} was made for other settings or an earlier stage; "
                        f"run: moodlens {stage} {self.path}"
                    )
                for file, fault in state.faults.items():
                    raise BadInput(
                        f"{self.path / file}: {fault} since moodlens {name} wrote it; run: moodlens {stage} {self.path}"
                    )
        return self

    @property
    def seconds(self) -> dict[str, float]:
        """How long each finished stage took."""
        return seconds(read_states(self.path))

    @property
    def elapsed(self) -> float:
        """Seconds in which any of the finished stages was at work."""
        return elapsed(read_states(self.path))

    # -- records and tables ------------------------------------------------------------------------------------------

    def read(self, record: type[R]) -> R:
        """The record of a stage.

        Raises:
            BadInput: it is missing or damaged; the line names the verb that makes it anew.
        """
        return self.cached(record.file, record.stage, lambda: self._read(record))

    def table(self, schema: TableSchema) -> "pl.DataFrame":
        """The table of a stage.

        Raises:
            BadInput: it is missing or damaged; the line names the verb that makes it anew.
        """
        return self.cached(schema.file, schema.stage, lambda: self._read(schema))

    def _read(self, what: Any) -> Any:
        if not (self.path / what.file).is_file() and what.stage != "prompts" and not self._has_labels():
            raise BadInput(
                f"{self.path}: no text of this study has a label, so there is no {what.file}; see its report, or moodlens "
                f"ratings {self.path}"
            )
        return what.read(self.path)

    def _has_labels(self) -> bool:
        if not (self.path / Prompts.file).is_file():
            return True  # what is missing is told by its own name
        return bool(Prompts.read(self.path).emotions)

    def write(self, record: Record) -> str:
        """Write a stage's record; returns its path in the folder."""
        return record.write(self.path)

    def write_table(self, schema: TableSchema, frame: "pl.DataFrame") -> str:
        """Write a stage's table; returns its path in the folder."""
        return schema.write(self.path, frame)

    # -- rows and arrays ---------------------------------------------------------------------------------------------

    @property
    def prompts(self) -> "pl.DataFrame":
        """The prompt table with its factors."""
        return self.table(PROMPTS)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The labels, in order."""
        return self.read(Prompts).emotions

    @property
    def seed(self) -> int:
        """The one seed from which every other is derived."""
        return self.read(Prompts).seed

    @property
    def control(self) -> str:
        """none, or which control this study is."""
        return self.read(Prompts).control

    @property
    def rows(self) -> Rows:
        """Texts, labels, groups, splits and kinds."""
        return self.cached("rows", "prompts", lambda: Rows.from_frame(self.prompts, self.emotions))

    @property
    def x(self) -> np.ndarray:
        """Raw embeddings, ``(n, d_in)`` float32."""
        return self.cached("x", "embed", self._read_embeddings)

    def x_of(self, rows: np.ndarray) -> np.ndarray:
        """Raw embeddings of the rows with these numbers (int, rising), ``(m, d_in)`` float32, for who reads all of them."""
        return taken(self.x, rows, self.memory / 8)

    def _read_embeddings(self) -> np.ndarray:
        from moodlens.embed.store import EmbeddingStore

        with self.made_by("embed"):
            store = EmbeddingStore.open(self.path / "embeddings")
            if store.rows != len(self.rows):
                raise BadInput(f"{self.path / 'embeddings'}: {store.rows} rows for {len(self.rows)} prompts")
            return store.array(memory=self.memory / 4)

    @contextmanager
    def made_by(self, stage: str) -> Iterator[None]:
        """What is wrong with a file of ``stage`` is said with the verb that makes it anew."""
        try:
            yield
        except BadInput as error:
            if "make it anew" in str(error):
                raise
            raise BadInput(f"{error}; {make_anew(stage, self.path)}") from error

    @property
    def encoder_info(self) -> "EncoderInfo":
        """What made the embeddings."""
        from moodlens.embed.store import EmbeddingStore

        with self.made_by("embed"):
            return self.cached(
                "encoder_info", "embed", lambda: EmbeddingStore.open(self.path / "embeddings").info
            )

    def sae(self, name: str = MAIN) -> "SAE":
        """The SAE in ``sae/NAME``, checked against the study's encoder."""
        from moodlens.sae.files import load_sae

        folder, encoder = self.path / "sae" / name, self.encoder_info.encoder
        with self.made_by("train"):
            return self.cached(f"sae {name}", "train", lambda: load_sae(folder, encoder_id=encoder))

    @property
    def core_size(self) -> int:
        """Features ``[0, core_size)`` of the study's SAE may be claimed; all of them where there is no core."""
        return self.sae().core_size

    def sae_sha256(self, name: str = MAIN) -> str:
        """Of an SAE's weights, as cfg.json has it and they were checked against."""
        self.sae(name)
        return read_json(self.path / "sae" / name / "cfg.json").get("metadata", {}).get("weights_sha256", "")

    def W_dec(self, name: str = MAIN) -> np.ndarray:
        """Decoder rows of an SAE, ``(d_sae, d_in)`` float32."""
        return self.sae(name).W_dec.detach().numpy()

    def W_enc(self, name: str = MAIN) -> np.ndarray:
        """Encoder columns of an SAE, ``(d_in, d_sae)`` float32."""
        return self.sae(name).W_enc.detach().numpy()

    def codes(self, name: str = MAIN) -> np.ndarray:
        """Activations of every row, ``(n, d_sae)`` float32."""
        from moodlens.sae.model import encode_rows

        def encode() -> np.ndarray:
            return encode_rows(self.sae(name), self.x, memory=self.memory / 2)

        return self.cached(f"codes {name}", "train", encode)

    @property
    def seed_names(self) -> list[str]:
        """Names of the cores that other pipelines found on the same rows (without a core: of SAEs of other seeds), in order."""
        return self._numbered("seed")

    @property
    def bootstrap_names(self) -> list[str]:
        """Names of the cores that other pipelines found on resampled training groups, in order."""
        return self._numbered("bootstrap")

    @property
    def narrow_names(self) -> list[str]:
        """Names of the narrow SAEs that were kept, members of two pipelines."""
        return self._numbered("narrow")

    def _numbered(self, kind: str) -> list[str]:
        self._check("train")
        names = [folder.name for folder in (self.path / "sae").glob(f"{kind}-*")]
        return sorted(
            (name for name in names if name.partition("-")[2].isdecimal()),
            key=lambda name: int(name.partition("-")[2]),
        )

    @property
    def families(self) -> "Families":
        """The few features of each emotion, and their weighted sums."""
        from moodlens.study.families import Families

        return self.read(Families)

    @property
    def features(self) -> "pl.DataFrame":
        """One row for each feature: everything known of it so far."""
        from moodlens.study.records.causal import CAUSAL
        from moodlens.study.records.concepts import CONCEPTS
        from moodlens.study.records.names import NAMES
        from moodlens.study.records.selection import SELECTION

        def joined() -> "pl.DataFrame":
            frame, states = self._read(SELECTION), read_states(self.path)
            for schema in (CONCEPTS, NAMES, CAUSAL):
                readable = self._readable is None or schema.stage in self._readable
                if readable and standing(self.path, schema.stage, states, self._keys).state == "done":
                    more = schema.read(self.path)
                    frame = frame.join(more, on="feature", how="left", maintain_order="left")
            return frame

        self._check("features")
        return joined()

    @property
    def notes(self) -> "Notes":
        """What people say of the features."""
        from moodlens.study.notes import Notes

        return Notes(self.home / "notes.db")

    @property
    def sae_key(self) -> str:
        """Name and weights of the study's SAE: a reading of another SAE's feature 7 is of another feature."""
        return f"{MAIN}@{self.sae_sha256()[:12]}"

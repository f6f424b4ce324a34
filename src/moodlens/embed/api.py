"""``api:MODEL``: embeddings from an endpoint that answers as OpenAI's ``/embeddings`` does.

Every row is kept by its text, so that nothing is paid for twice. Nothing is sent before it was said how much it is: what
may be sent is a setting. An endpoint does not say what it cuts, so long texts are cut or split here, by characters, of
which a token has at least a byte.
"""

import contextlib
import hashlib
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from moodlens.core import BadInput
from moodlens.core.post import post_json
from moodlens.embed.checkpoint import Functional
from moodlens.embed.vectors import PROBE
from moodlens.settings.encoder import EmbeddingEndpoint
from moodlens.settings.study import expand_path

BYTES_A_TOKEN = 4
"""Of English text, by which tokens are estimated."""
_AT_ONCE = 500
"""Rows that the cache is asked for at once: SQLite allows a thousand names."""
_SAME = 0.99
"""Least cosine of a row that was kept and one that the endpoint gives now, if it has the same model still."""


def load(label: str, model: str, settings: EmbeddingEndpoint | None) -> Functional:
    """The endpoint as an encoder.

    Raises:
        BadInput: the settings name no endpoint, or the cache cannot be used.
    """
    if settings is None:
        raise BadInput(
            f"{label}: say where the endpoint is: encoder.api.url, such as http://localhost:11434/v1"
        )
    endpoint = Endpoint(label, model, settings)
    return Functional(
        endpoint,
        revision=f"{settings.url.rstrip('/')}" + (f" {settings.dimensions}" if settings.dimensions else ""),
        max_length=settings.max_characters,
        settle=endpoint.announce,
        told=endpoint.told,
    )


class Endpoint:
    """Texts -> rows, from the cache or the endpoint."""

    def __init__(self, label: str, model: str, settings: EmbeddingEndpoint):
        self._label, self._model, self._settings = label, model, settings
        self._url = _address(label, settings.url)
        self._cache = _Cache(_cache_file(settings), [self._url, model, str(settings.dimensions)])
        self._allowed = settings.max_tokens
        self._sent = self._tokens = 0
        self._same = False

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Rows of the texts, (n, d_in).

        Raises:
            BadInput: more would be sent than may be, there is no usable answer, or another model answers than before.
        """
        rows = self._cache.get(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in rows]
        if missing:
            kept = {} if self._same else self._cache.get([PROBE])
            self._allowed -= self._check([*missing, *kept])
            if kept:
                self._compare(kept[PROBE])
            self._same = True
            size = self._settings.batch
            batches = [missing[at : at + size] for at in range(0, len(missing), size)]
            pool = ThreadPoolExecutor(min(self._settings.parallel, len(batches)))
            try:
                for batch, answers in zip(batches, pool.map(self._ask, batches), strict=True):
                    # Kept as it comes: what was paid for outlives a failure of the next.
                    self._cache.put(batch, answers)
                    rows |= dict(zip(batch, answers, strict=True))
            finally:
                pool.shutdown(cancel_futures=True)
        if len({len(row) for row in rows.values()}) > 1:
            raise self._changed("rows of another width")
        return np.stack([rows[text] for text in texts])

    def _compare(self, kept: np.ndarray) -> None:
        """Hold a row that was kept against what the endpoint gives now: rows of two models must not be mixed.

        Raises:
            BadInput: they are of two models.
        """
        (now,) = self._ask([PROBE])
        if len(now) != len(kept):
            raise self._changed(f"rows of width {len(now)}, and of width {len(kept)} before")
        norm = float(np.linalg.norm(now) * np.linalg.norm(kept))
        if norm > 0 and float(now @ kept) < _SAME * norm:
            raise self._changed("other rows for the same text than before")

    def _changed(self, what: str) -> BadInput:
        return BadInput(
            f"{self._url}: gives {what}, so the model behind {self._model!r} has changed; name another file by "
            "encoder.api.cache, which embeds all texts anew, or serve the model of before"
        )

    def announce(self, texts: Sequence[str]) -> None:
        """Say what these texts would send, if it is more than may be sent.

        Raises:
            BadInput: it is.
        """
        known = self._cache.get([*texts, PROBE])
        missing = [text for text in dict.fromkeys([*texts, PROBE]) if text not in known]
        # What is kept is held against the endpoint by one text, which is sent again.
        self._check([*missing, PROBE] if missing and PROBE in known else missing)

    def told(self) -> str:
        """What was sent so far."""
        if not self._sent:
            return f"{self._url}: nothing was sent, all rows were kept from before"
        cost = self._cost(self._tokens)
        return f"{self._url}: {self._sent} texts were sent, {self._tokens} tokens as it counts them{cost}"

    def _check(self, texts: list[str]) -> int:
        tokens = sum(-(-len(text.encode(errors="replace")) // BYTES_A_TOKEN) for text in texts)
        if tokens > self._allowed:
            raise BadInput(
                f"{self._label}: would send {len(texts)} texts, about {tokens} tokens{self._cost(tokens)}, to {self._url}, and "
                f"{self._allowed} may be sent: set encoder.api.max_tokens to {tokens} or more to allow it"
            )
        return tokens

    def _cost(self, tokens: int) -> str:
        price = self._settings.price
        return "" if price is None else f" (cost {tokens * price / 1e6:.4g} at {price:g} a million)"

    def _ask(self, texts: list[str]) -> list[np.ndarray]:
        body: dict[str, object] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._settings.dimensions is not None:
            body["dimensions"] = self._settings.dimensions
        answer = post_json(self._url, body, self._settings)
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            with np.errstate(over="ignore"):  # said below
                rows = [np.asarray(item["embedding"], dtype=np.float32) for item in items]
            order = [item["index"] for item in items]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BadInput(f"{self._url}: the answer holds no embeddings; check url and model") from error
        whole = all(row.ndim == 1 and len(row) == len(rows[0]) and np.isfinite(row).all() for row in rows)
        if order != list(range(len(texts))) or not whole:
            raise BadInput(f"{self._url}: answered {len(rows)} rows for {len(texts)} texts, or broken ones")
        self._sent += len(texts)
        self._tokens += _tokens(answer)
        return rows


class _Cache:
    """Rows by text, in one file for all endpoints."""

    def __init__(self, path: Path, names: list[str]):
        self._path, self._names = path, names
        with self._open() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID"
            )

    def get(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The rows that are kept of these texts."""
        keys = {self._key(text): text for text in texts}
        cached: dict[str, np.ndarray] = {}
        todo = list(keys)
        with self._open() as db:
            for at in range(0, len(todo), _AT_ONCE):
                some = todo[at : at + _AT_ONCE]
                marks = ",".join("?" * len(some))
                for key, row in db.execute(f"SELECT key, row FROM rows WHERE key IN ({marks})", some):
                    if (
                        isinstance(row, bytes) and row and len(row) % 4 == 0
                    ):  # else damaged, and asked for again
                        cached[keys[key]] = np.frombuffer(row, dtype="<f4")
        return cached

    def put(self, texts: Sequence[str], rows: Sequence[np.ndarray]) -> None:
        """Keep the rows of these texts."""
        values = [
            (self._key(text), row.astype("<f4").tobytes()) for text, row in zip(texts, rows, strict=True)
        ]
        with self._open() as db:
            db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)

    def _key(self, text: str) -> bytes:
        parts = "\0".join([*self._names, text])
        return hashlib.sha256(parts.encode(errors="surrogatepass")).digest()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=30)
            try:
                with db:
                    yield db
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            raise BadInput(
                f"{self._path}: cannot keep embeddings there ({error}); delete it, or set encoder.api.cache"
            ) from error


def _address(label: str, url: str) -> str:
    """Where texts are sent: ``/embeddings`` below the base address, whose query stays behind it.

    Raises:
        BadInput: it holds a password, which would stand in every file that names it.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password:
        raise BadInput(
            f"{label}: encoder.api.url holds a password; put it into a variable and name that by key_env"
        )
    return urllib.parse.urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/embeddings"))


def _cache_file(settings: EmbeddingEndpoint) -> Path:
    if settings.cache is not None:
        return expand_path(settings.cache)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "moodlens" / "embeddings.sqlite"


def _tokens(answer: Mapping[str, object]) -> int:
    usage = answer.get("usage")
    value = usage.get("total_tokens", usage.get("prompt_tokens", 0)) if isinstance(usage, dict) else 0
    return value if type(value) is int else 0

"""The explorer's server: questions as records in, records out. FastAPI and uvicorn are the extra ``explore``."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from moodlens.core import BadInput
from moodlens.explore.answers import NoteQuestion, NotesFile, SteerQuestion, TextQuestion
from moodlens.explore.blind import blind_result, blind_trial
from moodlens.explore.clips import audio_file, clip_runs
from moodlens.explore.compare import compare
from moodlens.explore.explored import Explored
from moodlens.explore.feature import feature_page
from moodlens.explore.generate_records import GenerateQuestion
from moodlens.explore.guard import App, Guard
from moodlens.explore.notes import add_note, import_notes, notes_file
from moodlens.explore.overview import no_generator, overview, prompts
from moodlens.explore.page import policy
from moodlens.explore.steer import steer_answer, warm_steer
from moodlens.explore.studio import Busy, Studio
from moodlens.explore.table import feature_table
from moodlens.explore.text import read_text, warm_text

EMPTY = 204


def _json(record: BaseModel, status: int = 200) -> Response:
    return Response(record.model_dump_json(), status, media_type="application/json")


def _error(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status_code=status)


def explorer_app(
    explored: Explored,
    html: str,
    *,
    other: Explored | None = None,
    studio: Studio | None = None,
    hosts: tuple[str, ...] = (),
) -> App:
    """The application: the page at ``/``, answers below ``/api/``.

    Args:
        explored: the study.
        html: the built page.
        other: a study to compare with.
        studio: what makes clips; None: nothing does.
        hosts: names that it may be called by, besides those of this machine.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _errors(app)
    _reading(app, explored, html, other, studio)
    _asking(app, explored)
    _generating(app, explored, studio)
    return Guard(app, policy(html, served=True), hosts)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(BadInput)
    def _bad(_request: Request, error: BadInput) -> JSONResponse:
        return _error(400, str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return _error(400, f"{place}: {first['msg']}" if place else str(first["msg"]))

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, "nothing is here" if error.status_code == 404 else str(error.detail))


def _reading(
    app: FastAPI, explored: Explored, html: str, other: Explored | None, studio: Studio | None
) -> None:
    """What is there to look at. Files are found by what the study lists, never by a path that was asked for."""

    facts = None if studio is None else studio.facts

    def kept(name: str, make: Callable[[], BaseModel]) -> Response:
        text = explored.once(f"json {name}", lambda: make().model_dump_json())
        return Response(text, media_type="application/json")

    @app.get("/")
    def _page() -> Response:
        return Response(html, media_type="text/html; charset=utf-8")

    @app.get("/favicon.ico")
    def _icon() -> Response:
        return Response(status_code=EMPTY)

    @app.get("/api/overview")
    def _overview() -> Response:
        return kept("overview", lambda: overview(explored, compare=other is not None, generator=facts))

    @app.get("/api/features")
    def _features() -> Response:
        return kept("features", lambda: feature_table(explored))

    @app.get("/api/prompts")
    def _prompts() -> Response:
        return kept("prompts", lambda: prompts(explored))

    @app.get("/api/feature/{feature}")
    def _feature(feature: int) -> Response:
        try:
            explored.check(feature)
        except BadInput as error:
            return _error(404, str(error))
        return _json(feature_page(explored, feature))

    @app.get("/api/notes")
    def _notes() -> Response:
        return _json(notes_file(explored))

    @app.get("/api/compare")
    def _compare() -> Response:
        second = other
        if second is None:
            return _error(404, "no other study stands beside this one; see --compare")
        return kept("compare", lambda: compare(explored, second))

    @app.get("/api/clips")
    def _clips() -> Response:
        return _json(clip_runs(explored))

    @app.get("/api/audio/{run}/{key}.wav")
    def _audio(run: str, key: str) -> Response:
        try:
            return FileResponse(audio_file(explored, run, key), media_type="audio/wav")
        except BadInput as error:
            return _error(404, str(error))


def _asking(app: FastAPI, explored: Explored) -> None:
    """What is worked out or kept."""

    @app.post("/api/text")
    def _text(question: TextQuestion) -> Response:
        if not explored.has("encoder"):
            return _error(503, explored.missing["encoder"])
        if question.feature is not None:
            explored.check(question.feature)
        return _json(read_text(explored, question.text, question.feature))

    @app.post("/api/steer")
    def _steer(question: SteerQuestion) -> Response:
        return _json(steer_answer(explored, question))

    @app.post("/api/notes")
    def _note(question: NoteQuestion) -> Response:
        return _json(add_note(explored, question))

    @app.post("/api/notes/import")
    def _import(file: NotesFile) -> Response:
        return _json(import_notes(explored, file))

    @app.get("/api/blind")
    def _trial(
        emotion: Annotated[str | None, Query(max_length=1000)] = None,
        skip: Annotated[str, Query(max_length=10_000, pattern=r"^[0-9,]*$")] = "",
    ) -> Response:
        numbers = frozenset(int(number) for number in skip.split(",") if number)
        try:
            return _json(blind_trial(explored, emotion, numbers))
        except BadInput as error:
            return _error(404, str(error))

    @app.post("/api/blind")
    def _blind(question: NoteQuestion) -> Response:
        return _json(blind_result(explored, question))


def _generating(app: FastAPI, explored: Explored, studio: Studio | None) -> None:
    """Clips that are made while somebody waits."""

    def need() -> Studio:
        if studio is None:
            raise HTTPException(503, f"no generator is loaded: {no_generator(explored)}")
        return studio

    def found(make: Callable[[], Response]) -> Response:
        try:
            return make()
        except BadInput as error:
            return _error(404, str(error))

    @app.get("/api/generate")
    def _sets() -> Response:
        return _json(need().sets())

    @app.post("/api/generate")
    def _ask(question: GenerateQuestion) -> Response:
        try:
            return _json(need().ask(question), 202)
        except Busy as error:
            return _error(429, str(error))

    @app.get("/api/generate/{number}")
    def _look(number: int) -> Response:
        return found(lambda: _json(need().look(number)))

    @app.post("/api/generate/{number}/cancel")
    def _cancel(number: int) -> Response:
        return found(lambda: _json(need().cancel(number)))

    @app.get("/api/generate/{number}/{which}.wav")
    def _sound(number: int, which: str) -> Response:
        return found(lambda: FileResponse(need().sound(number, which), media_type="audio/wav"))

    @app.get("/api/generate/{number}/{which}.json")
    def _settings(number: int, which: str) -> Response:
        return found(lambda: _json(need().settings(number, which)))


def warm(explored: Explored) -> threading.Thread:
    """Make, beside everything else, what the first questions would wait for. What fails is told when it is asked for."""

    def work() -> None:
        for part, make in (
            ("", lambda: explored.codes),
            ("encoder", lambda: warm_text(explored)),
            ("", lambda: warm_steer(explored)),
        ):
            if not part or explored.has(part):
                with suppress(BadInput):
                    make()

    thread = threading.Thread(target=work, name="explorer-warm", daemon=True)
    thread.start()
    return thread


def listen(host: str, port: int) -> socket.socket:
    """A socket that is listened on; port 0 is any that is free.

    Raises:
        BadInput: the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)  # who follows the address before all is ready waits, and is not refused
    except (OSError, UnicodeError, OverflowError) as error:
        raise BadInput(
            f"{host}:{port}: cannot be listened on: {error}; choose another with --host and --port"
        ) from error
    return listener


def serve(app: App, listener: socket.socket) -> None:
    """Answer until the program is told to end."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        limit_concurrency=64,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listener])

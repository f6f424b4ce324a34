"""The laws of the house: which room may know which, no circles, nothing too long, settings that stand alone."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "src" / "moodlens"
ROOMS = (
    "core", "settings", "engine", "stats", "prompts", "embed", "sae", "study", "features", "validate", "steer", "judge",
    "report", "pipeline", "explore", "hub", "cli",
)  # fmt: skip
"""In order: a room knows those before it."""
FILES = sorted(ROOT.rglob("*.py"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def arrows(path: Path, *, types: bool = True) -> set[str]:
    """The modules of the project that a file imports, also inside functions; ``types``: for type checkers too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("moodlens")}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moodlens"):
            assert node.module is not None
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_knows_only_the_rooms_before_it(path):
    own = room(module(path))
    if own not in ROOMS:  # the package's face
        return
    for other in arrows(path):
        if room(other) in ROOMS:
            assert ROOMS.index(room(other)) <= ROOMS.index(own), f"{path} imports {other}"


def test_every_folder_is_a_room():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ROOMS)


def test_no_file_knows_itself_through_others():
    graph = {name: arrows(path, types=False) & MODULES.keys() - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_settings_import_nothing_but_pydantic():
    allowed = {"pydantic", "pydantic_core", "yaml", "moodlens"}
    import sys

    for path in (ROOT / "settings").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{path}: {name}"
                if top == "moodlens":
                    assert name.startswith(("moodlens.core", "moodlens.settings")), f"{path}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            compiled = path.name.startswith("kernels_")
            command = any("command" in ast.dump(one) for one in node.decorator_list)
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            n = sum(argument.arg not in ("self", "cls") for argument in arguments)
            assert compiled or command or n <= 9, f"{node.name} of {path} takes {n} arguments"


def signatures(
    node: ast.AST, inside: bool = False
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """The functions in a tree, and of each whether it stands in another."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, inside
        yield from signatures(child, inside or function)


def test_no_dictionary_of_anything_crosses_a_room():
    """What is left is what hooks of torch are given, and is private."""
    loose, public = [], []
    for path in FILES:
        for function, inside in signatures(ast.parse(path.read_text(encoding="utf-8"))):
            a = function.args
            given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            types = [function.returns, *(argument.annotation for argument in given)]
            if any(
                re.search(r"(dict|Mapping)\[str, Any\]", ast.unparse(of)) for of in types if of is not None
            ):
                loose.append(f"{path.relative_to(ROOT)}: {function.name}")
                if not inside and not function.name.startswith("_"):
                    public.append(loose[-1])
    assert not public
    assert len(loose) < 20, loose


def test_locals_say_what_they_hold():
    """A reader of one line should not have to look for another to know what a name stands for."""
    empty = {"found", "one", "mine", "said", "crew"}
    for path in FILES:
        for function, _ in signatures(ast.parse(path.read_text(encoding="utf-8"))):
            for node in ast.walk(function):
                named = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in empty
                assert not named, f"{path.relative_to(ROOT)}: {function.name} names something {node.id}"  # type: ignore[attr-defined]

"""What loads what: counted in modules, since a busy machine has no seconds to count."""

import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "polars",
    "transformers",
    "matplotlib",
    "numba",
    "safetensors",
    "rich",
    "sqlite3",
    "http",
]


@pytest.mark.parametrize(
    ("statement", "also", "most"),
    [
        ("import moodlens", ("pydantic", "typer", "yaml"), 60),
        ("import moodlens.cli", ("pydantic", "typer", "yaml"), 60),
        ("from moodlens.settings.study import Settings", ("typer",), 350),
        ("from moodlens.cli.program import call; call(['--help'])", (), 450),
        ("from moodlens.cli.program import call; call(['features', '--help'])", (), 450),
    ],
)
def test_loads_nothing_heavy(statement, also, most):
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*sorted(set(sys.modules) - before), sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stderr.split("\n")
    assert "moodlens" in modules
    assert {name.partition(".")[0] for name in modules}.isdisjoint({*HEAVY, *also})
    assert len(modules) < most

"""The command line in this process."""

import pytest

from moodlens.cli.program import call


@pytest.fixture
def cli(capfd):
    """Run the command line in this process -> exit status, stdout, stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        status = call([str(one) for one in arguments])
        return (status, *capfd.readouterr())

    return run

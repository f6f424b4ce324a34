"""The command line: parse, call one function, print."""

from moodlens.cli.main import main as main

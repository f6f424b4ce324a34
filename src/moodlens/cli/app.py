"""All verbs: importing this module gives the app every one of them. Each parses, calls one function and prints."""

from moodlens.cli import (
    exploring,
    importing,
    listening,
    manifest,
    music,
    ranking,
    reading,
    schema,
    sharing,
    stages,
    texts,
    together,
)
from moodlens.cli.options import app as app

VERBS = (
    stages,
    importing,
    texts,
    reading,
    exploring,
    music,
    ranking,
    listening,
    manifest,
    schema,
    sharing,
    together,
)

"""A tiny MusicGen, its directions and its study, and the verbs on it."""

from helpers.music_fixtures import *  # noqa: F403
from helpers.music_verbs import *  # noqa: F403

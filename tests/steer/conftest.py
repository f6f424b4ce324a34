"""A tiny MusicGen, its directions and its study."""

from helpers.music_fixtures import *  # noqa: F403

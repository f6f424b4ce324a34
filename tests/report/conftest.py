"""A whole small study, made once, and its report."""

from pathlib import Path

import pytest

from helpers.report_study import copy_study, make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """A whole study of four emotions; tests must not write into it."""
    return make_study(tmp_path_factory.mktemp("study") / "full")


@pytest.fixture(scope="session")
def rendered(study, tmp_path_factory) -> Path:
    """The whole study with its report; tests must not write into it."""
    from moodlens.report import render
    from moodlens.study.study import Study

    folder = copy_study(study, tmp_path_factory.mktemp("rendered") / "full")
    render(Study(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def coarse_pictures():
    """Pictures of a third of the size: what is drawn is the same, and it takes a third of the time."""
    from moodlens.report import style

    before, style.DPI = style.DPI, 70
    yield
    style.DPI = before

"""Figures of a study, readable in print."""

from moodlens.report.figures.build import FIGURES as FIGURES
from moodlens.report.figures.build import build as build
from moodlens.report.figures.build import save_all as save_all

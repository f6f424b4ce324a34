"""What to run, and running it: settings, the study folder, stages in order with resume."""

from moodlens.study.folder import StudyFolder as StudyFolder
from moodlens.study.run import run as run
from moodlens.study.run import stage_states as stage_states
from moodlens.study.settings import Study as Study
from moodlens.study.settings import expand_path as expand_path
from moodlens.study.settings import read_study as read_study

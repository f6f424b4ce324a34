from .opened import OpenStudy as OpenStudy
from .run import run as run
from .run import stage_states as stage_states

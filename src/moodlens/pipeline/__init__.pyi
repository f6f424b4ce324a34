from .opened import OpenStudy as OpenStudy
from .opened import stage_states as stage_states

from .explored import Explored as Explored
from .export import write_page as write_page
from .generate import make_again as make_again

from .families import Families as Families
from .families import Family as Family
from .study import Study as Study

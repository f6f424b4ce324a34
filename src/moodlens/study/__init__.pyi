from .families import Families as Families
from .families import Family as Family
from .families import families as families
from .study import Study as Study

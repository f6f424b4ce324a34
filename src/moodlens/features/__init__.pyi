from .families import gather_families as gather_families
from .select import Selected as Selected
from .select import choose_features as choose_features
from .select import select_features as select_features

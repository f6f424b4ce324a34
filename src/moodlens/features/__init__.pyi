from .select import Selection as Selection
from .select import choose_features as choose_features
from .select import select_features as select_features

from .balance import factor_information as factor_information
from .grammar import COLUMNS as COLUMNS
from .grammar import FACTORS as FACTORS
from .grammar import generate as generate
from .splits import assign_splits as assign_splits
from .tables import read_prompts as read_prompts
from .vocabulary import EMOTIONS as EMOTIONS

from .grammar import COLUMNS as COLUMNS
from .grammar import FACTORS as FACTORS
from .grammar import generate as generate
from .report import TableReport as TableReport
from .splits import assign_splits as assign_splits
from .tables import read_prompts as read_prompts
from .tables import read_tables as read_tables
from .vocabulary import EMOTIONS as EMOTIONS

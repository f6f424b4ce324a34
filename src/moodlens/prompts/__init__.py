"""Texts with an emotion: the grammar that writes them, users' tables, groups and splits."""

from moodlens.prompts.balance import factor_information as factor_information
from moodlens.prompts.grammar import COLUMNS as COLUMNS
from moodlens.prompts.grammar import FACTORS as FACTORS
from moodlens.prompts.grammar import generate as generate
from moodlens.prompts.splits import assign_splits as assign_splits
from moodlens.prompts.tables import read_prompts as read_prompts
from moodlens.prompts.vocabulary import EMOTIONS as EMOTIONS

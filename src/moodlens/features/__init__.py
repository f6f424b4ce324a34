"""Finding emotion features and knowing that they are real."""

from moodlens.features.families import Families as Families
from moodlens.features.families import Family as Family
from moodlens.features.families import families as families
from moodlens.features.fdr import benjamini_hochberg as benjamini_hochberg
from moodlens.features.permute import group_permutation_p as group_permutation_p
from moodlens.features.rates import auroc as auroc
from moodlens.features.rates import firing_rates as firing_rates
from moodlens.features.rates import selectivity as selectivity
from moodlens.features.select import Selection as Selection
from moodlens.features.select import choose_features as choose_features
from moodlens.features.select import select_features as select_features
from moodlens.features.settings import FeatureSettings as FeatureSettings

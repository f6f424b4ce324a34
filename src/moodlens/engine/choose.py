"""From the settings to who does the work."""

from moodlens.engine.executors import Executor, Here, Pool, Share, ShareOf
from moodlens.settings.engine import EngineSettings


def executor_of(settings: EngineSettings) -> Executor:
    """The executor that the settings ask for.

    Raises:
        BadInput: it needs a package that is not installed.
    """
    if isinstance(settings, Share):
        return ShareOf(settings)
    if settings.kind == "ray":
        from moodlens.engine.cluster import Cluster

        return Cluster(settings)
    return Pool(settings) if settings.kind == "pool" else Here()

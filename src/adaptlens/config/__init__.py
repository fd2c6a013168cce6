"""The settings of a study: from YAML, Python or the command line to one frozen dataclass.

The only place that knows pydantic. Everything is strict: an unknown key, a value of another type
or a setting given twice is an error that names file, line and path.
"""

from adaptlens.config.load import compare_config, load_config, load_study
from adaptlens.config.settings import CompareConfig, Prices, TaskSource, Tune

__all__ = [
    "CompareConfig",
    "Prices",
    "TaskSource",
    "Tune",
    "compare_config",
    "load_config",
    "load_study",
]

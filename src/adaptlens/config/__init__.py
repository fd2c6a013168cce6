"""The settings of a study: from YAML, Python or the command line to one frozen dataclass.

The only place that knows pydantic. Everything is strict: an unknown key, a value of another type
or a setting given twice is an error that names file, line and path.
"""

from adaptlens.config.comparison import COMPARISON, CompareConfig, Prices, compare_config
from adaptlens.config.convergence import CONVERGENCE, Claim, ConvergenceConfig, convergence_config
from adaptlens.config.files import load_study
from adaptlens.config.implicit import IMPLICIT, ImplicitConfig, implicit_config
from adaptlens.config.limits import LIMITS, LimitsConfig, limits_config
from adaptlens.config.load import (
    load_config,
    reanalysed,
)
from adaptlens.config.schema import Schema
from adaptlens.config.settings import TaskSource, Tune

__all__ = [
    "COMPARISON",
    "CONVERGENCE",
    "IMPLICIT",
    "LIMITS",
    "Claim",
    "CompareConfig",
    "ConvergenceConfig",
    "ImplicitConfig",
    "LimitsConfig",
    "Prices",
    "Schema",
    "TaskSource",
    "Tune",
    "compare_config",
    "convergence_config",
    "implicit_config",
    "limits_config",
    "load_config",
    "load_study",
    "reanalysed",
]

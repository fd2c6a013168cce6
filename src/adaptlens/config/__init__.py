"""Settings from YAML, Python or the command line to one frozen dataclass.

The only room that knows pydantic, beside the settings of each study. Everything is strict: an
unknown key, a value of another type or a setting given twice is an error that names file, line and
path.
"""

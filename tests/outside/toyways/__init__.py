"""An adaptation, a measurement, a task and a study that adaptlens has not: one file each."""

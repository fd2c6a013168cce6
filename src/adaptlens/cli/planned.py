"""A plan as a person sees it in a terminal: what would be done, and what that would take."""

from typing import Any

from rich.table import Table

PLAN_HEADINGS = {
    "model": "model",
    "task": "task",
    "condition": "condition",
    "measured": "measured",
    "draws": "draws",
    "draws_done": "done",
    "variants_to_tune": "models to tune",
    "prompts": "prompts",
    "prompt_characters": "characters a prompt",
    "state_bytes": "states",
    "seconds": "time",
    "memory_bytes": "memory",
    "disk_bytes": "disk",
}


def plan_table(rows: list[dict[str, Any]]) -> Table:
    """Return what would be done, a line per condition; the caption sums it up."""
    if not rows:
        return Table(title="plan: nothing to do", title_justify="left", title_style="bold")
    names = [name for name in PLAN_HEADINGS if name in rows[0]]
    sums = []
    if "state_bytes" in names:
        total = sum(row["state_bytes"] for row in rows)
        sums.append(f"states to store: {size_text(total)} in all")
    if "seconds" in names:
        left = sum(row["seconds"] * (1 - row["draws_done"] / row["draws"]) for row in rows)
        memory = max(row["memory_bytes"] for row in rows)
        disk = sum(row["disk_bytes"] for row in rows)
        sums.append(
            f"about {time_text(left)} to go on one device, {size_text(memory)} of memory, "
            f"{size_text(disk)} on disk; tables and page not counted"
        )
    table = Table(
        title="plan",
        title_justify="left",
        title_style="bold",
        caption="\n".join(sums) or None,
        caption_justify="left",
    )
    for name in names:
        words = isinstance(rows[0][name], str)
        table.add_column(PLAN_HEADINGS[name], justify="left" if words else "right")
    for row in rows:
        table.add_row(*(_planned(name, row[name]) for name in names))
    return table


def _planned(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return size_text(value)
    if name == "seconds":
        return time_text(value)
    return value if isinstance(value, str) else f"{value:,.0f}"


def time_text(seconds: float) -> str:
    """Return "3.1 min": seconds in the largest unit of which there is at least one."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def size_text(number_of_bytes: float) -> str:
    """Return "3.1 MB": bytes in the largest decimal unit of which there is at least one."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number_of_bytes >= size:
            return f"{number_of_bytes / size:.1f} {unit}"
    return f"{number_of_bytes:.0f} B"

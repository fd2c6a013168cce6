"""Decode one Parquet file under limits of memory and time, as a script in a process of its own.

A few bytes of Parquet may stand for gigabytes, and a damaged file may end the process that decodes
it. Reads the path given and writes the table to standard output as an Arrow IPC stream; asked to
measure, it writes nothing. What is wrong is said on standard error, in one line.
"""

import json
import sys
from typing import Any

ROWS_AT_ONCE = 256
BASE_BYTES = 1 << 30
"""Address space that the interpreter and Arrow need by themselves, generously."""
BASE_SECONDS, BYTES_A_SECOND = 60, 5_000_000


def main() -> None:
    """Read the request from the command line, and answer it."""
    request = json.loads(sys.argv[1])
    sys.path[:] = request["sys_path"]
    _limit(request["max_bytes"])
    import pyarrow

    try:
        _decode(request)
    except (pyarrow.ArrowException, ArithmeticError, LookupError, OSError, RuntimeError, TypeError,
            ValueError, MemoryError) as error:  # fmt: skip
        lines = str(error).splitlines()
        _fail("memory" if isinstance(error, MemoryError) else "damaged", lines[0] if lines else "")


def _limit(max_bytes: int) -> None:
    """Bound address space, processor time and written files of this process, where one can."""
    try:
        import resource
    except ImportError:
        return
    bounds = {
        resource.RLIMIT_AS: BASE_BYTES + 2 * max_bytes,
        resource.RLIMIT_CPU: BASE_SECONDS + max_bytes // BYTES_A_SECOND,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, bound in bounds.items():
        try:
            resource.setrlimit(what, (bound, bound))
        except (ValueError, OSError):
            continue


def _decode(request: dict) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    pyarrow.set_cpu_count(1)
    file = pyarrow.parquet.ParquetFile(request["path"], pre_buffer=False)
    about = file.metadata
    stated = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    _check(request, about.num_rows, stated)
    columns = file.schema_arrow.names
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        _fail("twice", twice)
    schema = pyarrow.schema([(field.name, _written_out(field.type)) for field in file.schema_arrow])
    out = None
    if not request["measure"]:
        out = pyarrow.ipc.new_stream(sys.stdout.buffer, schema)
    rows = size = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False):
        batch = pyarrow.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
            schema=schema,
        )
        rows += batch.num_rows
        size += batch.nbytes
        _check(request, rows, size)
        batch.validate(full=True)
        if out is not None:
            out.write_batch(batch)
    if out is not None:
        out.close()
        sys.stdout.buffer.flush()


def _written_out(kind: Any) -> Any:
    """Return the type in which every row has its own bytes, instead of sharing them."""
    import pyarrow

    if pyarrow.types.is_dictionary(kind):
        return _written_out(kind.value_type)
    if str(kind) in ("string_view", "binary_view"):
        return pyarrow.large_string() if str(kind) == "string_view" else pyarrow.large_binary()
    if _shares(kind):
        raise TypeError(f"a column of the type {kind}")
    return kind


_SHARING = ("dictionary<", "string_view", "binary_view", "list_view", "large_list_view", "run_end")


def _shares(kind: Any) -> bool:
    """Return whether rows of a type, or of a part of it, may share their bytes."""
    inside = any(_shares(kind.field(i).type) for i in range(kind.num_fields))
    return inside or str(kind).startswith(_SHARING)


def _check(request: dict, rows: int, size: int) -> None:
    if rows > request["max_rows"] or size > request["max_bytes"]:
        _fail("size", f"{rows:,} rows and {size:,} bytes or more")


def _fail(kind: str, said: str) -> None:
    sys.stderr.write("\n" + json.dumps({"kind": kind, "said": said[:500]}))
    sys.stderr.flush()
    sys.exit(3)


if __name__ == "__main__":
    main()

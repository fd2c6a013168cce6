"""A Ray cluster: one actor per device, each a worker over a run folder that all nodes share."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.cells import Study
from adaptlens.engines import LoadModel, Outcome, Reporter, Silent
from adaptlens.engines.watch import Watch
from adaptlens.engines.worker import LOADING_FILE, work
from adaptlens.errors import RunIncomplete, UserError
from adaptlens.store import Run
from adaptlens.store.addresses import host_only

MOST_DEATHS = 3
"""So many actors may die one after the other without a cell getting done in between."""

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class OnRay:
    """Starts one actor per device, and another for each that dies, until nothing is left.

    Actors share nothing but the run folder: each leases a base there, holds it, and claims its
    cells. What a lost node was at is taken over once its claim is void (`store.owners`).

    Attributes:
        workers: actors; None for one per GPU (or share of one), or per node where there is none.
        address: of the cluster; None for this machine, or what RAY_ADDRESS says.
        gpus: the share of a GPU that each actor gets.
    """

    workers: int | None = None
    address: str | None = None
    gpus: float = 1.0

    def run(self, study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
        """Finish every cell of the study; `load` is not used, the actors read the run's plan.

        Raises:
            UserError: Ray is not installed or its cluster not there, a node does not see the run
                folder, or a cell fails for a reason the user can fix.
            RunIncomplete: actors die again and again.
        """
        watch = Watch(study, run, reporter)
        if not watch.left():
            return watch.outcome()
        ray = _ray()
        begun = not ray.is_initialized()
        if begun:
            _connect(ray, self.address)
        try:
            self._drain(ray, run, watch, reporter)
        finally:
            if begun:
                ray.shutdown()
        return watch.outcome()

    def _drain(self, ray: Any, run: Run, watch: Watch, reporter: Reporter) -> None:
        device = run.need_json(LOADING_FILE)["device"]
        count, options = self._shape(ray.nodes(), device)
        actor = ray.remote(Worker).options(**options)
        folder = str(run.folder.resolve())
        device = "cuda" if options.get("num_gpus") and device != "map" else device

        def start() -> Any:
            made = actor.remote()
            return made.work.remote(folder, device), made

        working = dict(start() for _ in range(count))
        deaths, finished = 0, 0
        try:
            while working:
                ended, _ = ray.wait(list(working), timeout=watch.pause_seconds)
                left = watch.look()
                if watch.finished > finished:
                    deaths, finished = 0, watch.finished
                for one in ended:
                    ray.kill(working.pop(one))
                    try:
                        problem = ray.get(one)
                    except ray.exceptions.RayError as error:
                        deaths += 1
                        if deaths >= MOST_DEATHS * count:
                            raise RunIncomplete(
                                f"{deaths} workers died one after the other (the last: "
                                f"{str(error).strip().splitlines()[-1]}); run the same command "
                                "again once the cluster is well, what is finished is kept."
                            ) from error
                        if left:
                            future, made = start()
                            working[future] = made
                        continue
                    if problem:
                        raise UserError(problem)
                if not left:
                    break
        finally:
            for made in working.values():
                ray.kill(made)

    def _shape(self, nodes: list[dict[str, Any]], device: str) -> tuple[int, dict[str, Any]]:
        """Return how many actors to start, and what each needs of the cluster."""
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = sum(node.get("GPU", 0) for node in alive)
        if device != "cpu" and gpus:
            count = self.workers or max(1, int(gpus / self.gpus))
            return count, {"num_gpus": self.gpus, "num_cpus": 1}
        cores = [int(node["CPU"]) for node in alive if node.get("CPU", 0) >= 1]
        if not cores:
            raise UserError(
                "the Ray cluster has neither GPUs nor CPUs to give; start its nodes with "
                "--num-cpus, or name another cluster (--address)."
            )
        count = self.workers or len(cores)
        each = -(-count // len(cores))
        threads = max(1, min(cores) // each)
        return count, {"num_cpus": threads, "scheduling_strategy": "SPREAD"}


class Worker:
    """What an actor is: a worker on one device."""

    def work(self, folder: str, device: str) -> str:
        """Drain the run; return what the user has to mend, or nothing."""
        node = os.uname().nodename
        if not Path(folder, "run.json").exists():
            return (
                f"node {node} does not see the run folder '{folder}'; put it on a disk that all "
                "nodes share (--out)."
            )
        try:
            work(folder, Silent(), device=device)
        except UserError as error:
            return f"on node {node}: {error}"
        return ""


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(
            "the engine 'ray' was asked for, but Ray is not installed; run pip install "
            "'adaptlens[ray]', or use --workers on one machine."
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster that was asked for, here or by RAY_ADDRESS; else start one for this machine.

    Raises:
        UserError: nobody answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address in (None, "local"):
        _listen_here_only(ray)
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        return
    try:
        host, colon, port = address.removeprefix("ray://").rpartition("@")[2].rpartition(":")
        if colon:
            # Ray itself goes on asking an address where nobody answers for many minutes.
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError) as error:
        shown = host_only(address)
        reason = str(error).strip().splitlines()[0].replace(address, shown)
        raise UserError(
            f"no Ray cluster at '{shown}' ({reason}); start one with `ray start --head` and give "
            "the address it prints, or leave out --address."
        ) from error


def _listen_here_only(ray: Any) -> None:
    """Have a cluster that is started here listen on 127.0.0.1, where it would on all interfaces.

    Ray resolves the address "127.0.0.1" into one that other machines reach, unless clusters of
    several machines are switched off; the switch is named after the systems where that is usual.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Read by Ray when it is imported, and again by the processes it starts.
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False

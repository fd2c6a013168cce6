"""A Ray cluster of several nodes on this machine leaves the same files, also when one is killed."""

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from adaptlens.engines import Silent
from adaptlens.engines.on_ray import OnRay, Worker
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from tests.engines.test_engines import (
    alone,
    arrays,
    claims,
    folder,
    made,
    settings,
    studied,
    tables,
)

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'adaptlens[ray]')")
cluster_utils = pytest.importorskip("ray.cluster_utils")

__all__ = ["alone", "folder"]

STORE = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A head that takes no work, and two nodes that take one worker each."""
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE}
    )
    nodes = [made.add_node(num_cpus=1, **STORE) for _ in range(2)]
    yield made, nodes
    made.shutdown()


def test_a_cluster_leaves_the_same_bytes_as_one_process(folder, alone, cluster):
    engine = {"name": "ray", "address": cluster[0].address}
    outcome, run = studied(settings(folder, engine=engine), folder / "on_ray")
    assert (outcome.finished, outcome.failed) == (12, ())
    assert tables(run) == tables(alone)
    assert arrays(run) == arrays(alone)
    assert set(claims(run).values()) == {1}


def test_a_study_survives_the_death_of_a_node(folder, alone, cluster):
    made, nodes = cluster
    run, found = folder / "node_killed", []
    config = settings(folder, engine={"name": "ray", "address": made.address})
    study = threading.Thread(target=lambda: found.append(studied(config, run)))
    study.start()
    victim = None
    while victim is None:
        time.sleep(0.01)
        victim = owner(run, [node for node in nodes if not is_ours(node)])
    made.remove_node(victim, allow_graceful=False)
    study.join()
    outcome, _ = found[0]
    assert outcome.failed == ()
    assert tables(run) == tables(alone)
    assert arrays(run) == arrays(alone)
    # The cell in flight was begun again; nothing that was finished was.
    assert sum(times > 1 for times in claims(run).values()) <= 1


def is_ours(node) -> bool:
    """Whether this process is in the cluster by way of the node, which must then stay."""
    connected = ray._private.worker._global_node
    return connected is not None and connected._raylet_socket_name == node._raylet_socket_name


def test_a_node_that_does_not_see_the_run_folder_says_so(tmp_path):
    said = Worker().work(str(tmp_path / "elsewhere"), "cpu")
    assert "does not see the run folder" in said
    assert "a disk that all nodes share" in said


def test_no_cluster_at_an_address_is_one_line(folder):
    study, run = made(folder, "nowhere")
    with pytest.raises(UserError, match=r"no Ray cluster at '127.0.0.1:1'.*ray start --head"):
        OnRay(address="127.0.0.1:1").run(study, run, load, Silent())


def test_no_name_and_password_of_an_address_is_shown(folder):
    study, run = made(folder, "password")
    with pytest.raises(UserError, match=r"no Ray cluster at 'ray://\*\*\*@127.0.0.1:1'") as caught:
        OnRay(address="ray://ada:s3cret@127.0.0.1:1").run(study, run, load, Silent())
    assert "s3cret" not in str(caught.value)


LISTENING = """
import psutil
from adaptlens.engines import on_ray
ray = on_ray._ray()
on_ray._connect(ray, None)
ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
found = [c.laddr.ip for one in ours for c in one.net_connections("inet") if c.status == "LISTEN"]
print("listening", *sorted(set(found)))
ray.shutdown()
"""


def test_a_cluster_nobody_asked_for_listens_on_this_machine_alone():
    asked = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, check=True, env=asked
    )
    said = next(line for line in done.stdout.splitlines() if line.startswith("listening"))
    found = said.split()[1:]
    assert found and set(found) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_actors_get_gpus_or_shares_of_them_or_the_cores_of_a_node():
    def node(**resources):
        return {"Alive": True, "Resources": resources}

    gpus = [node(CPU=16.0, GPU=2.0), node(CPU=16.0, GPU=2.0)]
    assert OnRay()._shape(gpus, "auto") == (4, {"num_gpus": 1.0, "num_cpus": 1})
    assert OnRay(gpus=0.5)._shape(gpus, "cuda")[0] == 8
    assert OnRay(workers=3)._shape(gpus, "auto")[0] == 3
    count, needs = OnRay()._shape(gpus, "cpu")
    assert (count, needs["num_cpus"]) == (2, 16)
    count, needs = OnRay(workers=4)._shape([node(CPU=8.0), node(CPU=16.0)], "auto")
    assert (count, needs["num_cpus"]) == (4, 4)
    with pytest.raises(UserError, match="neither GPUs nor CPUs"):
        OnRay()._shape([node(memory=1.0)], "auto")


def owner(run, nodes):
    """Return the node whose worker holds a cell; nothing where none does."""
    raylets = {info.process.pid: node for node in nodes for info in node.all_processes["raylet"]}
    for claim in run.glob("cells/*/claim"):
        try:
            process = psutil.Process(json.loads(claim.read_text())["pid"])
            for parent in process.parents():
                if parent.pid in raylets:
                    return raylets[parent.pid]
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            continue
    return None

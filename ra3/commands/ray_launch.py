"""The ranks of a command as actors of a running Ray cluster: one for each GPU, or CPU where there are none.

An actor holds a rank's place in the cluster and runs the rank, a process with the same command line, in the folder of
the driver, which all hosts must see.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayActorError  # pyright: ignore[reportMissingImports]
from ray.util.placement_group import placement_group, remove_placement_group  # pyright: ignore[reportMissingImports]
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # pyright: ignore[reportMissingImports]

from ra3 import ranks
from ra3.errors import UserError

PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "HF_", "RA3_", "GLOO_", "NCCL_", "OMP_", "CUDA_HOME")
"""Beginnings of the variables of the driver's environment that its ranks have, too."""
PLACES_S, POLL_S = 60.0, 0.5
"""How long the cluster may take to find a place for all ranks, and how often they are looked after."""


class RankActor:
    """Runs a rank in its place in the cluster."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def where(self) -> tuple[str, str, int]:
        """(node, its address, a free port)."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, words: Sequence[str], environment: Mapping[str, str], folder: str, speaks: bool) -> int:
        """Runs the rank to its end; its exit code."""
        out, command = None if speaks else subprocess.DEVNULL, [sys.executable, "-m", "ra3", *words]
        place = {"env": os.environ | environment, "cwd": folder}
        self._process = subprocess.Popen(command, stdout=out, stderr=out, **place)
        return self._process.wait()

    def signal(self, signum: int) -> None:
        """Sends the rank a signal."""
        if self._process:
            self._process.send_signal(signum)


class RayGroup:
    """The ranks of one attempt, as `ra3.commands.launch.Group`."""

    def __init__(self, count: int, words: Sequence[str]):
        self.stopped_by = 0
        if not ray.is_initialized():
            try:
                ray.init(address="auto", log_to_driver=True, logging_level=logging.ERROR)
            except ConnectionError as error:
                fix = "start one: `ray start --head` here, `ray start --address HOST:6379` on other hosts"
                raise UserError("no Ray cluster is running", "--launch ray", fix=fix) from error
        gpus = int(ray.cluster_resources().get("GPU", 0))
        needs = {"CPU": 1.0} | ({"GPU": 1.0} if gpus else {})
        self._places = placement_group([needs] * count, strategy="PACK")
        if not self._places.wait(PLACES_S):
            remove_placement_group(self._places)
            what = f"the Ray cluster has no place for {count} ranks of {needs}: {ray.cluster_resources()}"
            raise UserError(what, "--ranks", fix="start fewer, or add hosts to the cluster")
        self._actors = [self._actor(index) for index in range(count)]
        self._results = self._start(words)

    def _actor(self, index: int) -> Any:
        strategy = PlacementGroupSchedulingStrategy(self._places, placement_group_bundle_index=index)
        own = {"num_cpus": 1, "num_gpus": self._places.bundle_specs[index].get("GPU", 0), "max_concurrency": 2}
        return ray.remote(RankActor).options(scheduling_strategy=strategy, **own).remote()

    def _start(self, words: Sequence[str]) -> list[Any]:
        where = ray.get([actor.where.remote() for actor in self._actors])
        beside, local = Counter(node for node, *_ in where), defaultdict[str, int](int)
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        results = []
        for rank, (actor, (node, *_)) in enumerate(zip(self._actors, where, strict=True)):
            environment = passed | ranks.variables(rank, len(where), local[node], beside[node])
            environment |= {"MASTER_ADDR": where[0][1], "MASTER_PORT": str(where[0][2])}
            local[node] += 1
            results.append(actor.run.remote(list(words), environment, str(Path.cwd()), rank == 0))
        return results

    def wait(self) -> tuple[int, int]:
        """(rank, exit code) of the first that failed, or of rank 0. A signal that comes meanwhile goes to all."""
        left = list(self._results)
        while left:
            try:
                done, left = ray.wait(left, timeout=POLL_S)
                for result in done:
                    if code := self._code(result):
                        return self._results.index(result), code
            except KeyboardInterrupt as stop:
                self.stopped_by = getattr(stop, "signum", signal.SIGINT)
                for actor in self._actors:
                    actor.signal.remote(self.stopped_by)
        return 0, 0

    @staticmethod
    def _code(result: Any) -> int:
        try:
            return ray.get(result)
        except RayActorError:
            return -signal.SIGKILL

    def __enter__(self) -> RayGroup:
        return self

    def __exit__(self, *exception: object) -> None:
        for actor in self._actors:
            ray.kill(actor)
        remove_placement_group(self._places)

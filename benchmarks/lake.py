"""Object stores and Kafka on this machine: `python -m benchmarks.lake [kafka] [folder] [s3] [imports]`.

Kafka is librdkafka's mock cluster in a process of its own, S3 is moto's server. `imports` says what loading a type
costs in a fresh process: CPU time and private memory on top of a type without a library. Needs the extra `peers`.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.warehouse import measure
from sluicegate.testing.destination_contract import make_destination

SIZES = {1: 200, 500: 20, 5_000: 10}
N_PROCESSES = 7
CLUSTER = """
import sys
from tests.doubles.kafka_cluster import KafkaCluster
cluster = KafkaCluster()
cluster.create("events")
print(cluster.brokers, flush=True)
sys.stdin.read()
"""
IMPORT = """
import sys, time
from pathlib import Path
import sluicegate.testing.destination_contract
from sluicegate.destinations.registry import load_type
load_type("file")
def private_kib():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Private"))
before, cpu = private_kib(), time.process_time()
{code}
print((time.process_time() - cpu) * 1e3, (private_kib() - before) / 1024)
"""
IMPORTS = {
    "kafka": "import sluicegate.destinations.kafka",
    "objectstore": "import sluicegate.destinations.objectstore",
    "objectstore, parquet": "import sluicegate.destinations.objectstore, pyarrow, pyarrow.parquet",
}


@contextmanager
def kafka_brokers() -> Iterator[str]:
    """A cluster with the topic `events` in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def kafka(folder: Path) -> None:
    from sluicegate.destinations.kafka import Kafka

    with kafka_brokers() as brokers:
        measure("kafka", lambda: make_destination(Kafka, folder, brokers=brokers, topic="events"), SIZES)


def objects(name: str, folder: Path, **settings: Any) -> None:
    from sluicegate.destinations.objectstore import ObjectStore

    sizes = SIZES | {20_000: 3}
    for given in ({}, {"compression": "zstd"}, {"format": "parquet"}):
        label = f"{name} {given.get('format', 'jsonl')} {given.get('compression', '')}"
        measure(label, partial(make_destination, ObjectStore, folder, **settings, **given), sizes)  # type: ignore[arg-type]


def s3(folder: Path) -> None:
    from tests.doubles.s3_server import KEYS, S3Server

    server = S3Server()
    try:
        server.make_bucket("events")
        objects("s3", folder, url="s3://events", endpoint=server.url, **KEYS)
    finally:
        server.close()


def import_cost(code: str, *, environ: Mapping[str, str]) -> tuple[float, float]:
    """CPU milliseconds and private MiB that these imports cost in a fresh process: medians."""
    command = [sys.executable, "-c", IMPORT.replace("{code}", code)]
    runs = [
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, **environ})
        for _ in range(N_PROCESSES)
    ]
    costs = [tuple(map(float, re.findall(rb"[\d.]+", run.stdout))) for run in runs]
    cpu_ms, mib = (statistics.median(column) for column in zip(*costs, strict=True))
    return cpu_ms, mib


def imports() -> None:
    for name, code in IMPORTS.items():
        cpu_ms, mib = import_cost(code, environ={})
        print(f"import of {name:22} {cpu_ms:6.0f} ms CPU {mib:6.1f} MiB private")


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if "imports" in names:
            imports()
        if "kafka" in names:
            kafka(folder)
        if "folder" in names:
            objects("folder", folder, url=f"file://{folder}/lake")
        if "s3" in names:
            s3(folder)


if __name__ == "__main__":
    main(sys.argv[1:] or ["imports", "kafka", "folder", "s3"])

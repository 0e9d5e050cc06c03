"""Throughput of `blemish serve` with two workers beside that of a folder, in one run.

python benchmarks/serve.py [DATA] [--rounds 5] [--images 200]

DATA is a data set with good images; without it a product is drawn. Each round measures the folder
(`Model.inspect_files`) and the server (clients in processes of their own, connections kept), in turn. The ratio of the
medians is printed and written to `results/serve.json`. The clients take time from the same cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import RESULTS, origin, write_record

import blemish
from blemish.datasets.listing import list_images
from blemish.testing.tiny import make_tiny_product, write_tiny_product

WANTED = 0.9
NUM_CLIENTS = 4


def folder_rate(model: blemish.Model, paths: list[Path]) -> float:
    start = time.perf_counter()
    for _ in model.inspect_files(paths):
        pass
    return len(paths) / (time.perf_counter() - start)


def send(task: tuple[int, list[Path]]) -> int:
    """One client: its images one after the other over one connection."""
    port, paths = task
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for path in paths:
        connection.request("POST", "/inspect", body=path.read_bytes())
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(body.decode())
    return len(paths)


def server_rate(pool: multiprocessing.pool.Pool, port: int, paths: list[Path]) -> float:
    start = time.perf_counter()
    pool.map(send, [(port, paths[number::NUM_CLIENTS]) for number in range(NUM_CLIENTS)], chunksize=1)
    return len(paths) / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or write_tiny_product(
            Path(scratch) / "part", make_tiny_product(60, 20, 20, hw=(512, 512))
        )
        bundle = blemish.train(data, size=256).save(Path(scratch) / "part.blemish")
        found = list(list_images([Path(data)]).images)
        paths = (found * (arguments.images // len(found) + 1))[: arguments.images]
        links = [Path(scratch) / "in" / f"{number:05}{path.suffix}" for number, path in enumerate(paths)]
        links[0].parent.mkdir()
        for link, path in zip(links, paths, strict=True):
            link.write_bytes(path.read_bytes())
        command = [
            sys.executable,
            "-m",
            "blemish.cli.main",
            "serve",
            str(bundle),
            "--port",
            "0",
            "--workers",
            "2",
            "--json",
        ]
        model = blemish.load(bundle)
        with multiprocessing.Pool(NUM_CLIENTS) as pool, subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                port = int(json.loads(server.stdout.readline())["address"].rpartition(":")[2])
                time.sleep(5)  # both workers load the graph
                folder_rate(model, links)
                server_rate(pool, port, links)
                rounds = [
                    {"folder": folder_rate(model, links), "server": server_rate(pool, port, links)}
                    for _ in range(arguments.rounds)
                ]
            finally:
                server.terminate()
    folder, served = (statistics.median(each[name] for each in rounds) for name in ("folder", "server"))
    record = {
        **origin("blemish", "fastapi", "uvicorn", "onnxruntime"),
        "images": arguments.images,
        "rounds": rounds,
        "folder_images_per_second": folder,
        "server_images_per_second": served,
        "ratio": served / folder,
        "wanted_ratio": WANTED,
    }
    write_record(RESULTS / "serve.json", record)
    print(f"folder {folder:.1f}, server {served:.1f} images a second: {served / folder:.0%} (wanted {WANTED:.0%})")
    return 0 if served >= WANTED * folder else 1


if __name__ == "__main__":
    sys.exit(main())

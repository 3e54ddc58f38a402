"""seatrial on Ray Serve in the shared harness: one replica, Ray started as its Ray contender is."""

from __future__ import annotations

import logging
import os
import signal
import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from seatrial_ray import app

if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100 * 2**20,
        logging_level=logging.WARNING,
        log_to_driver=False,
        _temp_dir=os.environ["SCRATCH"],
    )
    serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(
            host="127.0.0.1", port=int(os.environ.get("PROXY_PORT", os.environ["PORT"]))
        ),
    )
    serve.run(app({"bundles": sys.argv[1], "log_level": "warning"}), name="bench")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()

# SPDX-License-Identifier: Apache-2.0
"""The endpoints answer what is registered, to anybody, and nothing else."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from homeserver.metrics.exposition import Exposition
from storage.runtime.metrics import Metrics, counter, gauge
from tests.support.http import serve


@pytest.mark.parametrize("path", ["/_synapse/metrics", "/metrics"])
def test_a_scrape(path: str) -> None:
    metrics = Metrics()
    metrics.register(lambda: [counter("a", "A.", 1)])
    metrics.register(lambda: [gauge("b", "B.", 2), gauge("c", "C.", 3)])
    with serve(Exposition(metrics).endpoints()) as server:
        client = server.client(token=None)
        answer = client.get(path)
        assert client.get("/").status == 404
        assert client.request("HEAD", path).status == 200
        assert client.post(path, {}).status == 405
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.content.decode())
    assert [(family.name, family.samples[0].value) for family in families] == [
        ("trellis_a", 1),
        ("trellis_b", 2),
        ("trellis_c", 3),
    ]


def test_a_metric_that_cannot_be_gathered_is_an_error_and_no_half_answer() -> None:
    metrics = Metrics()
    metrics.register(lambda: [gauge("bad", "Bad.", 1 // 0)])
    with serve(Exposition(metrics).endpoints()) as server:
        assert server.client(token=None).get("/metrics").status == 500

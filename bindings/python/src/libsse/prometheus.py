"""A hub's metrics for prometheus_client."""

from __future__ import annotations

from typing import Iterator, Union

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from . import sync
from ._hub import Hub
from .errors import HubClosed

__all__ = ["HubCollector"]


class HubCollector(Collector):
    """`prometheus_client.REGISTRY.register(HubCollector(hub))`"""

    def __init__(self, hub: Union[Hub, sync.Hub]) -> None:
        if not isinstance(hub, (Hub, sync.Hub)):
            raise TypeError("the hub must be a libsse.Hub, or a libsse.sync.Hub")
        self.hub: Union[Hub, sync.Hub] = hub

    def collect(self) -> Iterator[Metric]:
        try:
            text = self.hub.metrics()
        except HubClosed:  # others in the registry are still asked
            return
        yield from text_string_to_metric_families(text)

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry need not open the hub to know its names."""
        return iter(())

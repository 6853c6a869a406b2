"""The load of rank 0's machine, sampled with MLflow's own monitors: processor, memory, disk, network, GPUs."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

PREFIX = "system/"  # MLflow shows metrics of this name on a page of their own


class SystemMonitor:
    """MLflow's monitors without the thread in which MLflow asks them, which would wait for a dead server at its end."""

    def __init__(self, uri: str, run: str) -> None:
        """Whatever MLflow raises where a monitor cannot be had."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(run, tracking_uri=uri)
        self._broken = False
        self.sample()  # the first has nothing before it to compare with

    def sample(self) -> dict[str, float]:
        """The load since the last sample, by MLflow's names; nothing once it cannot be had, which is told once."""
        if self._broken:
            return {}
        try:
            self._monitor.collect_metrics()
            found = self._monitor.aggregate_metrics()
            for monitor in self._monitor.monitors:
                monitor.clear_metrics()
        except Exception as error:
            self._broken = True
            logger.warning("no system metrics any more: %s: %s", type(error).__name__, error)
            return {}
        return {f"{PREFIX}{name}": float(value) for name, value in found.items()}

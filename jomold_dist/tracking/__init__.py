"""MLflow, from rank 0. Only this folder knows it, and imports it late."""

from jomold_dist.tracking.session import open_recorder, ui_command

__all__ = ["open_recorder", "ui_command"]

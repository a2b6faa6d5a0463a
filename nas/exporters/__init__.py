"""Take a trained network home: code that needs only torch, its weights, its description."""

from nas.exporters.export import Exported, export_trial

__all__ = ["Exported", "export_trial"]

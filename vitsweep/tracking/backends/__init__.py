"""Trackers beside W&B: TensorBoard, MLflow and trackio, each called by a thread of its own (background.py).

A backend is a Tracker whose `record.epoch` at the start is the last epoch that earlier attempts finished; their rows
follow as calls of `log`. It may block and raise. Its library is imported when its module is.
"""

BACKENDS = {
    "tensorboard": ("vitsweep.tracking.backends.tensorboard", "TensorBoardTracker"),
    "mlflow": ("vitsweep.tracking.backends.mlflow", "MlflowTracker"),
    "trackio": ("vitsweep.tracking.backends.trackio", "TrackioTracker"),
}
"""Tracker -> module and class."""

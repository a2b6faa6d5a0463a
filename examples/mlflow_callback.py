"""Log a search to MLflow: a run for each candidate. Needs `python -m pip install mlflow-skinny`.

python examples/mlflow_callback.py   # writes to ./mlflow.db, or where MLFLOW_TRACKING_URI says
"""

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunStatus

import nas
from nas.searching.events import EpochEnded, SearchStarted, TrialEnded, TrialStarted


class MlflowLogger:
    """A callback for `nas.search`. Several candidates may train at once, so it keeps their runs."""

    def __init__(self):
        self.client = MlflowClient()
        self.runs = {}  # the number of a trial -> the id of its run
        self.num_epochs = {}

    def __call__(self, event):
        match event:
            case SearchStarted():
                self.experiment = mlflow.set_experiment(event.study).experiment_id
            case TrialStarted():
                run = self.client.create_run(self.experiment, run_name=f"trial-{event.trial}")
                self.runs[event.trial] = run.info.run_id
                self.num_epochs[event.trial] = 0
                values = event.params | {"recipe": event.recipe, "num_params": event.num_params}
                for name, value in values.items():
                    self.client.log_param(run.info.run_id, name, value)
            case EpochEnded():
                # A candidate may be trained with several schedules: epochs are counted on.
                step = self.num_epochs[event.trial] = self.num_epochs[event.trial] + 1
                metrics = event.metrics
                for name, value in {
                    "valid_accuracy": metrics.valid_accuracy,
                    "valid_loss": metrics.valid_loss,
                    "train_loss": metrics.train_loss,
                    "learning_rate": event.learning_rate,
                }.items():
                    self.client.log_metric(self.runs[event.trial], name, value, step=step)
            case TrialEnded() if event.trial in self.runs:
                run = self.runs.pop(event.trial)
                self.client.set_tag(run, "outcome", event.reason or "trained")
                self.client.set_terminated(run, RunStatus.to_string(RunStatus.FINISHED))


if __name__ == "__main__":
    study = nas.search(
        budget=3_000, dataset="digits", trials=4, epochs=3, callback=MlflowLogger(),
    )  # fmt: skip
    print(study.best)

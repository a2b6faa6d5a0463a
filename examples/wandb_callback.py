"""Log a search to Weights & Biases: a run for each candidate. Needs `python -m pip install wandb`.

WANDB_MODE=offline python examples/wandb_callback.py   # without it: to your account
"""

import wandb

import nas
from nas.searching.events import EpochEnded, SearchStarted, TrialEnded, TrialStarted


class WandbLogger:
    """A callback for `nas.search`. Several candidates may train at once, so it keeps their runs."""

    def __init__(self, project="nas"):
        self.project = project
        self.runs = {}  # the number of a trial -> its run

    def __call__(self, event):
        match event:
            case SearchStarted():
                self.study = event.study
            case TrialStarted():
                self.runs[event.trial] = wandb.init(
                    project=self.project, group=self.study, name=f"trial-{event.trial}",
                    config=event.params
                    | {"recipe": event.recipe, "num_params": event.num_params},
                    reinit="create_new",
                )  # fmt: skip
            case EpochEnded():
                metrics = event.metrics
                self.runs[event.trial].log({
                    "epoch": metrics.epoch,
                    "schedule": event.epochs,
                    "valid_accuracy": metrics.valid_accuracy,
                    "valid_loss": metrics.valid_loss,
                    "train_loss": metrics.train_loss,
                    "learning_rate": event.learning_rate,
                })  # fmt: skip
            case TrialEnded() if event.trial in self.runs:
                run = self.runs.pop(event.trial)
                run.summary["outcome"] = str(event.reason or "trained")
                run.finish()


if __name__ == "__main__":
    study = nas.search(
        budget=3_000, dataset="digits", trials=4, epochs=3, callback=WandbLogger(),
    )  # fmt: skip
    print(study.best)

"""A search space as a function: how many layers, how they widen, what share of the budget to use.

python examples/own_space.py
"""

import nas


def suggest(trial, task):
    depth = trial.suggest_int("depth", 2, 4)
    growth = trial.suggest_float("growth", 1.0, 2.0)
    share = trial.suggest_float("share", 0.6, 1.0)  # of the budget

    def make(width):  # asked for channels, `width` gives as many as fit
        layers = []
        for place in range(depth):
            layers += [nas.Conv(width(growth**place), 3), nas.BatchNorm(), nas.ReLU()]
        layers += [nas.GlobalAvgPool(), nas.Flatten(), nas.Linear(task.num_classes)]
        return nas.Architecture(task.input_shape, layers)

    recipe = nas.Recipe(
        learning_rate=trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        batch_size=64,
        epochs=task.epochs,
    )
    return nas.Candidate(nas.fit(make, share, task), recipe)


study = nas.search(budget=2_000, dataset="digits", space=suggest, trials=6, epochs=8)
for row in study.leaderboard(top=3):
    print(f"{row['accuracy']:.2%}  {row['num_params']:,} parameters  {row['recipe']}")
print(study.best.params)

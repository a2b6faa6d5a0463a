"""Search on images that are arrays of one's own, and classify with the winner.

python examples/own_arrays.py
"""

from sklearn.datasets import load_digits

import nas

# Any uint8 images will do: (N, H, W), (N, H, W, C) or (N, C, H, W). Labels are numbers or words.
digits = load_digits()
images = (digits.images * 15.9).astype("uint8")
words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
labels = [words[number] for number in digits.target]

study = nas.search(budget=3_000, dataset=(images, labels), trials=6, epochs=8)
best = study.best
print(f"{best.accuracy:.2%} with {best.num_params:,} parameters")

# The study has a hash of the images, not the images: whatever needs them is given them again.
exported = nas.export(best, "own-arrays", dataset=(images, labels), force=True)
print(f"the network is in {exported.folder}/network.py")

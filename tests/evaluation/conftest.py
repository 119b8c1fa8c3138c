import numpy as np
import pandas as pd
import pytest

CLASSES = ["negative", "positive", "surprise"]


@pytest.fixture(scope="session")
def make_predictions():
    """Tables of predictions as a run writes them: subjects of two corpora, seeds, scores that fit the predictions."""

    def make(subjects=12, clips=6, seeds=1, skill=0.6, seed=0):
        people = np.random.default_rng(99)  # the same clips whatever the seed of the predictions
        labels = people.integers(0, 3, (subjects, clips))
        ease = people.beta(2, 2, (subjects, clips)) * 0.6 - 0.3
        generator = np.random.default_rng(seed)
        rows = []
        for number in range(seeds):
            for subject, clip in np.ndindex(subjects, clips):
                right = generator.random() < skill + ease[subject, clip]
                label = labels[subject, clip]
                predicted = label if right else (label + generator.integers(1, 3)) % 3
                scores = generator.dirichlet(np.where(np.arange(3) == predicted, 6, 1))
                scores[[predicted, scores.argmax()]] = scores[[scores.argmax(), predicted]]
                corpus = "casme2" if subject % 3 else "samm"
                rows.append(
                    {
                        "clip_id": f"{corpus}/sub{subject:02d}/clip{clip}@1",
                        "corpus": corpus,
                        "subject": f"{corpus}/sub{subject:02d}",
                        "fold": f"{corpus}/sub{subject:02d}",
                        "seed": number,
                        "label": CLASSES[label],
                        "predicted": CLASSES[predicted],
                        **{f"score_{name}": score for name, score in zip(CLASSES, scores, strict=True)},
                    }
                )
        return pd.DataFrame(rows)

    return make

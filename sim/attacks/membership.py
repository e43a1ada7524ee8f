"""The membership attack of the classifier unlearning literature, on the confidence in the true answer.

An SVC (C = 3, RBF kernel, γ = 1) learns to tell retained training examples (members) from test examples (non-members),
equally many of each; it is then shown the forgotten ones. Source: ``SVC_MIA`` on "confidence" in SalUn's code (Fan et al.,
2024); NegMerge reports the same. Deviations: both sides are sub-samples by seed, where the code takes the first retained
examples, and have at most ``MOST`` examples, as the time to learn grows with the square.
"""

import numpy as np

MOST = 2000
"""Examples of a side that the attack learns from, at most."""


def efficacy(members: np.ndarray, outsiders: np.ndarray, forgotten: np.ndarray, seed: int) -> float | None:
    """Share of the forgotten that the attack takes for non-members: 1 if all do, 0 if all pass for members.

    Args:
        members: confidences of retained training examples, fp64 [n]; the next two likewise.
        outsiders: of test examples.
        forgotten: of forgotten training examples.

    Returns:
        None where one of them is empty.
    """
    from sklearn.svm import SVC

    size = min(len(members), len(outsiders), MOST)
    if not size or not len(forgotten):
        return None
    rng = np.random.default_rng(seed)
    shown = np.concatenate([side[np.sort(rng.permutation(len(side))[:size])] for side in (members, outsiders)])
    attack = SVC(C=3, kernel="rbf", gamma="auto").fit(shown[:, None], np.repeat([1, 0], size))
    return float(np.mean(attack.predict(forgotten[:, None]) == 0))


def auc(forgotten: np.ndarray, outsiders: np.ndarray) -> float | None:
    """Probability that a forgotten example has a higher confidence than a test example, ties counting half; chance is ½.

    Returns:
        None where one of them is empty.
    """
    if not len(forgotten) or not len(outsiders):
        return None
    ranked = np.sort(outsiders)
    below, upto = (np.searchsorted(ranked, forgotten, side) for side in ("left", "right"))
    return float(np.mean(below + upto) / (2 * len(outsiders)))

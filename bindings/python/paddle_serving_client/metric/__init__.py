"""auc and acc of predictions."""
import numpy as np


def auc(label_list, score_list):
    """The area under the ROC curve, by ranks; ties count half."""
    label, score = np.asarray(label_list).ravel(), np.asarray(score_list, dtype="float64").ravel()
    if label.shape != score.shape:
        raise ValueError(f"{label.size} labels and {score.size} scores: one of each for every sample is wanted")
    positive = label > 0
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if n_pos == 0 or n_neg == 0:
        raise ValueError("auc needs samples of both classes")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2.0)[place]
    return float((rank[positive].sum() - n_pos * (n_pos + 1) / 2.0) / (n_pos * n_neg))


def acc(label_list, score_list):
    """The share of samples whose score, rounded, is their label; rows of scores count by their largest."""
    label, score = np.asarray(label_list).ravel(), np.asarray(score_list)
    got = score.reshape(len(label), -1)
    got = got.argmax(1) if got.shape[1] > 1 else (got.ravel() >= 0.5).astype(int)
    return float((got == label).mean())

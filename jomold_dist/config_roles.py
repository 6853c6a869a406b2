"""What settings do beside what they say: which decide a run's result, and which every rank must have alike."""

from __future__ import annotations

FREE = frozenset(
    {
        "imports",  # what they define is named elsewhere
        "run.dir",
        "run.wall_minutes",
        "data.shards",  # the manifest's digest stands for the data, wherever it lies
        "data.resident",
        "data.cache",
        "data.cache_gigabytes",
        "data.prefetch_shards",
        "data.attempts",
        "data.threads",
        "data.verify",
        "data.on_bad_video",  # so that a run that met damage can go on
        "data.max_bad_fraction",
        "estimator.keep_predictions",
        "train.engine",
        "train.micro_batch_size",
        "train.epochs",  # may grow, unless the schedule of learning rates looks at their number
        "train.non_finite",  # so that a run that stopped can go on
    }
)
FREE_SECTIONS = (
    "checkpoint.",
    "data.storage",
    "tracking.",
    "distributed.",
    "deepspeed.",
    "log.",
    "metrics.",
    "profile.",
)


def decides(name: str) -> bool:
    """Whether a setting decides a run's result, so that a run folder belongs to its value. (`Config.decides` knows of
    one that sometimes does.)"""
    return name not in FREE and not name.startswith(FREE_SECTIONS)


# A node's own: where things lie, and what is rank 0's alone. Of all else every rank must have the same.
OF_A_NODE = frozenset(
    {
        "run.dir",
        "data.shards",  # the manifests' digests are compared
        "data.resident",
        "data.cache",
        "data.cache_gigabytes",
        "data.prefetch_shards",
        "data.attempts",
        "data.threads",
        "data.storage",
        "denoise.ratio_file",  # what rank 0 reads there is used
        "denoise.cleaned_labels",  # likewise
        "run.wall_minutes",
    }
)


def may_differ(name: str) -> bool:
    """Whether ranks may have different values of a setting."""
    return name in OF_A_NODE or name.startswith(("tracking.", "log."))

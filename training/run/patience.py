"""When a run is evaluated, and when it has been without a better top-1 for too long."""

from training.settings.train_config import TrainConfig


def evaluation_due(epoch: int, config: TrainConfig) -> bool:
    """Return whether there is an evaluation after an epoch, counted from 1."""
    since = epoch - config.eval_start_epoch
    regular = since >= 0 and since % config.eval_interval == 0
    return regular or epoch == config.max_epoch


def has_stalled(epoch: int, best_epoch: int, config: TrainConfig) -> bool:
    """Return whether there were `patience` evaluations since the best one, up to an epoch.

    As `patience` of Keras' EarlyStopping (Prechelt 1998, "Early stopping - but when?"). It follows
    from epochs alone, so that a resumed run knows it as well.
    """
    since = sum(evaluation_due(later, config) for later in range(best_epoch + 1, epoch + 1))
    return config.patience is not None and since >= config.patience

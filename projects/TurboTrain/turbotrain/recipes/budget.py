"""The same training budget for everything that a benchmark compares."""

from mmengine.config import Config

__all__ = ['train_for', 'train_for_epochs', 'train_only']


def train_for(cfg: Config, iters: int, seed: int, val_interval: int | None = None) -> None:
    """Make a config train for so many iterations.

    The learning rate warms up for 40 and is annealed over all of them to a twentieth; a run that
    is interrupted can resume from a checkpoint at every quarter of it.

    Args:
        cfg: changed in place.
        iters: how many.
        seed: of all random draws.
        val_interval: iterations between two validations; None does not validate.
    """
    lr = cfg.optim_wrapper.optimizer.lr
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iters)
    _validate(cfg, val_interval)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
        dict(type='CosineAnnealingLR', by_epoch=False, T_max=iters, eta_min=lr / 20),
    ]
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.interval = min(cfg.default_hooks.logger.interval, iters)
    cfg.default_hooks.checkpoint.update(
        by_epoch=False, interval=max(1, min(100, iters // 4)), max_keep_ckpts=1
    )
    cfg.randomness.seed = seed


def train_for_epochs(cfg: Config, epochs: int, seed: int, val_interval: int | None = None) -> None:
    """The same in passes over the data: one of warm-up, then annealing to a hundredth.

    Args:
        cfg: changed in place.
        epochs: how many, two or more.
        seed: of all random draws.
        val_interval: epochs between two validations; None does not validate.
    """
    lr = cfg.optim_wrapper.optimizer.lr
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    _validate(cfg, val_interval)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
        dict(
            type='CosineAnnealingLR',
            begin=1,
            end=epochs,
            T_max=epochs - 1,
            eta_min=lr / 100,
            convert_to_iter_based=True,
        ),
    ]
    cfg.randomness.seed = seed


def train_only(cfg: Config, epochs: int, save_every: int) -> None:
    """Make a config train from scratch, without validation and test, and save often.

    Args:
        cfg: changed in place.
        epochs: how many.
        save_every: iterations between two checkpoints, of which two are kept.
    """
    cfg.load_from, cfg.custom_hooks = None, []
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    for split in ('val', 'test'):
        cfg.update({f'{split}_{part}': None for part in ('cfg', 'dataloader', 'evaluator')})
    cfg.default_hooks.checkpoint = dict(
        type='DurableCheckpointHook', by_epoch=False, interval=save_every, max_keep_ckpts=2
    )


def _validate(cfg: Config, interval: int | None) -> None:
    if interval and cfg.get('val_evaluator'):
        cfg.train_cfg.val_interval = interval
    else:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None

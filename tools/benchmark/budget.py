"""The same training budget for everything that a benchmark compares."""

from mmengine.config import Config

__all__ = ['train_for']


def train_for(cfg: Config, iters: int, seed: int) -> None:
    """Make a config train for so many iterations, without validation.

    The learning rate warms up for 40 and is annealed over all of them to a twentieth; a run that
    is interrupted can resume from a checkpoint at every quarter of it.
    """
    lr = cfg.optim_wrapper.optimizer.lr
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iters)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
        dict(type='CosineAnnealingLR', by_epoch=False, T_max=iters, eta_min=lr / 20),
    ]
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.checkpoint.update(
        by_epoch=False, interval=max(1, min(100, iters // 4)), max_keep_ckpts=1
    )
    cfg.randomness.seed = seed

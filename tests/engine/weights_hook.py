"""A hook for tests: every process writes its weights when training ends."""

import os
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DumpWeightsHook(Hook):
    def after_train(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = Path(runner.work_dir) / f'weights_{os.environ.get("RANK", 0)}.pth'
        torch.save(model.state_dict(), path)

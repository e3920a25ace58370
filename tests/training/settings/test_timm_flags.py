"""The table `timm -> here` in training/README.md names flags that there are, of both."""

import re

from tests.support.paths import ROOT
from training.settings.train_config import TrainConfig

# All of timm's train.py of August 2026 (commit aa4b585), `--naflex-*` and `--kd-*` by these.
TIMM = """config data data-dir dataset train-split val-split train-num-samples val-num-samples
dataset-download class-map input-img-mode input-key target-key dataset-trust-remote-code model
pretrained pretrained-path initial-checkpoint resume no-resume-opt num-classes gp img-size in-chans
input-size crop-pct mean std interpolation batch-size validation-batch-size channels-last fuser
grad-accum-steps grad-checkpointing fast-norm model-kwargs head-init-scale head-init-bias
torchcompile-mode torchscript torchcompile device amp amp-dtype model-dtype no-ddp-bb
synchronize-step local_rank device-modules opt opt-eps opt-betas momentum weight-decay clip-grad
clip-mode layer-decay layer-decay-min-scale layer-decay-no-opt-scale opt-kwargs sched
sched-on-updates lr lr-base lr-base-size lr-base-scale lr-noise lr-noise-pct lr-noise-std
lr-cycle-mul lr-cycle-decay lr-cycle-limit lr-k-decay warmup-lr min-lr epochs epoch-repeats
start-epoch decay-milestones decay-epochs warmup-epochs warmup-prefix cooldown-epochs
patience-epochs decay-rate no-aug train-crop-mode scale ratio hflip vflip color-jitter
color-jitter-prob grayscale-prob gaussian-blur-prob aa aug-repeats aug-splits jsd-loss bce-loss
bce-sum bce-target-thresh bce-pos-weight reprob remode recount resplit mixup cutmix cutmix-minmax
mixup-prob mixup-switch-prob mixup-mode mixup-off-epoch smoothing train-interpolation drop
drop-connect drop-path drop-block bn-momentum bn-eps sync-bn dist-bn split-bn model-ema
model-ema-force-cpu model-ema-decay model-ema-warmup seed worker-seeding log-interval val-interval
recovery-interval checkpoint-hist workers save-images pin-mem no-prefetcher output experiment
eval-metric tta use-multi-epochs-loader log-wandb wandb-project wandb-tags wandb-resume-id
train-img-sizes train-batch-sizes train-size-probs train-size-schedule train-size-schedule-spread
train-size-random-mix train-batches-per-epoch variable-batch-loss-scale naflex- kd-
distill-loss-weight task-loss-weight"""


def columns() -> tuple[str, str]:
    """Return the two columns, as text each."""
    text = (ROOT / "training/README.md").read_text().partition("| timm | here |\n|---|---|\n")[2]
    rows = [line.split(" | ") for line in text.partition("\n\n")[0].splitlines()]
    assert {len(row) for row in rows} == {2}
    return " ".join(row[0] for row in rows), " ".join(row[1] for row in rows)


def flags(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--([\w-]+)", text)


def test_every_flag_of_timm_is_answered_once() -> None:
    by_value = ("dataset", "opt", "sched", "aa")
    found = [name for name in flags(columns()[0]) if name not in by_value]
    assert len(found) == len(set(found))
    assert not set(TIMM.split()) - set(flags(columns()[0])) - {"data"}
    assert not set(found) - set(TIMM.split())


def test_every_flag_that_is_named_here_is_there() -> None:
    names = {name.replace("_", "-") for name in TrainConfig.model_fields}
    assert not set(flags(columns()[1])) - names

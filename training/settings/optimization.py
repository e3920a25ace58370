"""Settings of the optimiser, its schedule and its precision; the upstream's, if it has them."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_settings import NoDecode

from training.settings.config import COMMAS, CommonConfig, Fraction

AmpLevel = Literal["O0", "O1", "O2", "O3"]
Epochs = Annotated[tuple[PositiveInt, ...], NoDecode, COMMAS]
Names = Annotated[tuple[str, ...], NoDecode, COMMAS]


def _usual_amp_level(known: dict[str, Any]) -> AmpLevel:
    """As the upstream: O3 on Ascend and GPU. A CPU computes float32 fastest."""
    return "O0" if known.get("platform") == "CPU" else "O3"


class OptimizationConfig(CommonConfig):
    """What becomes of a gradient."""

    max_epoch: PositiveInt = Field(150, description="epochs to train")
    lr: PositiveFloat = Field(0.05, description="base learning rate")
    lr_scheduler: Literal["cosine_annealing", "multistep", "exponential"] = Field(
        "cosine_annealing",
        description="schedule after warm-up; exponential is another name of multistep",
    )
    lr_epochs: Epochs = Field((30, 60, 90, 120), description="epochs at which multistep decays")
    lr_gamma: PositiveFloat = Field(0.1, description="factor of each decay of multistep")
    lr_per_step: bool = Field(
        default=False,
        description="the cosine changes with every step, not with every epoch as upstream",
    )
    eta_min: NonNegativeFloat = Field(0.0, description="lowest learning rate of the cosine")
    T_max: PositiveInt = Field(150, description="epochs in half a period of the cosine")
    warmup_epochs: NonNegativeInt = Field(1, description="epochs of linear warm-up")

    opt: Literal["momentum", "nesterov", "adamw"] = Field(
        "momentum", description="optimiser; nesterov is momentum in Nesterov's way"
    )
    momentum: Fraction = Field(0.9, description="of momentum and nesterov")
    weight_decay: NonNegativeFloat = Field(
        1e-4, description="of weights; biases and batch norm are not decayed"
    )
    freeze: Names = Field(
        (),
        description="parts of the network that are not trained, such as "
        "backbone.conv,backbone.bn,backbone.layer1",
    )
    backbone_lr_factor: PositiveFloat = Field(
        1.0, description="learning rate of the backbone, as a multiple of that of the head"
    )
    accumulate: PositiveInt = Field(
        1, description="batches of --per-batch-size whose gradients are averaged in one step"
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay, such as 0.999, of a moving average of the weights, which is then what "
        "is evaluated and saved; unset: none",
    )

    is_dynamic_loss_scale: bool = Field(
        default=False,
        description="loss scale from 65536: doubled after 2000 good steps, halved at an overflow",
    )
    loss_scale: float = Field(
        1024.0, ge=1, description="static factor of the loss; gradients are divided by it"
    )
    amp_level: AmpLevel = Field(
        default_factory=_usual_amp_level,
        description="mixed precision, O0 (float32) to O3 (float16); unset: O0 on CPU, else O3",
    )
    clip_global_norm: PositiveFloat | None = Field(
        None, description="clip gradients to this norm, taken over all of them; unset: not clipped"
    )

    @model_validator(mode="after")
    def _is_a_schedule(self) -> Self:
        if self.warmup_epochs >= self.max_epoch:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be less than max_epoch={self.max_epoch}"
            )
        if self.eta_min > self.lr:
            raise ValueError(f"eta_min={self.eta_min} must not be more than lr={self.lr}")
        if self.lr_per_step and self.lr_scheduler != "cosine_annealing":
            raise ValueError(
                f"lr_per_step=True needs lr_scheduler=cosine_annealing, not {self.lr_scheduler}"
            )
        return self

"""RecipeConfig: settings of the training."""

import math
from dataclasses import dataclass

from vitsweep.added_fields import added_field
from vitsweep.config.checks import check, in_unit_interval, is_finite_and_not_negative, one_of, within
from vitsweep.config.recipe.rules import TEXTS, augmentation_errors, optimization_errors, unread_errors

MAX_EPOCHS = MAX_BATCH = 10_000_000


@dataclass(kw_only=True)
class RecipeConfig:
    """Settings of the training: optimizer, schedule, augmentation, loss, length."""

    epochs: int = 100
    """Number of passes over the training images."""
    batch_size: int = 128
    """Number of images in one optimizer step."""
    optimizer: str = "adamw"
    """Optimizer: adamw, sgd (Nesterov), lion, muon (matrices of the blocks; adamw for the rest), or schedule_free_adamw
    (its weights are averages; an extra, vitsweep[schedulefree])."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Weight decay of the weights that decay_groups names: L2 for sgd, decoupled for all other optimizers."""
    momentum: float = 0.9
    """Momentum of sgd and of muon's matrices, in [0, 1); the others have beta1 and beta2."""
    schedule: str = "plateau"
    """Learning-rate schedule: constant, cosine, linear, warmup_stable_decay (constant, then linear over the last
    decay_epochs), each down to min_lr, or plateau (validation loss, per epoch)."""
    warmup_epochs: float = 0.0
    """Length of the linear warm-up from warmup_lr that precedes the schedule, epochs."""
    plateau_factor: float = 0.1
    """Factor, in (0, 1), by which plateau multiplies the learning rate."""
    plateau_patience: int = 10
    """Number of epochs without a better validation loss before plateau lowers the learning rate."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over the classes, in [0, 1)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; null: not clipped."""
    crop_padding: int = 4
    """Padding on each side before the random crop, pixels; 0: no crop."""
    horizontal_flip: bool = True
    """Mirroring of each training image with probability 0.5."""
    crop_padding_mode: str = added_field("constant")
    """Padding of the random crop: constant (black) or reflect."""
    resized_crop_min_area: float | None = added_field(None)
    """Smallest share of the image, in (0, 1], that RandomResizedCrop cuts out (largest 1, aspect ratio 3/4 to 4/3);
    it takes the place of the padded crop. null: none."""
    resized_crop_interpolation: str = added_field("bilinear")
    """Interpolation of RandomResizedCrop: bilinear, bicubic, or random (one of them for each image)."""
    auto_augment: str = added_field("none")
    """Policy after crop and flip: none, autoaugment (CIFAR-10's 25), randaugment, trivialaugment (torchvision's), or
    timm_randaugment (timm's rand-mM-mstdS-inc1)."""
    augment_fill: str = added_field("black")
    """Color that auto_augment moves in from outside: black, gray (128) or mean (of the training images)."""
    randaugment_num_ops: int = added_field(2)
    """Number of operations for each image of randaugment and timm_randaugment."""
    randaugment_magnitude: float = added_field(9.0)
    """Magnitude: of randaugment a whole number up to 30, of timm_randaugment a number up to 10."""
    randaugment_magnitude_std: float = added_field(0.0)
    """Standard deviation of the magnitude of timm_randaugment."""
    random_erasing_prob: float = added_field(0.0)
    """Probability, in [0, 1], of erasing a random box of a training image."""
    random_erasing_max_area: float = added_field(0.33)
    """Largest share of the image, above 0.02 and below 1, that is erased; the smallest is 0.02."""
    random_erasing_mode: str = added_field("const")
    """Content of the erased box: const (mean of the training images) or pixel (normal noise)."""
    mixup_alpha: float = added_field(0.0)
    """Parameter of mixup's Beta distribution; 0: no mixup."""
    cutmix_alpha: float = added_field(0.0)
    """Parameter of CutMix's Beta distribution; 0: no CutMix."""
    mixup_prob: float = added_field(1.0)
    """Probability, in (0, 1], of mixing a batch, by mixup or CutMix."""
    mixup_switch_prob: float = added_field(0.5)
    """Probability, in (0, 1), of CutMix in place of mixup where both are on."""
    mixup_off_epoch: int = added_field(0)
    """Number of epochs after which no batch is mixed, by CutMix neither; 0: mixing never ends."""
    loss: str = added_field("cross_entropy")
    """Loss: cross_entropy, binary_cross_entropy (one sigmoid per class) or multi_margin (hinge loss, hard labels)."""

    decay_groups: str = added_field("timm")
    """Weights that decay: timm (matrices and kernels; no biases, norms, class token, positions), all or none."""
    beta1: float | None = added_field(None)
    """First beta of adamw, lion and schedule_free_adamw, in (0, 1); null: 0.9."""
    beta2: float | None = added_field(None)
    """Second beta, in (0, 1); null: 0.999, of lion 0.99."""
    warmup_lr: float = added_field(0.0)
    """Learning rate at which the warm-up begins."""
    min_lr: float = added_field(0.0)
    """Learning rate at which cosine, linear and warmup_stable_decay end, and below which plateau does not go."""
    cooldown_epochs: float = added_field(0.0)
    """Number of the last epochs that are trained at min_lr, after the end of cosine, linear or warmup_stable_decay."""
    decay_epochs: float = added_field(0.0)
    """Length of the decay of warmup_stable_decay, epochs."""
    ema_decay: float | None = added_field(None)
    """Decay per step, in (0, 1), of an exponential moving average of the weights, scored as a row of its own, `ema`;
    null: none."""
    average_last: int = added_field(0)
    """Number of last epochs whose weights are averaged and scored as a row of its own, `average`; 0: none."""
    gradient_accumulation_steps: int = added_field(1)
    """Number of passes, one after the other, in which the batch of one optimizer step is computed, to save memory."""

    @property
    def is_mixing(self) -> bool:
        """Return True if batches are mixed, so that targets are soft."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = within(1, MAX_EPOCHS, "recipe", self, ["epochs", "batch_size"])
        for name, words in TEXTS.items():
            found += one_of(words, "recipe", self, name)
        found += check("recipe", self, ["lr"], lambda v: 0 < v < math.inf, "must be a positive number")
        not_negative = ["weight_decay", "warmup_epochs", "plateau_patience", "crop_padding"]
        found += check("recipe", self, not_negative, is_finite_and_not_negative, "must be finite and not negative")
        found += check("recipe", self, ["momentum", "label_smoothing"], in_unit_interval, "must lie in [0, 1)")
        found += check("recipe", self, ["plateau_factor"], lambda v: 0 < v < 1, "must lie in (0, 1)")
        clip_rule = "must be positive and finite, or null for no clipping"
        found += check("recipe", self, ["clip_norm"], lambda v: v is None or 0 < v < math.inf, clip_rule)
        if self.warmup_epochs > self.epochs > 0:
            found.append(f"recipe.warmup_epochs={self.warmup_epochs}  is longer than recipe.epochs={self.epochs}")
        found += augmentation_errors(self) + optimization_errors(self)
        return found or unread_errors(self, RecipeConfig)

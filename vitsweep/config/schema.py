"""What can be configured: one dataclass a config group, a sentence under every field, every rule in one place.

Hydra composes YAML and command line against these types, so unknown keys and wrong types are refused by it;
`from_omegaconf` builds the dataclasses, whose rules refuse impossible values. Below the command line nobody sees a
DictConfig. Two facts of OmegaConf 2.3 shape this file: `typing.Literal` is not supported (so a str and its allowed
set), and `__post_init__` runs only in `to_object` (so rules are collected and raised there, all at once).
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsweep.errors import ConfigError

NETWORKS = ("resnet", "vit")
PATCHIFY_METHODS = ("conv", "linear")
DATA_SETS = ("cifar10", "image_folder", "shapes")
VALIDATION_SOURCES = ("split", "test")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("constant", "cosine", "plateau")
TRACKERS = ("none", "wandb")
TRACKER_MODES = ("auto", "disabled", "offline", "online")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bf16", "fp32")
RETRIES = ("failed", "none")
ISOLATIONS = ("none", "process")
SWITCHES = ("auto", "off", "on")
RESNET_READS = ("name", "image_size", "num_classes", "num_channels", "hidden_size", "num_hidden_layers")
DROPOUT_PLACES = ("embedding", "attention_probs", "attention_output", "mlp_hidden", "mlp_output", "head")


@dataclass(kw_only=True)
class ModelConfig:
    """The network; the defaults are the starting configuration, the names Hugging Face's ViTConfig.

    A resnet reads RESNET_READS alone; the other fields, which it would ignore, must then have their default values.
    """

    name: str = "vit"
    """vit (the Vision Transformer) or resnet (a convolutional network of equal size, to compare with)."""
    image_size: int = 32
    """Height and width of the square input, pixels."""
    patch_size: int = 4
    """Height and width of one square patch, pixels; divides image_size."""
    num_classes: int = 10
    """How many classes the head tells apart; must be the number that the data have."""
    num_channels: int = 3
    """Colour channels of the input."""
    patchify_method: str = "conv"
    """How patches become tokens: conv (kernel = stride = patch) or linear (unfold, then one matrix)."""
    hidden_size: int = 256
    """Width of a token, divisible by num_attention_heads; of a resnet's last stage, divisible by 8."""
    num_hidden_layers: int = 8
    """Transformer blocks, one after another; of a resnet residual blocks, divisible by 4."""
    num_attention_heads: int = 8
    """Attention heads in each block."""
    intermediate_size: int = 512
    """Width of the hidden layer of each block's MLP."""
    hidden_dropout_prob: float = 0.2
    """Dropout rate, in [0, 1), of every place below that is null."""
    embedding_dropout_prob: float | None = None
    """Dropout rate after the position embedding has been added; null: hidden_dropout_prob."""
    attention_probs_dropout_prob: float | None = None
    """Dropout rate on the attention probabilities, after the softmax; null: hidden_dropout_prob."""
    attention_output_dropout_prob: float | None = None
    """Dropout rate after the attention's output projection; null: hidden_dropout_prob."""
    mlp_hidden_dropout_prob: float | None = None
    """Dropout rate inside the MLP, after the GELU; null: hidden_dropout_prob."""
    mlp_output_dropout_prob: float | None = None
    """Dropout rate after the MLP's second layer; null: hidden_dropout_prob."""
    head_dropout_prob: float | None = None
    """Dropout rate on the class token before the classifier; null: hidden_dropout_prob."""
    bias: bool = True
    """Whether the linear layers of the blocks have a bias."""

    def dropout_rate(self, place: str) -> float:
        """The rate in force at one of DROPOUT_PLACES."""
        rate = getattr(self, f"{place}_dropout_prob")
        return self.hidden_dropout_prob if rate is None else rate

    @property
    def num_patches(self) -> int:
        """Patches, and so tokens without the class token, of one image."""
        return (self.image_size // self.patch_size) ** 2

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break."""
        found = _below_one(
            self,
            "model",
            ("image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers")
            + ("num_attention_heads", "intermediate_size"),
        )
        if self.num_classes < 2:
            found.append(f"model.num_classes={self.num_classes}  must be at least 2")
        found += _not_among("model.name", self.name, NETWORKS)
        if self.name == "resnet":
            return found + self.resnet_faults()
        if self.patch_size > 0 and self.image_size > 0 and self.image_size % self.patch_size:
            fits = [p for p in range(1, self.image_size + 1) if self.image_size % p == 0]
            found.append(
                f"model.patch_size={self.patch_size}  does not divide model.image_size={self.image_size}; "
                f"allowed: {_listed(fits)}"
            )
        if self.num_attention_heads > 0 and self.hidden_size > 0 and self.hidden_size % self.num_attention_heads:
            fits = [h for h in range(1, self.hidden_size + 1) if self.hidden_size % h == 0]
            found.append(
                f"model.hidden_size={self.hidden_size}  is not divisible by "
                f"model.num_attention_heads={self.num_attention_heads}; allowed heads: {_listed(fits)}"
            )
        found += _not_among("model.patchify_method", self.patchify_method, PATCHIFY_METHODS)
        for name in ("hidden", *DROPOUT_PLACES):
            rate = getattr(self, f"{name}_dropout_prob")
            if rate is not None and not 0 <= rate < 1:
                found.append(f"model.{name}_dropout_prob={rate}  must lie in [0, 1)")
        return found

    def resnet_faults(self) -> list[str]:
        """A sentence for every value that a resnet cannot be built with, or would not read."""
        found = []
        for name, divisor in (("hidden_size", 8), ("num_hidden_layers", 4)):
            if getattr(self, name) > 0 and getattr(self, name) % divisor:
                found.append(f"model.{name}={getattr(self, name)}  must be divisible by {divisor} for model=resnet")
        for unread in dataclasses.fields(self):
            value = getattr(self, unread.name)
            if unread.name not in RESNET_READS and value != unread.default:
                default = "null" if unread.default is None else unread.default
                found.append(
                    f"model.{unread.name}={value}  is not read by model=resnet; leave it out, "
                    f"or set it back to {default} beside model=resnet"
                )
        return found


@dataclass(kw_only=True)
class DataConfig:
    """Which images, from where, and how they are divided."""

    name: str = "cifar10"
    """cifar10, image_folder (any class folders of yours) or shapes (built in, generated)."""
    root: str | None = "data/cifar10"
    """Folder of the images, read and cached there; null for shapes, which need none."""
    download: bool = True
    """Whether CIFAR-10 may be downloaded when it is not found under root."""
    val: str = "split"
    """Where validation images come from: split (held out of training) or test (published practice, marked)."""
    val_fraction: float = 0.1
    """Share of the training images held out for validation, the same in every class."""
    split_seed: int = 0
    """Draws the validation split and train_limit's choice, and generates shapes; the same in every cell."""
    train_limit: int | None = None
    """Train on this many images, the same share of every class; validation shrinks in proportion. null: all."""
    shapes_train: int = 4000
    """Training images that data=shapes generates, validation included."""
    shapes_test: int = 1000
    """Test images that data=shapes generates."""

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break."""
        found = _not_among("data.name", self.name, DATA_SETS) + _not_among("data.val", self.val, VALIDATION_SOURCES)
        if not 0 < self.val_fraction < 1:
            found.append(f"data.val_fraction={self.val_fraction}  must lie in (0, 1)")
        if self.train_limit is not None and self.train_limit < 1:
            found.append(f"data.train_limit={self.train_limit}  must be at least 1, or null for all images")
        if self.name == "image_folder" and not self.root:
            found.append("data.root=null  must name the folder that holds train/<class>/ and test/<class>/")
        if self.name == "cifar10" and not self.root:
            found.append("data.root=null  must name the folder where CIFAR-10 is, or where it is to be put")
        if self.name == "shapes":
            found += _below(self, "data", ("shapes_train", "shapes_test"), 20)
        return found


@dataclass(kw_only=True)
class RecipeConfig:
    """How a cell is trained: optimizer, schedule, augmentation, length."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in one optimizer step."""
    optimizer: str = "adamw"
    """adamw or sgd (Nesterov)."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled for adamw, L2 for sgd; on matrices only, never on biases, norms, class token and positions."""
    momentum: float = 0.9
    """Momentum of sgd; adamw has its own (0.9, 0.999)."""
    schedule: str = "plateau"
    """constant, cosine (to zero at the last step) or plateau (on the validation loss, per epoch)."""
    warmup_epochs: float = 0.0
    """Linear warm-up from zero, in epochs; then the schedule."""
    plateau_factor: float = 0.1
    """What plateau multiplies the learning rate with."""
    plateau_patience: int = 10
    """Epochs without a better validation loss before plateau acts."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the classes, in [0, 1)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; null: not clipped."""
    crop_padding: int = 4
    """Random crop after zero padding by this many pixels on each side; 0: no crop."""
    horizontal_flip: bool = True
    """Whether each training image is mirrored with probability one half."""

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break."""
        found = _below_one(self, "recipe", ("epochs", "batch_size"))
        found += _not_among("recipe.optimizer", self.optimizer, OPTIMIZERS)
        found += _not_among("recipe.schedule", self.schedule, SCHEDULES)
        if not (self.lr > 0 and math.isfinite(self.lr)):
            found.append(f"recipe.lr={self.lr}  must be a positive number")
        for name in ("weight_decay", "warmup_epochs", "plateau_patience", "crop_padding"):
            if not 0 <= getattr(self, name) < math.inf:  # nan compares as false
                found.append(f"recipe.{name}={getattr(self, name)}  must be finite and not negative")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                found.append(f"recipe.{name}={getattr(self, name)}  must lie in [0, 1)")
        if not 0 < self.plateau_factor < 1:
            found.append(f"recipe.plateau_factor={self.plateau_factor}  must lie in (0, 1)")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            found.append(f"recipe.clip_norm={self.clip_norm}  must be positive and finite, or null for no clipping")
        if self.warmup_epochs > self.epochs > 0:
            found.append(f"recipe.warmup_epochs={self.warmup_epochs}  is longer than recipe.epochs={self.epochs}")
        return found


@dataclass(kw_only=True)
class TrackerConfig:
    """Where a copy of the results goes; the record on disk is the truth."""

    name: str = "wandb"
    """wandb or none."""
    mode: str = "auto"
    """auto (WANDB_MODE, else online if an API key is configured, else offline), online, offline or disabled."""
    project: str = "vitsweep"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; null: the account's default."""
    pictures: str | None = "analysis.pictures.draw_cell"
    """Dotted name of the function that draws a finished cell (training graph, rollout sheet); null: no pictures."""
    artifacts: bool = False
    """Whether the best weights and the record are logged as a W&B artifact."""
    patience_seconds: float = 2.0
    """Longest wait for the W&B server, seconds, at a cell's start and again at its end; what is not sent stays on disk
    for `wandb sync`."""
    share_host: bool = False
    """Whether host name, user name and paths may leave the machine."""

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break."""
        found = _not_among("tracker.name", self.name, TRACKERS) + _not_among("tracker.mode", self.mode, TRACKER_MODES)
        bad = sorted(set(self.project) & set("/\\#?%:"))
        if bad or not 0 < len(self.project) <= 128:
            found.append(f"tracker.project={self.project}  must have 1 to 128 characters and none of / \\ # ? % :")
        if self.patience_seconds < 0.5:
            found.append(f"tracker.patience_seconds={self.patience_seconds}  must be at least 0.5")
        return found


DEFAULT_ROPE = 0.5  # percent points


@dataclass(kw_only=True)
class StudyConfig:
    """A study as its file states it."""

    name: str = ""
    """Name of the study and of its directory under outputs/."""
    design: str = "ofat"
    """fraction, grid, list, loco, ofat, pairs or path."""
    baseline: list[str] = field(default_factory=list)
    """Overrides of the configuration that everything is compared with."""
    factors: dict[str, Any] = field(default_factory=dict)
    """Factor -> its levels; a level is an override or a list of overrides."""
    arms: dict[str, Any] = field(default_factory=dict)
    """For design=list: arm -> its override or list of overrides."""
    seeds: Any = 5
    """The replicates: a list of seeds, or how many (0, 1, 2, ...)."""
    exclude: list[Any] = field(default_factory=list)
    """Arms left out: mappings factor -> level; an arm that matches all of one is excluded."""
    resolution: int = 4
    """For design=fraction: the smallest resolution wanted; main effects are clear of pairs from 4 on."""
    placebo: bool = False
    """Whether the baseline is also run under the name placebo, to show what chance alone gives."""
    claims: list[Any] = field(default_factory=list)
    """What is expected, stated before the first run and hashed; judged by the analysis."""
    rope: float = DEFAULT_ROPE
    """Accuracy differences within +- this many percent points count as equivalent."""
    published: dict[str, Any] = field(default_factory=dict)
    """Arm -> value stated elsewhere, in percent; shown beside ours."""


@dataclass(kw_only=True)
class SweepConfig:
    """How the cells of a study are run; nothing here can change a result."""

    dry_run: bool = False
    """Print the plan and stop."""
    probe: bool = False
    """Price the plan by 20 real training steps of each distinct shape on this machine's device."""
    check: bool = True
    """Compare what each arm does with what the baseline does before training, and refuse arms that change nothing."""
    retry: str = "none"
    """failed: train failed and diverged cells again, from the start."""
    isolate: str = "process"
    """process: each cell in a process of its own, so that none can harm another; none: all cells in this process."""
    jobs: str = "auto"
    """Cells at a time on this machine: a number, or auto: one a GPU, and one where there is none."""

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break."""
        found = _not_among("sweep.retry", self.retry, RETRIES) + _not_among("sweep.isolate", self.isolate, ISOLATIONS)
        if self.jobs != "auto" and not (self.jobs.isdigit() and int(self.jobs) > 0):
            found.append(f"sweep.jobs={self.jobs}  must be auto or a number of at least 1")
        elif self.isolate == "none" and self.jobs not in ("auto", "1"):
            found.append(f"sweep.jobs={self.jobs}  needs a process for each cell; use sweep.isolate=process")
        return found


@dataclass(kw_only=True)
class Config:
    """One cell: everything that is needed to train one model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    data: DataConfig = field(default_factory=DataConfig)
    """The images."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """The training."""
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    """The copy for Weights & Biases."""
    study: StudyConfig | None = None
    """The study that is run, if one was chosen; a cell itself has none."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """How a study's cells are run."""
    seed: int = 0
    """The replicate: draws initialisation, data order, augmentation and dropout."""
    device: str = "auto"
    """auto takes cuda, then mps, then cpu."""
    precision: str = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
    compile: str = "auto"
    """torch.compile: auto (where it pays: on cuda), on or off."""
    deterministic: bool = True
    """Whether kernels that could differ between two equal runs are avoided."""
    pack: str = "auto"
    """Cells of a study trained as one program: auto (as many as fit and pay, by measuring), off, or at most so many."""
    checkpoint_seconds: float = 30.0
    """Save the state for resuming at most this often, seconds."""
    checkpoint_every_epochs: int = 0
    """Keep the weights of every so many epochs in `checkpoints/`, for the gallery's view over training; 0: of none."""

    def faults(self) -> list[str]:
        """A sentence for every rule that these values break, all groups together."""
        found = self.model.faults() + self.data.faults() + self.recipe.faults() + self.tracker.faults()
        found += self.sweep.faults()
        if not 0 <= self.seed < 2**32:
            found.append(f"seed={self.seed}  must lie in 0 .. 2**32 - 1")
        found += _not_among("device", self.device, DEVICES) + _not_among("precision", self.precision, PRECISIONS)
        found += _not_among("compile", self.compile, SWITCHES)
        if self.pack not in ("auto", "off") and not (self.pack.isdigit() and int(self.pack) > 0):
            found.append(f"pack={self.pack}  must be auto, off or a number of at least 1")
        if not self.checkpoint_seconds >= 0:
            found.append(f"checkpoint_seconds={self.checkpoint_seconds}  must not be negative")
        if self.checkpoint_every_epochs < 0:
            found.append(f"checkpoint_every_epochs={self.checkpoint_every_epochs}  must not be negative; 0 keeps none")
        if self.data.name == "shapes" and (self.model.image_size != 32 or self.model.num_channels != 3):
            found.append("data=shapes  has 32x32 RGB images; use model.image_size=32 model.num_channels=3")
        if self.data.name == "cifar10" and (self.model.image_size != 32 or self.model.num_channels != 3):
            found.append(
                "data=cifar10  has 32x32 RGB images; use model.image_size=32 model.num_channels=3, "
                "or data=image_folder, which resizes"
            )
        if self.data.name in ("cifar10", "shapes") and self.model.num_classes != 10:
            found.append(f"model.num_classes={self.model.num_classes}  must be 10 for data={self.data.name}")
        if self.model.num_channels not in (1, 3):
            found.append(f"model.num_channels={self.model.num_channels}  must be 3 (colour) or 1 (grey)")
        return found


def from_omegaconf(config: DictConfig) -> Config:
    """The typed, checked configuration of what Hydra composed; keys that are not Config's own are left out.

    Raises:
        ConfigError: values that break a rule, all of them in one message.
    """
    return checked(typed(config))


def typed(config: DictConfig) -> Config:
    """The same, but values that break a rule are let through."""
    names = {f.name for f in dataclasses.fields(Config)}
    plain = {k: v for k, v in OmegaConf.to_container(config, resolve=True).items() if k in names}
    return OmegaConf.to_object(OmegaConf.merge(_schema(), plain))


@cache
def _schema() -> DictConfig:
    return OmegaConf.structured(Config)


def from_dict(values: dict[str, Any]) -> Config:
    """The typed configuration of what `to_dict` wrote (a record's or a plan's `config`)."""
    return from_omegaconf(OmegaConf.create(values))


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dictionaries and values, ready for JSON."""
    return dataclasses.asdict(config)


def checked(config: Config) -> Config:
    """The same configuration, its data folder made absolute, or a refusal that lists every fault.

    Raises:
        ConfigError: values that break a rule.
    """
    faults = config.faults()
    if faults:
        raise ConfigError(faults)
    if config.data.root is not None:
        config.data.root = str(Path(config.data.root).expanduser().absolute())
    return config


def science(config: Config) -> dict[str, Any]:
    """What decides the result, apart from the seed: model, data and recipe, dropout rates filled in, no paths.

    `hidden_dropout_prob` is left out, since it only fills the places and the places are listed; so is `name` of a vit,
    which has the hash that it had when there was no other network.
    """
    # dict(vars()) rather than dataclasses.asdict, which takes ten times as long: the groups hold plain values alone.
    model = dict(vars(config.model))
    if config.model.name == "resnet":
        model = {name: model[name] for name in RESNET_READS}
    else:
        del model["name"], model["hidden_dropout_prob"]
        for place in DROPOUT_PLACES:
            model[f"{place}_dropout_prob"] = config.model.dropout_rate(place)
    data = dict(vars(config.data))
    for name in ("root", "download"):
        del data[name]
    if config.data.name != "shapes":
        del data["shapes_train"], data["shapes_test"]
    return {"model": model, "data": data, "recipe": dict(vars(config.recipe))}


def config_hash(config: Config) -> str:
    """SHA-256 of `science(config)`: two cells with the same hash and seed are the same experiment."""
    text = json.dumps(science(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys: {"model": {"bias": True}} -> {"model.bias": True}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _not_among(key: str, value: str, allowed: tuple[str, ...]) -> list[str]:
    return [] if value in allowed else [f"{key}={value}  is unknown; allowed: {', '.join(sorted(allowed))}"]


def _below(config: Any, group: str, names: tuple[str, ...], bound: int) -> list[str]:
    return [
        f"{group}.{name}={getattr(config, name)}  must be at least {bound}"
        for name in names
        if getattr(config, name) < bound
    ]


def _below_one(config: Any, group: str, names: tuple[str, ...]) -> list[str]:
    return _below(config, group, names, 1)

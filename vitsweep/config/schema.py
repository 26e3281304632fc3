"""Settings: one dataclass per config group with its rules.

Hydra refuses unknown keys and wrong types by these classes. OmegaConf 2.3 has no `typing.Literal`, hence `str` and a
tuple of allowed words, and runs `__post_init__` in `to_object` only, hence `errors()`, which `convert.validate` raises.
"""

import os
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitsweep.added_fields import added_field
from vitsweep.config.checks import (
    check,
    is_word_or_count,
    one_of,
    within,
)
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.recipe.schema import RecipeConfig
from vitsweep.paths import install_command

DATA_SETS = ("cifar10", "image_folder", "shapes")
VALIDATION_SOURCES = ("folder", "split", "test")
TRACKERS = ("wandb", "tensorboard", "mlflow", "trackio")
TRACKER_MODES = ("auto", "disabled", "offline", "online")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bf16", "fp32")
RETRIES = ("failed", "none")
ISOLATIONS = ("none", "process")
SWITCHES = ("auto", "off", "on")
DEFAULT_ROPE = 0.5  # percent points
DEFAULT_SEEDS = 5
UNTIL = ("all", "decided")
FACTORIAL = ("fraction", "grid", "pairs")  # designs whose questions are main effects
SPENDINGS = ("constant", "obrien_fleming", "pocock")
ERRORS = ("paired", "pooled", "welch")
PAIRED = "paired"
MAX_IMAGES = 10_000_000


@dataclass(kw_only=True)
class DataConfig:
    """Settings of the images and their division into training, validation and test sets."""

    name: str = "cifar10"
    """Data set: cifar10, image_folder (your own class folders) or shapes (built in, generated)."""
    root: str | None = "data/cifar10"
    """Folder of the images and of their cache; null for shapes."""
    download: bool = True
    """Permission to download CIFAR-10 when it is not found under root."""
    val: str = "split"
    """Source of validation images: split (held out of training), folder (ROOT/val/ of an image_folder) or test
    (published practice, marked in the report)."""
    val_fraction: float = 0.1
    """Fraction of the training images held out for validation, equal in every class."""
    split_seed: int = 0
    """Seed of the validation split, of the choice of train_limit and test_limit, and of shapes; the same in every
    cell."""
    train_limit: int | None = None
    """Number of training images, the same fraction of every class; validation shrinks in proportion. null: all."""
    soft_train_limit: int | None = added_field(None)
    """Value of train_limit that is no error with fewer images: all of them are used then. null: every limit is one."""
    test_limit: int | None = added_field(None)
    """Number of test images, the same fraction of every class: a small study saves the time of scoring 10,000. null:
    all."""
    shapes_train: int = 4000
    """Number of training images that data=shapes generates, validation included."""
    shapes_test: int = 1000
    """Number of test images that data=shapes generates."""
    fingerprint: str = added_field("")
    """Fingerprint of the images, 64 hexadecimal digits, filled in before a cell is planned; images with another one are
    refused. Empty where the other settings determine the images: shapes and the published CIFAR-10."""

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = one_of(DATA_SETS, "data", self, "name") + one_of(VALIDATION_SOURCES, "data", self, "val")
        found += check("data", self, ["val_fraction"], lambda v: 0 < v < 1, "must lie in (0, 1)")
        limit_rule = "must be at least 1, or null for all images"
        found += check(
            "data", self, ["train_limit", "soft_train_limit", "test_limit"], lambda v: v is None or v >= 1, limit_rule
        )
        if self.val == "folder" and self.name != "image_folder":
            found.append(f"data.val=folder  needs a folder val/, which data={self.name} has not; use data=image_folder")
        if self.name == "image_folder" and not self.root:
            found.append("data.root=null  must name the folder that holds train/<class>/ and test/<class>/")
        if self.name == "cifar10" and not self.root:
            found.append("data.root=null  must name the folder where CIFAR-10 is, or where it is to be put")
        if self.fingerprint and not re.fullmatch(r"[0-9a-f]{64}", self.fingerprint):
            rule = "must be 64 hexadecimal digits, or empty to be filled in"
            found.append(f"data.fingerprint={self.fingerprint}  {rule}")
        if self.name == "shapes":
            found += within(20, MAX_IMAGES, "data", self, ["shapes_train", "shapes_test"])
        return found + check("data", self, ["split_seed"], lambda v: 0 <= v < 2**32, "must lie in 0 .. 2**32 - 1")


@dataclass(kw_only=True)
class TrackerConfig:
    """Settings of the copy of the results; the record on disk remains the source of truth."""

    name: str = "none"
    """W&B: wandb or none. The other trackers have fields of their own, so that tracker=[wandb,mlflow] chooses both."""
    mode: str = "auto"
    """W&B mode: auto (WANDB_MODE, else online if an API key is set, else offline), online, offline or disabled."""
    project: str = "vitsweep"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; null: the account's default."""
    pictures: str | None = "analysis.pictures.draw_cell"
    """Dotted name of the function that draws a finished cell (training graph, rollout sheet); null: no pictures."""
    artifacts: bool = False
    """Upload of the best weights and the record as a W&B artifact."""
    patience_seconds: float = 2.0
    """Longest wait for the W&B server, seconds, at a cell's start and again at its end; the rest stays on disk
    for `wandb sync`."""
    share_host: bool = False
    """Permission to send host name, user name and paths to the server."""
    tensorboard: bool = added_field(False)
    """Event files for TensorBoard, in each cell's folder `tensorboard/`."""
    mlflow: bool = added_field(False)
    """Runs in an MLflow store, nested: study, arm, seed."""
    mlflow_uri: str = added_field("")
    """MLflow's tracking URI; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the working folder."""
    trackio: bool = added_field(False)
    """Runs in trackio's local store."""

    @property
    def names(self) -> list[str]:
        """Return the trackers that are on."""
        return [name for name in TRACKERS if name == self.name or getattr(self, name, False) is True]

    def missing_libraries(self) -> list[str]:
        """Return a message for each tracker whose library is not installed here; its extra has the tracker's name."""
        return [
            f"tracker={name}  needs {name}, which is not installed; install it with: {install_command(name)}"
            for name in self.names
            if name != "wandb" and find_spec(name) is None
        ]

    @property
    def shows_pictures(self) -> bool:
        """Return True if a tracker takes pictures of finished cells."""
        return any(name != "wandb" or self.mode != "disabled" for name in self.names)

    @property
    def store_uri(self) -> str:
        """Return the URI of MLflow's store."""
        return self.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = one_of(("none", "wandb"), "tracker", self, "name") if self.name not in TRACKERS[1:] else []
        if self.name in TRACKERS[1:]:
            found.append(f"tracker.name={self.name}  must be wandb or none; choose others by tracker={self.name}")
        found += one_of(TRACKER_MODES, "tracker", self, "mode")
        if self.mlflow_uri and not self.mlflow:
            found.append(
                f"tracker.mlflow_uri={self.mlflow_uri}  is read by tracker=mlflow only; add it, or leave this out"
            )
        if set(self.project) & set("/\\#?%:") or not 0 < len(self.project) <= 128:
            found.append(f"tracker.project={self.project}  must have 1 to 128 characters and none of / \\ # ? % :")
        return found + check("tracker", self, ["patience_seconds"], lambda v: v >= 0.5, "must be at least 0.5")


def local_folder(uri: str) -> Path | None:
    """Return the folder of an MLflow store on this machine, None for a server or a database elsewhere."""
    scheme, _, rest = uri.partition(":")
    if scheme == "sqlite":
        return Path(rest.removeprefix("///")).absolute().parent
    if scheme == "file" or "://" not in uri:
        return Path(uri.removeprefix("file:").removeprefix("//")).absolute()
    return None


def absolute_store(uri: str) -> str:
    """Return an MLflow URI that means the same from every working folder."""
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().absolute()}"
    return str(Path(uri).expanduser().absolute()) if uri and ":" not in uri else uri


@dataclass(kw_only=True)
class StudyConfig:
    """Content of a study file."""

    name: str = ""
    """Name of the study and of its directory under outputs/."""
    design: str = "ofat"
    """Design: fraction, grid, list, loco, ofat, pairs or path."""
    baseline: list[str] = field(default_factory=list)
    """Overrides of the configuration that everything is compared with."""
    factors: dict[str, Any] = field(default_factory=dict)
    """Factor -> its levels; a level is an override or a list of overrides."""
    arms: dict[str, Any] = field(default_factory=dict)
    """For design=list: arm -> its override or list of overrides."""
    seeds: Any = None
    """Replicates: a list of seeds, their number (0, 1, 2, ...), or {start: 3, max: 12} for a look after each seed from
    the third on; null: as many as the last look, without looks 5."""
    looks: list[int] = added_field([])
    """Numbers of seeds after which the study is judged, growing, the last of them all seeds; [] without looks."""
    spending: str = added_field("")
    """How the 5 % are divided over looks: obrien_fleming (little at early looks), pocock (more) or constant (one bound
    of p at every look); empty: constant for `looks`, obrien_fleming for `seeds: {start, max}`."""
    exclude: list[Any] = field(default_factory=list)
    """Arms left out: mappings factor -> level; an arm that matches all of one is excluded."""
    resolution: int = 4
    """For design=fraction: smallest acceptable resolution; main effects are clear of pairs from 4 on."""
    placebo: bool = False
    """Second run of the baseline, named placebo, which shows the variation by chance alone."""
    claims: list[Any] = field(default_factory=list)
    """Expectations, stated before the first run and hashed; judged by the analysis."""
    interactions: list[Any] = added_field([])
    """For design=fraction, grid or pairs: interactions tested in one family with the main effects, each a pair of
    factors or levels: [[depth, dropout]]."""
    rope: float = DEFAULT_ROPE
    """Half-width of the region of practical equivalence, percent points of accuracy."""
    error: str = added_field(PAIRED)
    """Error of the tests: paired (each arm's own differences by seed), pooled (one variance of all arms, seeds as
    blocks) or welch (each arm's own variance, unpaired); declared before the first run."""
    tune: dict[str, Any] = added_field({})
    """Search of nuisance parameters that every arm gets on validation images: parameters, trials, seeds, sampler,
    sampler_seed, metric; the study is judged at the baseline's setting and at each arm's own. {}: none."""
    published: dict[str, Any] = field(default_factory=dict)
    """Arm -> value published elsewhere, percent, or {value, n, source}; shown beside the study's own."""
    scale: dict[str, Any] = added_field({})
    """Small version of the study: any of images (training images), epochs and seeds; times in epochs are scaled too."""


@dataclass(kw_only=True)
class SweepConfig:
    """Settings of the execution of a study's cells; none changes a result, except that `jobs` changes its rounding."""

    dry_run: bool = False
    """Print the plan and stop."""
    probe: bool = False
    """Cost estimate from 20 real training steps of each distinct shape on this machine's device."""
    check: bool = True
    """Comparison of each arm with the baseline before training; arms that change nothing are refused."""
    retry: str = "none"
    """failed: train failed and diverged cells again, from the start; none: leave them."""
    isolate: str = "process"
    """process: one process per cell, so that a crash ends one cell only; none: all cells in this process."""
    until: str = added_field("all")
    """all: every planned cell is trained; decided: after each look only the cells of arms that are still open."""
    budget_runs: int | None = added_field(None)
    """For until=decided: largest number of runs of the study, those of earlier starts included; null: no limit."""
    detach: bool = added_field(False)
    """With hydra/launcher=submitit_slurm: submit jobs and return; they train the cells and write the report."""
    cells_per_job: int = added_field(1)
    """For detach: number of cells in one job, `jobs` of them at a time and in packs as on one machine."""
    max_queued: int | None = added_field(None)
    """For detach: largest number of this study's jobs in the queue at a time, the last one included; null: as many as
    Slurm allows."""
    size_jobs: bool = added_field(True)
    """For detach: time limit and memory of a job by the study's finished cells, at most the launcher's timeout_min and
    mem_gb; false: always the launcher's."""
    on_end: str = added_field("")
    """Command of the shell that gets a summary as JSON when the sweep has ended or stopped; kept out of records."""
    jobs: str = "auto"
    """Number of cells at a time on this machine, or auto: one per GPU, one without a GPU. They share the CPU's threads,
    whose number decides the last bits of sums on the CPU."""

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        found = one_of(RETRIES, "sweep", self, "retry") + one_of(ISOLATIONS, "sweep", self, "isolate")
        found += one_of(UNTIL, "sweep", self, "until")
        found += check("sweep", self, ["budget_runs"], lambda v: v is None or v >= 1, "must be at least 1, or null")
        if self.budget_runs is not None and self.until != "decided":
            found.append(f"sweep.budget_runs={self.budget_runs}  is read by sweep.until=decided only; add it")
        found += check("sweep", self, ["max_queued"], lambda v: v is None or v >= 3, "must be at least 3, or null")
        found += check("sweep", self, ["cells_per_job"], lambda v: v >= 1, "must be at least 1")
        if self.cells_per_job != 1 and not self.detach:
            found.append(f"sweep.cells_per_job={self.cells_per_job}  is read by sweep.detach=true only; add it")
        if not self.size_jobs and not self.detach:
            found.append("sweep.size_jobs=false  is read by sweep.detach=true only; add it")
        if self.detach and self.cells_per_job == 1 and self.jobs not in ("auto", "1"):
            found.append(f"sweep.jobs={self.jobs}  needs several cells in a job; add sweep.cells_per_job=N")
        if self.max_queued is not None and not self.detach:
            found.append(f"sweep.max_queued={self.max_queued}  is read by sweep.detach=true only; add it")
        if self.detach and self.until == "decided":
            found.append("sweep.detach=true  cannot judge looks (sweep.until=decided); leave one of the two out")
        if self.detach and self.isolate == "none":
            found.append("sweep.detach=true  trains each cell in a process of its own; use sweep.isolate=process")
        if not is_word_or_count(self.jobs, "auto"):
            found.append(f"sweep.jobs={self.jobs}  must be auto or a number of at least 1")
        elif self.isolate == "none" and self.jobs not in ("auto", "1"):
            found.append(f"sweep.jobs={self.jobs}  needs a process for each cell; use sweep.isolate=process")
        return found


@dataclass(kw_only=True)
class Config:
    """Settings of one cell: everything that is needed to train one model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Network."""
    data: DataConfig = field(default_factory=DataConfig)
    """Images."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """Training."""
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    """Copies for W&B, TensorBoard, MLflow or trackio."""
    study: StudyConfig | None = None
    """Study that is run, if one was chosen; null in the configuration of a cell."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """Execution of a study's cells."""
    seed: int = 0
    """Replicate: seed of initialization, data order, augmentation and dropout."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (cuda, then mps, then cpu)."""
    precision: str = "auto"
    """Precision: bf16, fp32, or auto (bf16 where the hardware multiplies it natively, else fp32)."""
    compile: str = "auto"
    """Use of torch.compile: auto (on cuda, where it pays), on or off."""
    deterministic: bool = True
    """Exclusion of kernels that could differ between two equal runs."""
    pack: str = "auto"
    """Number of a study's cells trained as one program: auto (measured), off, or the largest number."""
    checkpoint_seconds: float = 30.0
    """Shortest time between two saves of the state for resuming, seconds."""
    checkpoint_every_epochs: int = 0
    """Period of the weights kept in `checkpoints/` for the gallery's view over training, epochs; 0: none are kept."""

    def errors(self) -> list[str]:
        """Return one message for each broken rule, all groups together."""
        found = self.model.errors() + self.data.errors() + self.recipe.errors() + self.tracker.errors()
        found += self.sweep.errors()
        found += check("", self, ["seed"], lambda v: 0 <= v < 2**32, "must lie in 0 .. 2**32 - 1")
        found += one_of(DEVICES, "", self, "device") + one_of(PRECISIONS, "", self, "precision")
        found += one_of(SWITCHES, "", self, "compile")
        pack_rule = "must be auto, off or a number of at least 1"
        found += check("", self, ["pack"], lambda v: is_word_or_count(v, "auto", "off"), pack_rule)
        found += check("", self, ["checkpoint_seconds"], lambda v: v >= 0, "must not be negative")
        every_rule = "must not be negative; 0 keeps none"
        found += check("", self, ["checkpoint_every_epochs"], lambda v: v >= 0, every_rule)
        return found + self._image_errors()

    def _image_errors(self) -> list[str]:
        """Return one message for each rule between the model and the data that is broken."""
        found, model = [], self.model
        if self.recipe.optimizer == "muon" and model.name == "resnet":
            found.append(
                "recipe.optimizer=muon  needs matrices in blocks, which model=resnet has not; use sgd or adamw"
            )
        if self.recipe.is_mixing and model.num_classes == 1:
            found.append(f"model.num_classes={model.num_classes}  leaves nothing to mix; use recipe/augment=none")
        if self.data.name in ("cifar10", "shapes"):
            if model.image_size != 32 or model.num_channels != 3:
                resize = ", or data=image_folder, which resizes" if self.data.name == "cifar10" else ""
                found.append(
                    f"data={self.data.name}  has 32x32 RGB images; use model.image_size=32 model.num_channels=3{resize}"
                )
            if model.num_classes != 10:
                found.append(f"model.num_classes={model.num_classes}  must be 10 for data={self.data.name}")
        return found + check("model", model, ["num_channels"], lambda v: v in (1, 3), "must be 3 (color) or 1 (gray)")

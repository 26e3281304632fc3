"""Every rule of the configuration refuses with the right message: key=value, two blanks, rule, what is allowed.

Every number and every text with a limited choice has a rule; every field has a docstring.
"""

import ast
import dataclasses
import inspect
import re

import pytest

from vitsweep.config.convert import flatten, to_dict, validate
from vitsweep.config.schema import Config, StudyConfig
from vitsweep.errors import ConfigError

GROUPS = {f.name: f.type for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type)}
FREE_NUMBERS = {"data.split_seed"}
FREE_TEXTS = {"data.root", "sweep.on_end", "tracker.entity", "tracker.pictures"}
AT_LEAST_ONE = "must be at least 1"
FINITE = "must be finite and not negative"
RULES = {
    "model.name='mlp'": ["model.name=mlp  is unknown; allowed: resnet, vit"],
    "model.name='resnet'; model.hidden_size=250; model.num_hidden_layers=12": [
        "model.hidden_size=250  must be divisible by 8 for model=resnet"
    ],
    "model.name='resnet'; model.num_hidden_layers=6": [
        "model.num_hidden_layers=6  must be divisible by 4 for model=resnet"
    ],
    "model.name='resnet'; model.num_hidden_layers=12; model.patch_size=8": [
        "model.patch_size=8  is not read by model=resnet; leave it out, or set it back to 4 beside model=resnet"
    ],
    "model.image_size=0": [
        f"model.image_size=0  {AT_LEAST_ONE}",
        "data=cifar10  has 32x32 RGB images; use "
        "model.image_size=32 model.num_channels=3, or data=image_folder, which resizes",
    ],
    "model.patch_size=0": [f"model.patch_size=0  {AT_LEAST_ONE}"],
    "model.patch_size=5": ["model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32"],
    "model.num_channels=0": [
        f"model.num_channels=0  {AT_LEAST_ONE}",
        "data=cifar10  has 32x32 RGB images; use model.image_size=32 model.num_channels=3, or data=image_folder, "
        "which resizes",
        "model.num_channels=0  must be 3 (color) or 1 (gray)",
    ],
    "model.hidden_size=0": [f"model.hidden_size=0  {AT_LEAST_ONE}"],
    "model.hidden_size=100": [
        "model.hidden_size=100  is not divisible by model.num_attention_heads=8; "
        "allowed heads: 1, 2, 4, 5, 10, 20, 25, 50, 100"
    ],
    "model.num_hidden_layers=0": [f"model.num_hidden_layers=0  {AT_LEAST_ONE}"],
    "model.num_attention_heads=0": [f"model.num_attention_heads=0  {AT_LEAST_ONE}"],
    "model.intermediate_size=0": [f"model.intermediate_size=0  {AT_LEAST_ONE}"],
    "model.num_classes=1": [
        "model.num_classes=1  must be at least 2",
        "model.num_classes=1  must be 10 for data=cifar10",
    ],
    "model.patchify_method='cnn'": [
        "model.patchify_method=cnn  is unknown; allowed: cct, conv, conv_stem, linear, linear_norm, overlap, spt"
    ],
    "model.norm_layer='batchnorm'": ["model.norm_layer=batchnorm  is unknown; allowed: layernorm, rmsnorm"],
    "model.pos_embed='sincos'": [
        "model.pos_embed=sincos  is unknown; allowed: learned, learned_rope2d, none, relative, rope2d, sincos1d, "
        "sincos2d; did you mean sincos2d?"
    ],
    "model.drop_path_rate=1.0": ["model.drop_path_rate=1.0  must lie in [0, 1)"],
    "model.num_register_tokens=-1": ["model.num_register_tokens=-1  must be at least 0"],
    "model.layerscale_value=0.0": ["model.layerscale_value=0.0  must be positive and finite, or null"],
    "model.pos_embed_std=0.0": ["model.pos_embed_std=0.0  must be positive and finite"],
    "model.patchify_method='cct'; model.patch_size=1": [
        "model.patch_size=1  must be a power of 2 from 2 on for model.patchify_method=cct, which halves the image"
    ],
    "model.patchify_method='spt'; model.patch_size=1": [
        "model.patch_size=1  must be even for model.patchify_method=spt, which shifts by half a patch"
    ],
    "model.patchify_method='overlap'; model.patch_kernel_size=4": [
        "model.patch_kernel_size=4  must be odd, above model.patch_size=4 and at most model.image_size=32 for "
        "model.patchify_method=overlap"
    ],
    "model.patchify_method='cct'; model.patch_kernel_size=4": [
        "model.patch_kernel_size=4  must be odd and at most model.image_size=32 for model.patchify_method=cct"
    ],
    "model.patch_kernel_size=5": [
        "model.patch_kernel_size=5  is not read with model.patchify_method=conv; set it back to null, or use "
        "model.patchify_method=overlap or cct"
    ],
    "model.pos_embed='rope2d'; model.patch_size=32": [
        "model.pos_embed=rope2d  needs a grid of patches, not one patch; use a smaller model.patch_size"
    ],
    "model.pos_embed='rope2d'; model.head_dim=18": [
        "model.pos_embed=rope2d  needs heads whose width is divisible by 4 (rows and columns, sine and cosine); here "
        "it is 18, see model.num_attention_heads, model.head_dim"
    ],
    "model.pos_embed='sincos2d'; model.hidden_size=90; model.num_attention_heads=9": [
        "model.hidden_size=90  must be divisible by 4, and at least 8, for model.pos_embed=sincos2d"
    ],
    "model.pos_embed='none'; model.rope_theta=10.0": [
        "model.rope_theta=10.0  is not read with model.pos_embed=none; set it back to 100.0, or use "
        "model.pos_embed=rope2d or learned_rope2d"
    ],
    "model.pos_embed='rope2d'; model.register_rope_theta=100.0; model.num_register_tokens=3": [
        "model.register_rope_theta=100.0  needs a square number of registers, here model.num_register_tokens=3; use 1, "
        "4 or 9, or null"
    ],
    "model.patch_drop_rate=0.5; model.global_pool='seqpool'": [
        "model.patch_drop_rate=0.5  leaves out tokens that model.global_pool=seqpool weighs; use another pooling, or "
        "set it to 0"
    ],
    "model.patch_drop_rate=0.5; model.patch_size=32": [
        "model.patch_drop_rate=0.5  needs several patches; use a smaller patch_size"
    ],
    "model.use_swiglu_ffn=True; model.hidden_act='relu'": [
        "model.hidden_act=relu  is not read with model.use_swiglu_ffn=true, which has SiLU; set it back to gelu, or "
        "use model.use_swiglu_ffn=false"
    ],
    "model.drop_path_schedule='constant'": [
        "model.drop_path_schedule=constant  is not read with model.drop_path_rate=0; set it back to linear, or use a "
        "rate above 0"
    ],
    "model.parallel_block=True; model.norm_place='post'": [
        "model.parallel_block=true  has one norm, before both branches, not model.norm_place=post; use pre, or false"
    ],
    "model.fc_norm=True": [
        "model.fc_norm=true  would norm the class token a second time; use model.global_pool=avg, map or seqpool, or "
        "false"
    ],
    "model.lsa=True; model.global_pool='avg'; model.patch_size=32": [
        "model.lsa=true  leaves a lone token nothing to attend to; use a smaller model.patch_size"
    ],
    "model.weight_init='mimetic'; model.head_dim=16": [
        "model.weight_init=mimetic  needs heads that together have model.hidden_size=256, here 128; set "
        "model.head_dim=null"
    ],
    "model.global_pool='map'; model.hidden_size=90; model.head_dim=16": [
        "model.global_pool=map  needs model.hidden_size=90 divisible by model.num_attention_heads; allowed heads: 1, "
        "2, 3, 5, 6, 9, 10, 15, 18, 30, 45, 90"
    ],
    "model.name='resnet'; model.num_hidden_layers=12; model.qk_norm=True": [
        "model.qk_norm=True  is not read by model=resnet; leave it out, or set it back to False beside model=resnet"
    ],
    "model.hidden_dropout_prob=1.0": ["model.hidden_dropout_prob=1.0  must lie in [0, 1)"],
    "model.head_dropout_prob=float('nan')": ["model.head_dropout_prob=nan  must lie in [0, 1)"],
    "data.name='mnist'": ["data.name=mnist  is unknown; allowed: cifar10, image_folder, shapes"],
    "data.val='train'": ["data.val=train  is unknown; allowed: folder, split, test"],
    "data.val='folder'": ["data.val=folder  needs a folder val/, which data=cifar10 has not; use data=image_folder"],
    "data.val_fraction=1.0": ["data.val_fraction=1.0  must lie in (0, 1)"],
    "data.train_limit=0": ["data.train_limit=0  must be at least 1, or null for all images"],
    "data.test_limit=0": ["data.test_limit=0  must be at least 1, or null for all images"],
    "data.root=None": ["data.root=null  must name the folder where CIFAR-10 is, or where it is to be put"],
    "data.name='image_folder'; data.root=None": [
        "data.root=null  must name the folder that holds train/<class>/ and test/<class>/"
    ],
    "data.name='shapes'; data.shapes_train=19": ["data.shapes_train=19  must be at least 20"],
    "data.name='shapes'; data.shapes_test=19": ["data.shapes_test=19  must be at least 20"],
    "data.name='shapes'; model.image_size=64": [
        "data=shapes  has 32x32 RGB images; use model.image_size=32 model.num_channels=3"
    ],
    "recipe.epochs=0": [f"recipe.epochs=0  {AT_LEAST_ONE}"],
    "recipe.batch_size=0": [f"recipe.batch_size=0  {AT_LEAST_ONE}"],
    "recipe.optimizer='adam'": [
        "recipe.optimizer=adam  is unknown; allowed: adamw, lion, muon, schedule_free_adamw, sgd; did you mean adamw?"
    ],
    "recipe.schedule='step'": [
        "recipe.schedule=step  is unknown; allowed: constant, cosine, linear, plateau, warmup_stable_decay"
    ],
    "recipe.lr=0.0": ["recipe.lr=0.0  must be a positive number"],
    "recipe.lr=float('inf')": ["recipe.lr=inf  must be a positive number"],
    "recipe.weight_decay=float('nan')": [f"recipe.weight_decay=nan  {FINITE}"],
    "recipe.warmup_epochs=-1.0": [f"recipe.warmup_epochs=-1.0  {FINITE}"],
    "recipe.warmup_epochs=101.0": ["recipe.warmup_epochs=101.0  is longer than recipe.epochs=100"],
    "recipe.plateau_patience=-1": [f"recipe.plateau_patience=-1  {FINITE}"],
    "recipe.crop_padding=-1": [f"recipe.crop_padding=-1  {FINITE}"],
    "recipe.momentum=1.0": ["recipe.momentum=1.0  must lie in [0, 1)"],
    "recipe.label_smoothing=1.0": ["recipe.label_smoothing=1.0  must lie in [0, 1)"],
    "recipe.plateau_factor=1.0": ["recipe.plateau_factor=1.0  must lie in (0, 1)"],
    "recipe.auto_augment='randaugmnt'": [
        "recipe.auto_augment=randaugmnt  is unknown; "
        "allowed: autoaugment, none, randaugment, timm_randaugment, trivialaugment; did you mean randaugment?"
    ],
    "recipe.auto_augment='randaugment'; recipe.randaugment_magnitude=9.5": [
        "recipe.randaugment_magnitude=9.5  must be a whole number from 0 to 30"
    ],
    "recipe.auto_augment='timm_randaugment'; recipe.randaugment_magnitude=11.0": [
        "recipe.randaugment_magnitude=11.0  must be a number from 0 to 10"
    ],
    "recipe.randaugment_magnitude=10.0": [
        "recipe.randaugment_magnitude=10.0  is read only where "
        "recipe.auto_augment is randaugment or timm_randaugment; leave it out, or set that"
    ],
    "recipe.mixup_prob=0.5": [
        "recipe.mixup_prob=0.5  is read only where "
        "recipe.mixup_alpha or recipe.cutmix_alpha is above 0; leave it out, or set that"
    ],
    "recipe.mixup_alpha=0.8; recipe.loss='multi_margin'": [
        "recipe.mixup_alpha=0.8  makes soft targets, which recipe.loss=multi_margin cannot take; "
        "use recipe.mixup_alpha=0, or recipe.loss=cross_entropy"
    ],
    "recipe.label_smoothing=0.1; recipe.loss='multi_margin'": [
        "recipe.label_smoothing=0.1  makes soft targets, which recipe.loss=multi_margin cannot take; "
        "use recipe.label_smoothing=0, or recipe.loss=cross_entropy"
    ],
    "recipe.cutmix_alpha=1.0; model.num_classes=1; data.name='image_folder'": [
        "model.num_classes=1  must be at least 2",
        "model.num_classes=1  leaves nothing to mix; use recipe/augment=none",
    ],
    "recipe.ema_decay=0.0": ["recipe.ema_decay=0.0  must lie in (0, 1), or be null for no average"],
    "recipe.beta1=0.0": ["recipe.beta1=0.0  must lie in (0, 1), or be null for the optimizer's own"],
    "recipe.optimizer='sgd'; recipe.beta2=0.9": [
        "recipe.beta2=0.9  is read only where recipe.optimizer is not sgd; leave it out, or set that"
    ],
    "recipe.min_lr=0.01": ["recipe.min_lr=0.01  must be at most recipe.lr"],
    "recipe.gradient_accumulation_steps=3": [
        "recipe.gradient_accumulation_steps=3  must be at least 1 and divide recipe.batch_size=128"
    ],
    "recipe.cooldown_epochs=10.0": [
        "recipe.cooldown_epochs=10.0  is read only where "
        "recipe.schedule is one of cosine, linear, warmup_stable_decay; leave it out, or set that"
    ],
    "recipe.schedule='cosine'; recipe.cooldown_epochs=60.0; recipe.warmup_epochs=50.0": [
        "recipe.epochs=100  is shorter than recipe.warmup_epochs=50.0 recipe.cooldown_epochs=60.0 together"
    ],
    "recipe.schedule='warmup_stable_decay'": [
        "recipe.decay_epochs=0.0  must be above 0 for recipe.schedule=warmup_stable_decay"
    ],
    "recipe.optimizer='schedule_free_adamw'; recipe.schedule='cosine'": [
        "recipe.schedule=cosine  must be constant for recipe.optimizer=schedule_free_adamw, "
        "whose averages take the place of a schedule; use recipe.schedule=constant, with a warm-up"
    ],
    "recipe.optimizer='schedule_free_adamw'; recipe.schedule='constant'; recipe.ema_decay=0.9": [
        "recipe.ema_decay=0.9  must be null for recipe.optimizer=schedule_free_adamw, "
        "whose weights are averages already"
    ],
    "recipe.optimizer='muon'; model.name='resnet'; model.num_hidden_layers=12": [
        "recipe.optimizer=muon  needs matrices in blocks, which model=resnet has not; use sgd or adamw"
    ],
    "recipe.clip_norm=0.0": ["recipe.clip_norm=0.0  must be positive and finite, or null for no clipping"],
    "tracker.name='mlflow'": ["tracker.name=mlflow  must be wandb or none; choose others by tracker=mlflow"],
    "tracker.mode='on'": ["tracker.mode=on  is unknown; allowed: auto, disabled, offline, online"],
    "tracker.project='a/b'": ["tracker.project=a/b  must have 1 to 128 characters and none of / \\ # ? % :"],
    "tracker.patience_seconds=0.1": ["tracker.patience_seconds=0.1  must be at least 0.5"],
    "sweep.retry='all'": ["sweep.retry=all  is unknown; allowed: failed, none"],
    "sweep.isolate='thread'": ["sweep.isolate=thread  is unknown; allowed: none, process"],
    "sweep.jobs='0'": ["sweep.jobs=0  must be auto or a number of at least 1"],
    "sweep.jobs='2'; sweep.isolate='none'": ["sweep.jobs=2  needs a process for each cell; use sweep.isolate=process"],
    "seed=-1": ["seed=-1  must lie in 0 .. 2**32 - 1"],
    "device='tpu'": ["device=tpu  is unknown; allowed: auto, cpu, cuda, mps; did you mean cpu?"],
    "precision='fp16'": ["precision=fp16  is unknown; allowed: auto, bf16, fp32; did you mean bf16?"],
    "compile='yes'": ["compile=yes  is unknown; allowed: auto, off, on"],
    "pack='none'": ["pack=none  must be auto, off or a number of at least 1"],
    "checkpoint_seconds=-1.0": ["checkpoint_seconds=-1.0  must not be negative"],
    "checkpoint_every_epochs=-1": ["checkpoint_every_epochs=-1  must not be negative; 0 keeps none"],
    "checkpoint_seconds=float('nan')": ["checkpoint_seconds=nan  must not be negative"],
}


def changed(changes: str) -> Config:
    """The default configuration with Python assignments made to it."""
    config = Config()
    config.data.root = "/somewhere"
    for change in changes.split("; "):
        exec(f"config.{change}", {"config": config})
    return config


@pytest.mark.parametrize("changes", RULES)
def test_broken_rule_gives_its_message(changes):
    with pytest.raises(ConfigError) as refusal:
        validate(changed(changes))
    assert refusal.value.errors == RULES[changes]


def test_messages_have_one_form():
    for message in (message for found in RULES.values() for message in found):
        rule = re.fullmatch(r"\S+=\S*  (\S.*\S)", message)[1]
        assert rule[0].islower() and not rule.endswith(".") and message.isascii()


def keys_of(*kinds: str) -> list[str]:
    """Dotted keys of the fields, the study's aside, whose annotation names one of the types."""
    kinds_of_groups = ({"": Config} | GROUPS).items()
    fields = [(f"{group}.{f.name}".lstrip("."), f) for group, kind in kinds_of_groups for f in dataclasses.fields(kind)]
    return [key for key, f in fields if set(re.findall(r"\w+", str(f.type).replace("class", ""))) & set(kinds)]


@pytest.mark.parametrize("key", [key for key in keys_of("int", "float") if key not in FREE_NUMBERS])
def test_every_number_has_a_rule(key):
    made_up = changed(f"{key}=-1; data.name='shapes'")
    assert any(message.startswith(f"{key}=-1  ") for message in made_up.errors())


@pytest.mark.parametrize("key", [key for key in keys_of("str") if key not in FREE_TEXTS])
def test_every_text_has_a_rule(key):
    assert any(message.startswith(f"{key}=a/b  ") for message in changed(f"{key}='a/b'").errors())


def test_default_configuration_breaks_no_rule():
    assert changed("seed=0").errors() == []


def test_config_names_all_errors_in_one_message():
    with pytest.raises(ConfigError) as refusal:
        validate(changed("model.patch_size=5; recipe.lr=-1.0; seed=-1"))
    assert len(refusal.value.errors) == 3


@pytest.mark.parametrize("kind", [Config, StudyConfig, *GROUPS.values()], ids=lambda k: k.__name__)
def test_config_field_has_a_docstring(kind):
    tree = ast.parse(inspect.getsource(kind)).body[0]
    documented = {
        before.target.id
        for before, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and after.value.value.strip().endswith((".", ")"))
    }
    assert {f.name for f in dataclasses.fields(kind)} == documented


def test_config_options_are_pinned():
    """The option list is a public surface: who changes it changes this list too."""
    keys = sorted(flatten(to_dict(Config())))
    assert len(keys) == len(set(keys))
    assert [k for k in keys if "." not in k] == [
        "checkpoint_every_epochs",
        "checkpoint_seconds",
        "compile",
        "deterministic",
        "device",
        "pack",
        "precision",
        "seed",
        "study",
    ]

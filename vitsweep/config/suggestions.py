"""Suggestions for an unknown key: a similar key of ours, or our name of a setting of another library."""

import dataclasses
import difflib
import re

from vitsweep.config.schema import Config, StudyConfig
from vitsweep.paths import conf_dir

ALL_KEYS = "see --cfg job for all keys"

OTHER_NAMES = {
    "model.hidden_size": "dim embed_dim embedding_dim d_model n_embd emb_size width hidden_dim",
    "model.num_hidden_layers": "depth layers num_layers n_layer n_layers num_blocks blocks",
    "model.num_attention_heads": "heads num_heads n_head n_heads nhead attention_heads",
    "model.intermediate_size": "mlp_dim mlp_ratio ffn_dim dim_feedforward d_ff mlp_size hidden_features",
    "model.hidden_dropout_prob": "dropout drop_rate dropout_rate dropout_prob drop p_dropout resid_pdrop",
    "model.embedding_dropout_prob": "emb_dropout pos_drop_rate embd_pdrop embed_dropout",
    "model.attention_probs_dropout_prob": "attn_drop_rate attn_dropout attention_dropout attn_pdrop attn_drop",
    "model.attention_output_dropout_prob": "proj_drop_rate proj_drop",
    "model.bias": "use_bias add_bias proj_bias mlp_bias",
    "model.drop_path_rate": "drop_path stochastic_depth layerdrop drop_path_prob",
    "model.drop_key_rate": "drop_key dropkey",
    "model.patch_drop_rate": "patch_drop patch_dropout token_drop",
    "model.hidden_act": "act_layer activation act hidden_activation act_fn",
    "model.use_swiglu_ffn": "swiglu use_gated_mlp gated_mlp",
    "model.norm_layer": "norm rms_norm norm_type",
    "model.parallel_block": "parallel_attn parallel_residual use_parallel_residual parallel_scaling",
    "model.norm_place": "norm_first pre_norm post_norm do_layer_norm_before",
    "model.qk_norm": "use_qk_norm qk_layernorm query_key_norm",
    "model.layerscale_value": "init_values layer_scale_init_value ls_init_value",
    "model.global_pool": "pool pooling class_token pool_type",
    "model.num_register_tokens": "reg_tokens num_registers num_reg_tokens",
    "model.pos_embed": "position_embedding position_embeddings pos_emb positional_encoding rel_pos_type use_rotary_emb",
    "model.rope_theta": "rope_base rotary_base theta",
    "model.head_dim": "dim_head attention_head_size head_size",
    "model.weight_init": "init initializer initialization",
    "model.lsa": "is_lsa",
    "model.image_size": "img_size input_size resolution image_dim",
    "model.num_channels": "in_chans in_channels channels",
    "model.num_classes": "n_classes classes num_labels",
    "model.patch_size": "patch patches",
    "model.name": "arch architecture model_name network",
    "recipe.lr": "learning_rate base_lr lr_max max_lr initial_lr",
    "recipe.weight_decay": "wd decay l2 weight_decay_rate",
    "recipe.batch_size": "batch bs train_batch_size per_device_train_batch_size batchsize",
    "recipe.epochs": "num_epochs max_epochs n_epochs num_train_epochs epoch",
    "recipe.optimizer": "opt optim optimizer_name",
    "recipe.schedule": "sched scheduler lr_scheduler lr_scheduler_type lr_schedule",
    "recipe.warmup_epochs": "warmup warmup_steps num_warmup_steps warmup_ratio",
    "recipe.label_smoothing": "smoothing label_smoothing_factor",
    "recipe.clip_norm": "clip_grad grad_clip max_grad_norm gradient_clip_val gradient_clip_norm clip",
    "recipe.horizontal_flip": "hflip flip random_flip",
    "recipe.crop_padding": "crop random_crop",
    "recipe.crop_padding_mode": "padding_mode",
    "recipe.resized_crop_min_area": "random_resized_crop rrc resized_crop",
    "recipe.auto_augment": "aa randaugment rand_augment autoaugment trivialaugment trivial_augment",
    "recipe.randaugment_num_ops": "num_ops num_layers_randaugment ra_n",
    "recipe.randaugment_magnitude": "magnitude ra_m",
    "recipe.random_erasing_prob": "reprob random_erasing random_erase re_prob cutout",
    "recipe.random_erasing_mode": "remode",
    "recipe.mixup_alpha": "mixup",
    "recipe.cutmix_alpha": "cutmix cutmix_prob",
    "recipe.loss": "criterion loss_fn bce_loss",
    "recipe.momentum": "sgd_momentum muon_momentum",
    "recipe.decay_groups": "no_weight_decay weight_decay_exclude_1d decay_mask",
    "recipe.beta1": "betas adam_beta1 opt_betas",
    "recipe.beta2": "adam_beta2",
    "recipe.min_lr": "lr_min eta_min end_lr final_lr",
    "recipe.warmup_lr": "warmup_start_lr warmup_init_lr",
    "recipe.average_last": "swa lawa average_checkpoints avg_last",
    "recipe.ema_decay": "ema model_ema model_ema_decay",
    "recipe.gradient_accumulation_steps": "grad_accum accumulate_grad_batches grad_accum_steps accumulation_steps",
    "data": "dataset data_set dataset_name",
    "data.root": "data_dir data_path dataset_dir data_root",
    "data.train_limit": "limit_train_batches max_train_samples train_size num_train subset",
    "data.test_limit": "limit_test_batches max_eval_samples max_predict_samples test_size num_test",
    "data.val_fraction": "val_size val_split validation_split val_ratio",
    "precision": "amp fp16 bf16 dtype mixed_precision use_amp",
    "device": "gpu gpus accelerator cuda devices",
    "compile": "torch_compile torchcompile",
    "deterministic": "use_deterministic_algorithms",
    "sweep.jobs": "jobs n_jobs num_jobs parallel",
    "sweep.dry_run": "dry_run dryrun",
    "sweep.detach": "detach background no_wait submit_only fire_and_forget",
    "sweep.cells_per_job": "jobs_per_allocation jobs_per_node tasks_per_job",
    "sweep.on_end": "on_end notify callback webhook",
    "tracker": "logger wandb use_wandb report_to",
    "tracker.project": "wandb_project project_name",
    "tracker.mode": "wandb_mode",
    "hydra.run.dir": "output_dir out_dir save_dir log_dir outdir output",
    "seed": "num_seeds n_seeds random_seed random_state",
    "study.claims": "claim hypotheses",
}
"""Our name of a setting -> words for it in timm, Transformers, vit-pytorch, nanoGPT, Lightning and torchvision."""

NOT_HERE = {
    "the epsilon of norms; it is 1e-6": "layer_norm_eps norm_eps rms_norm_eps",
    "the standard deviation of the matrices; it is 0.02": "initializer_range init_std",
    "loader processes; the images are kept in memory": "num_workers workers dataloader_num_workers pin_memory prefetch",
    "the epsilon of an optimizer": "eps adam_epsilon opt_eps",
    "pretrained weights": "pretrained checkpoint_path finetune weights init_from",
    "a switch for resuming; the same command again resumes": "resume resume_from resume_from_checkpoint ckpt_path",
    "training over several GPUs": "world_size num_nodes strategy ddp fsdp dist_url local_rank",
}
"""What this version has no setting of -> words for it elsewhere."""

EXPERIMENT = (
    "; a study file does this here: study=NAME, of conf/study or of FOLDER/study with --config-dir=FOLDER; a file "
    "FOLDER/experiment/NAME.yaml of your own is chosen by --config-dir=FOLDER +experiment=NAME"
)
"""Answer to the pattern of Hydra's documentation, a group `experiment` of whole configurations."""

_OURS = {word: key for key, words in OTHER_NAMES.items() for word in words.split()}
_ABSENT = {word: what for what, words in NOT_HERE.items() for word in words.split()}


def did_you_mean(key: str) -> str:
    """Return `; did you mean ...?` for an unknown key or group, or that there is no such setting; else nothing."""
    if key in ("experiment", "experiments"):
        return EXPERIMENT
    last = re.split(r"[./]", key)[-1]
    word = last.lower().replace("-", "_")
    if similar := _similar_key(key, last, cutoff=0.9):
        is_group = "/" in similar and "/" not in key  # `depth` names a group of ours, and a number elsewhere
        other = _OURS.get(word, "") if is_group else ""
        return f"; did you mean {similar} or {other}?" if other else f"; did you mean {similar}?"
    if _OURS.get(word, key) != key:
        return f"; did you mean {_OURS[word]}?"
    if word in _ABSENT:
        return f"; this version has no setting for {_ABSENT[word]}"
    similar = _similar_key(key, last, cutoff=0.8)
    return f"; did you mean {similar}?" if similar else ""


def _similar_key(key: str, last: str, cutoff: float) -> str:
    """Return the known key or group most similar to `key`, or whose last word is most similar to `last`; or ""."""
    separator = "/" if "/" in key else "."
    known = sorted(known_keys(), key=lambda k: separator not in k)  # the user's own spelling first
    same_last = [k for k in known if re.split(r"[./]", k)[-1] == last and k != key]
    close = difflib.get_close_matches(key, known, n=1, cutoff=cutoff)
    parts = {re.split(r"[./]", k)[-1]: k for k in reversed(known)}
    close_last = [parts[word] for word in difflib.get_close_matches(last, parts, n=1, cutoff=cutoff)]
    found = [k for k in (*same_last[:1], *close, *close_last) if k != key]
    return found[0] if found else ""


def unknown_key(key: str) -> str:
    """Return the message for a key that the configuration does not have."""
    return f"{key}  is unknown{did_you_mean(key)}; {ALL_KEYS}"


def known_keys() -> list[str]:
    """Return all keys of the configuration, with dots, and all config groups, with slashes."""
    keys = []
    for field in dataclasses.fields(Config):
        kind = StudyConfig if field.name == "study" else field.type
        inner = [f"{field.name}.{f.name}" for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        keys += inner or [field.name]
    return keys + [path.relative_to(conf_dir()).as_posix() for path in sorted(conf_dir().rglob("*")) if path.is_dir()]

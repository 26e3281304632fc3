"""One row for each combination of recipe settings: the values that choose it; every added field and word is in one."""

RECIPES = {
    "autoaugment": {
        "auto_augment": "autoaugment",
        "augment_fill": "gray",
        "resized_crop_min_area": 0.5,
        "resized_crop_interpolation": "bicubic",
    },
    "resized crop, timm's randaugment": {
        "resized_crop_min_area": 0.8,
        "resized_crop_interpolation": "random",
        "auto_augment": "timm_randaugment",
        "randaugment_magnitude_std": 0.5,
        "augment_fill": "mean",
    },
    "randaugment, reflection, erasing": {
        "auto_augment": "randaugment",
        "randaugment_num_ops": 1,
        "randaugment_magnitude": 14.0,
        "crop_padding_mode": "reflect",
        "random_erasing_prob": 0.5,
        "random_erasing_mode": "pixel",
        "random_erasing_max_area": 0.5,
    },
    "trivialaugment, mixing, bce": {
        "auto_augment": "trivialaugment",
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "mixup_prob": 0.8,
        "mixup_switch_prob": 0.7,
        "mixup_off_epoch": 2,
        "label_smoothing": 0.1,
        "loss": "binary_cross_entropy",
    },
    "hinge loss, decay of all": {"loss": "multi_margin", "decay_groups": "all", "schedule": "linear"},
    "lion": {"optimizer": "lion", "lr": 1e-3, "beta1": 0.95, "beta2": 0.98, "schedule": "cosine", "min_lr": 1e-5},
    "muon": {"optimizer": "muon", "schedule": "cosine", "cooldown_epochs": 1.0, "weight_decay": 0.1},
    "schedule-free": {
        "optimizer": "schedule_free_adamw",
        "schedule": "constant",
        "warmup_epochs": 0.5,
        "warmup_lr": 1e-4,
        "lr": 3e-3,
        "decay_groups": "none",
    },
    "average": {"ema_decay": 0.9, "schedule": "warmup_stable_decay", "decay_epochs": 2.0},
    "averages of steps and of last epochs": {"ema_decay": 0.9, "average_last": 2},
    "sgd with average and accumulation": {
        "optimizer": "sgd",
        "lr": 0.05,
        "ema_decay": 0.5,
        "gradient_accumulation_steps": 3,
    },
}
"""Name -> changes of the default recipe."""

"""One row for each option of each axis of the model: the values that choose it, alone valid on a small network."""

from itertools import combinations

from vitsweep.config.schema import ModelConfig

SIZES = {"patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}

AXES: dict[str, dict[str, dict]] = {
    "patchify": {
        "conv": {},
        "linear": {"patchify_method": "linear"},
        "linear_norm": {"patchify_method": "linear_norm"},
        "overlap": {"patchify_method": "overlap"},
        "overlap9": {"patchify_method": "overlap", "patch_kernel_size": 9},
        "conv_stem": {"patchify_method": "conv_stem"},
        "cct": {"patchify_method": "cct"},
        "spt": {"patchify_method": "spt"},
    },
    "pos_embed": {
        "learned": {},
        "wide": {"pos_embed_std": 1.0},
        "none": {"pos_embed": "none"},
        "sincos1d": {"pos_embed": "sincos1d"},
        "sincos2d": {"pos_embed": "sincos2d"},
        "rope2d": {"pos_embed": "rope2d"},
        "rope2d_registers": {"pos_embed": "rope2d", "num_register_tokens": 4, "register_rope_theta": 50.0},
        "learned_rope2d": {"pos_embed": "learned_rope2d", "rope_coords": "index", "rope_theta": 10000.0},
        "relative": {"pos_embed": "relative"},
    },
    "pool": {
        "token": {},
        "avg": {"global_pool": "avg"},
        "avg_fc_norm": {"global_pool": "avg", "final_norm": False, "fc_norm": True},
        "seqpool": {"global_pool": "seqpool"},
        "map": {"global_pool": "map"},
    },
    "registers": {"none": {}, "r4": {"num_register_tokens": 4}},
    "norm_place": {
        "pre": {},
        "post": {"norm_place": "post"},
        "res_post": {"norm_place": "res_post"},
        "cct": {"norm_place": "cct"},
    },
    "block": {"sequential": {}, "parallel": {"parallel_block": True}},
    "norm_layer": {"layernorm": {}, "rmsnorm": {"norm_layer": "rmsnorm"}},
    "qk_norm": {"without": {}, "with": {"qk_norm": True}},
    "layer_scale": {"none": {}, "s1e_4": {"layerscale_value": 1e-4}, "s1e_1": {"layerscale_value": 0.1}},
    "final_norm": {"with": {}, "without": {"final_norm": False}},
    "mlp": {
        "gelu": {},
        "gelu_tanh": {"hidden_act": "gelu_pytorch_tanh"},
        "relu": {"hidden_act": "relu"},
        "silu": {"hidden_act": "silu"},
        "swiglu": {"use_swiglu_ffn": True},
    },
    "qkv_bias": {"with": {}, "without": {"qkv_bias": False}, "alone": {"bias": False, "qkv_bias": True}},
    "attention": {"softmax": {}, "lsa": {"lsa": True}},
    "head_dim": {"divided": {}, "d16": {"head_dim": 16}},
    "drop_path": {
        "none": {},
        "linear": {"drop_path_rate": 0.1},
        "constant": {"drop_path_rate": 0.1, "drop_path_schedule": "constant"},
    },
    "patch_drop": {"none": {}, "p25": {"patch_drop_rate": 0.25}},
    "drop_key": {"none": {}, "p10": {"drop_key_rate": 0.1}},
    "init": {
        "timm": {},
        "xavier": {"weight_init": "xavier"},
        "torch": {"weight_init": "torch"},
        "mimetic": {"weight_init": "mimetic"},
    },
}
"""Axis -> option -> changes; the first option of each axis is the default."""

OPTIONS = {f"{axis}={name}": changes for axis, options in AXES.items() for name, changes in options.items() if changes}
"""Options that change something, by name."""


def small_config(**changes) -> ModelConfig:
    """A small network, with changes."""
    return ModelConfig(**(SIZES | changes))


def covering_set() -> list[dict[str, str]]:
    """Rows of axis -> option in which every allowed pair of options of two axes occurs; greedy, deterministic."""
    open_pairs = allowed_pairs()
    allowed, rows = set(open_pairs), []
    while open_pairs:
        row = dict(min(open_pairs))  # grows from a pair that is not covered
        for axis, options in AXES.items():
            if axis not in row:
                pairs = {option: pairs_with(row, axis, option) for option in options}
                valid = [option for option in options if pairs[option] <= allowed]
                row[axis] = max(valid, key=lambda option: len(pairs[option] & open_pairs))
        open_pairs -= set(combinations(sorted(row.items()), 2))
        rows.append(row)
    return rows


def allowed_pairs() -> set[tuple]:
    """Return all pairs of (axis, option), sorted, that no rule refuses."""
    names = sorted((axis, option) for axis, options in AXES.items() for option in options)
    pairs = [(a, b) for a, b in combinations(names, 2) if a[0] != b[0]]
    return {pair for pair in pairs if not small_config(**changes_of(dict(pair))).errors()}


def pairs_with(row: dict[str, str], axis: str, option: str) -> set[tuple]:
    """Return the pairs of an option with each of a row's."""
    return {tuple(sorted([item, (axis, option)])) for item in row.items()}


def changes_of(row: dict[str, str]) -> dict:
    """Return the values that a row of options chooses."""
    return {key: value for axis, option in row.items() for key, value in AXES[axis][option].items()}

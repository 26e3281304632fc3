"""Cost of a cell by formula: parameters, FLOPs, tokens, memory, checkpoints; tests compare each with a measurement."""

from math import ceil

from vitsweep.config.model_schema import DROPOUT_PLACES, ModelConfig
from vitsweep.config.recipe.rules import FALLING
from vitsweep.config.schema import RecipeConfig
from vitsweep.model.resnet_shapes import (
    Convolution,
    convolutions,
    resnet_activations,
    resnet_flops,
    resnet_parameters,
)

FP32_BYTES = 4
MASK_BYTES = 2  # of an element that dropout may drop, on the CPU
MAX_EVALUATION_BATCH = 512
CCT_CHANNELS = 64  # between the convolutions of patchify_method=cct, as in Compact-Transformers


def count_parameters(model: ModelConfig) -> int:
    """Return the number of trainable parameters."""
    if model.name == "resnet":
        return resnet_parameters(model)
    width, classes = model.hidden_size, model.num_classes
    vectors = model.has_class_token + model.num_register_tokens
    vectors += (model.has_class_token + model.num_patches) * model.has_learned_positions
    norms = (model.final_norm + model.fc_norm) * norm_parameters(model, width)
    head = (width + 1) * classes
    blocks = model.num_hidden_layers * block_parameters(model)
    return patchify_parameters(model) + vectors * width + blocks + norms + pool_parameters(model) + head


def norm_parameters(model: ModelConfig, width: int) -> int:
    """Return the parameters of one norm: factor and bias per channel, RMSNorm the factor alone."""
    return width if model.norm_layer == "rmsnorm" else 2 * width


def linear_parameters(inputs: int, outputs: int, bias: bool = True) -> int:
    """Return the parameters of a linear layer."""
    return inputs * outputs + outputs * bias


def block_parameters(model: ModelConfig) -> int:
    """Return the parameters of one block: attention, MLP, norms, and what the axes add."""
    width, inner, heads = model.hidden_size, model.attention_width, model.num_attention_heads
    attention = linear_parameters(width, 3 * inner, model.has_qkv_bias) + linear_parameters(inner, width, model.bias)
    attention += 2 * norm_parameters(model, model.head_width) * model.qk_norm + heads * model.lsa
    if model.pos_embed == "relative":
        offsets = (2 * model.image_size // model.patch_size - 1) ** 2 + (3 if model.num_prefix_tokens else 0)
        attention += heads * offsets
    scales = 0 if model.layerscale_value is None else 2 * width
    norms = (2 - model.parallel_block) * norm_parameters(model, width)
    return attention + mlp_parameters(model, model.bias) + norms + scales


def mlp_parameters(model: ModelConfig, bias: bool) -> int:
    """Return the parameters of an MLP or SwiGLU."""
    width, hidden = model.hidden_size, model.mlp_width
    inner = hidden * (2 if model.use_swiglu_ffn else 1)
    return linear_parameters(width, inner, bias) + linear_parameters(hidden, width, bias)


def patchify_parameters(model: ModelConfig) -> int:
    """Return the parameters of the patch embedding."""
    width, inputs = model.hidden_size, model.num_channels * model.patch_size**2
    if model.patchify_method == "overlap":
        return linear_parameters(model.num_channels * model.patch_kernel**2, width)
    if model.patchify_method == "linear_norm":
        return 2 * inputs + linear_parameters(inputs, width) + 2 * width
    if model.patchify_method == "spt":
        return 10 * inputs + linear_parameters(5 * inputs, width)
    if model.patchify_method in ("cct", "conv_stem"):
        stem = sum(layer.weights for layer in stem_layers(model))
        norms = sum(2 * layer.outputs for layer in stem_layers(model))
        return stem + (norms + linear_parameters(width, width) if model.patchify_method == "conv_stem" else 0)
    return linear_parameters(inputs, width)


def pool_parameters(model: ModelConfig) -> int:
    """Return the parameters of the readout, the class token apart."""
    width = model.hidden_size
    if model.global_pool == "seqpool":
        return width + 1
    if model.global_pool == "map":
        return width + 4 * linear_parameters(width, width) + norm_parameters(model, width) + mlp_parameters(model, True)
    return 0


def stem_layers(model: ModelConfig) -> list[Convolution]:
    """Return the convolutions of cct or conv_stem that a halving of the image follows or is part of."""
    found, inputs, side = [], model.num_channels, model.image_size
    for number in range(1, model.num_halvings + 1):
        is_cct, left = model.patchify_method == "cct", model.num_halvings - number
        outputs = max(1, model.hidden_size >> left) if not is_cct else CCT_CHANNELS if left else model.hidden_size
        kernel = model.patch_kernel if is_cct else 3
        halved = (side + 1) // 2
        found.append(Convolution(inputs=inputs, outputs=outputs, kernel=kernel, side=side if is_cct else halved))
        inputs, side = outputs, halved
    return found


def num_tokens(model: ModelConfig) -> int:
    """Return the number of tokens per image, class token and registers included; 0 for a resnet."""
    return 0 if model.name == "resnet" else model.num_patches + model.num_prefix_tokens


def flops_per_image(model: ModelConfig) -> int:
    """Return the FLOPs of a forward pass of one image: matrix products only, a multiply-add counted as 2.

    In the last block only the class token has a query, as in ViT.forward.
    """
    if model.name == "resnet":
        return resnet_flops(model)
    width, tokens = model.hidden_size, num_tokens(model)
    full = model.num_hidden_layers - model.has_class_token
    blocks = full * block_multiply_adds(model, tokens) + model.has_class_token * block_multiply_adds(model, 1)
    return 2 * (patchify_multiply_adds(model) + blocks + pool_multiply_adds(model) + width * model.num_classes)


def block_multiply_adds(model: ModelConfig, num_queries: int) -> int:
    """Return the multiply-adds of one block with `num_queries` queries and keys and values of all tokens."""
    width, inner, tokens = model.hidden_size, model.attention_width, num_tokens(model)
    mlp = (3 if model.use_swiglu_ffn else 2) * width * model.mlp_width
    return tokens * 2 * width * inner + num_queries * (2 * width * inner + mlp + 2 * tokens * inner)


def patchify_multiply_adds(model: ModelConfig) -> int:
    """Return the multiply-adds of the patch embedding."""
    width, inputs = model.hidden_size, model.num_channels * model.patch_size**2
    if model.patchify_method in ("cct", "conv_stem"):
        last = model.num_patches * width**2 if model.patchify_method == "conv_stem" else 0
        return last + sum(layer.weights * layer.side**2 for layer in stem_layers(model))
    if model.patchify_method == "overlap":
        inputs = model.num_channels * model.patch_kernel**2
    return model.num_patches * inputs * width * (5 if model.patchify_method == "spt" else 1)


def pool_multiply_adds(model: ModelConfig) -> int:
    """Return the multiply-adds of the readout."""
    width, patches = model.hidden_size, model.num_patches
    if model.global_pool == "seqpool":
        return 2 * patches * width
    if model.global_pool == "map":
        mlp = (3 if model.use_swiglu_ffn else 2) * width * model.mlp_width
        return 2 * patches * width**2 + 2 * patches * width + 2 * width**2 + mlp
    return 0


def activation_bytes(model: ModelConfig, batch_size: int) -> int:
    """Return the bytes of the activations that one fp32 step saves for its backward pass.

    Per token of a block: 2 numbers per channel and norm (input, output), 4 per channel of the heads (queries, keys,
    values, attention output), 2 per hidden channel, one attention weight per head and token, the mask of each active
    dropout, and what the axes add. With a class token the last block has one query, so it saves input and output of its
    first norm, keys and values.
    """
    if model.name == "resnet":
        return FP32_BYTES * batch_size * resnet_activations(model)
    width, inner, hidden = model.hidden_size, model.attention_width, model.mlp_width
    tokens = model.num_kept_patches + model.num_prefix_tokens
    is_dropping = {place: model.dropout_rate(place) > 0 for place in DROPOUT_PLACES}
    norms = 2 - model.parallel_block
    masks = {place: drops * MASK_BYTES / FP32_BYTES for place, drops in is_dropping.items()}
    channels = (2 * norms + masks["attention_output"] + masks["mlp_output"]) * width + 4 * inner
    channels += ((4 if model.use_swiglu_ffn else 2) + masks["mlp_hidden"]) * hidden
    channels += (0 if model.layerscale_value is None else 2) * width + norms * (model.norm_layer == "rmsnorm") * width
    channels += 2 * (2 * model.qk_norm + model.has_rope) * inner
    is_explicit = model.lsa or model.drop_key_rate > 0 or model.pos_embed == "relative"
    maps = 1 + masks["attention_probs"] + is_explicit
    last = 2 * tokens * (width + inner) if model.has_class_token else 0
    full = model.num_hidden_layers - model.has_class_token
    blocks = full * tokens * (channels + maps * model.num_attention_heads * tokens) + last
    image = patchify_activations(model) + masks["embedding"] * num_tokens(model) * width
    return int(FP32_BYTES * batch_size * (image + blocks + (tokens * width if not model.has_class_token else 0)))


def patchify_activations(model: ModelConfig) -> int:
    """Return the numbers per image that the patch embedding saves."""
    image = model.num_channels * model.image_size**2
    if model.patchify_method == "spt":
        return 10 * image
    if model.patchify_method == "linear_norm":
        return 2 * image + model.num_patches * model.hidden_size
    if model.patchify_method == "conv_stem":
        return image + sum(3 * layer.outputs * layer.side**2 for layer in stem_layers(model))
    if model.patchify_method == "cct":
        return image + sum(2 * layer.outputs * layer.side**2 for layer in stem_layers(model))
    return image


def evaluation_bytes(model: ModelConfig, batch_size: int) -> int:
    """Return the bytes of the activations that are alive at a time in a forward pass without gradients, in fp32.

    Per token of a block: 8 numbers per channel (residual stream, norm, queries, keys and values and their copies) and
    scores and attention weights of each head, or in the MLP 4 per channel and 2 per hidden channel. With a class token
    the last block has one query. Of a resnet: input and outputs of a basic block.
    """
    image = 3 * model.num_channels * model.image_size**2  # pixels, normalized pixels, patches
    if model.name == "resnet":
        return FP32_BYTES * batch_size * (image + 4 * max(each.outputs * each.side**2 for each in convolutions(model)))
    width, inner, tokens = model.hidden_size, model.attention_width, num_tokens(model)
    if model.patchify_method in ("cct", "conv_stem"):
        image += 2 * max(layer.outputs * layer.side**2 for layer in stem_layers(model))
    last = tokens * (2 * width + 4 * inner + 2 * model.num_attention_heads)
    attention = tokens * (2 * width + 6 * inner + 2 * model.num_attention_heads * tokens)
    mlp = tokens * (4 * width + 2 * model.mlp_width * (2 if model.use_swiglu_ffn else 1))
    has_full = model.num_hidden_layers > model.has_class_token
    return FP32_BYTES * batch_size * (image + (max(attention, mlp) if has_full else last))


def evaluation_batch(model: ModelConfig, batch_size: int) -> int:
    """Return the number of images to score at a time: at most MAX_EVALUATION_BATCH, in the memory of a training step.

    Args:
        batch_size: that of training. As many images always fit: a training step has the same pass, and saves more.
    """
    fitting = activation_bytes(model, batch_size) // evaluation_bytes(model, 1)
    return min(MAX_EVALUATION_BATCH, max(batch_size, fitting))


def training_bytes(model: ModelConfig, recipe: RecipeConfig, batch_size: int) -> int:
    """Return the bytes of weights, gradients, optimizer state and activations in fp32.

    Activations are those saved by a step or, if more, those of scoring evaluation_batch images.

    On the CPU a process uses up to twice as much (plus torch itself): gradients of activations, and fragmentation.
    """
    state = 2 + optimizer_moments(recipe) + num_averages(recipe)
    batch_size = ceil(batch_size / recipe.gradient_accumulation_steps)
    scoring = evaluation_bytes(model, evaluation_batch(model, batch_size))
    return state * FP32_BYTES * count_parameters(model) + max(activation_bytes(model, batch_size), scoring)


def optimizer_moments(recipe: RecipeConfig) -> int:
    """Return how many numbers the optimizer stores per weight; muon stores one of a matrix in a block."""
    return {"lion": 1, "sgd": int(recipe.momentum > 0)}.get(recipe.optimizer, 2)


def num_averages(recipe: RecipeConfig) -> int:
    """Return the number of averages that are kept beside the weights."""
    return (recipe.ema_decay is not None) + (recipe.average_last > 0)


def checkpoint_bytes(model: ModelConfig, recipe: RecipeConfig, every_epochs: int = 0) -> tuple[int, int]:
    """Return the bytes on disk of a finished cell (best, last and averaged weights), and of state.pt during training.

    A schedule without an end adds the optimizer's state (final.pt), from which the cell can be trained longer. state.pt
    holds the weights, the best weights so far, averages and the optimizer state.

    Args:
        every_epochs: interval of additional weights (checkpoint_every_epochs); 0: none.
    """
    weights = FP32_BYTES * count_parameters(model)
    kept = recipe.epochs // every_epochs if every_epochs else 0
    averages = num_averages(recipe)
    final = 0 if recipe.schedule in FALLING else optimizer_moments(recipe)
    return (2 + averages + kept + final) * weights, (2 + averages + optimizer_moments(recipe)) * weights

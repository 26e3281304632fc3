"""Cost of a cell by formula: parameters, FLOPs, tokens, memory, checkpoints; tests compare each with a measurement."""

from vitsweep.config.model_schema import DROPOUT_PLACES, ModelConfig
from vitsweep.config.schema import RecipeConfig
from vitsweep.model.resnet_shapes import convolutions, resnet_activations, resnet_flops, resnet_parameters

FP32_BYTES = 4
MAX_EVALUATION_BATCH = 512


def count_parameters(model: ModelConfig) -> int:
    """Return the number of trainable parameters."""
    if model.name == "resnet":
        return resnet_parameters(model)
    width, hidden, classes = model.hidden_size, model.intermediate_size, model.num_classes
    patch_inputs = model.num_channels * model.patch_size**2
    biases = 3 * width + width + hidden + width if model.bias else 0
    block = 4 * width**2 + 2 * width * hidden + biases + 4 * width  # attention, MLP, their biases, two norms
    embedding = patch_inputs * width + width + width + num_tokens(model) * width  # patches, class token, positions
    return embedding + model.num_hidden_layers * block + 2 * width + width * classes + classes


def num_tokens(model: ModelConfig) -> int:
    """Return the number of tokens per image, class token included; 0 for a resnet."""
    return 0 if model.name == "resnet" else model.num_patches + 1


def flops_per_image(model: ModelConfig) -> int:
    """Return the FLOPs of a forward pass of one image: matrix products only, a multiply-add counted as 2.

    In the last block only the class token has a query, as in ViT.forward.
    """
    if model.name == "resnet":
        return resnet_flops(model)
    width, tokens = model.hidden_size, num_tokens(model)
    patchify = model.num_patches * model.num_channels * model.patch_size**2 * width
    blocks = (model.num_hidden_layers - 1) * block_multiply_adds(model, tokens) + block_multiply_adds(model, 1)
    return 2 * (patchify + blocks + width * model.num_classes)


def block_multiply_adds(model: ModelConfig, num_queries: int) -> int:
    """Return the multiply-adds of one block with `num_queries` queries and keys and values of all tokens."""
    width, tokens = model.hidden_size, num_tokens(model)
    per_query = 2 * width**2 + 2 * width * model.intermediate_size + 2 * tokens * width
    return tokens * 2 * width**2 + num_queries * per_query


def activation_bytes(model: ModelConfig, batch_size: int) -> int:
    """Return the bytes of the activations that one fp32 step saves for its backward pass.

    Per token of a block: 8 numbers per channel (inputs and outputs of two norms, queries, keys, values, attention
    output), 2 per hidden channel, one attention weight per head and token, and the mask of each active dropout. The
    last block has one query, so it saves input and output of its first norm, keys and values.
    """
    if model.name == "resnet":
        return FP32_BYTES * batch_size * resnet_activations(model)
    width, hidden, tokens = model.hidden_size, model.intermediate_size, num_tokens(model)
    drops = {place: model.dropout_rate(place) > 0 for place in DROPOUT_PLACES}
    channels = (8 + drops["attention_output"] + drops["mlp_output"]) * width + (2 + drops["mlp_hidden"]) * hidden
    attention = (2 if drops["attention_probs"] else 1) * model.num_attention_heads * tokens
    blocks = (model.num_hidden_layers - 1) * tokens * (channels + attention) + 4 * tokens * width
    image = model.num_channels * model.image_size**2
    return FP32_BYTES * batch_size * (image + drops["embedding"] * tokens * width + blocks)


def evaluation_bytes(model: ModelConfig, batch_size: int) -> int:
    """Return the bytes of the activations that are alive at a time in a forward pass without gradients, in fp32.

    Per token of a block: 8 numbers per channel (residual stream, norm, queries, keys and values and their copies) and
    scores and attention weights of each head, or in the MLP 4 per channel and 2 per hidden channel. The last block has
    one query. Of a resnet: input and outputs of a basic block.
    """
    image = 3 * model.num_channels * model.image_size**2  # pixels, normalized pixels, patches
    if model.name == "resnet":
        return FP32_BYTES * batch_size * (image + 4 * max(each.outputs * each.side**2 for each in convolutions(model)))
    width, tokens = model.hidden_size, num_tokens(model)
    last = tokens * (6 * width + 2 * model.num_attention_heads)
    attention = tokens * (8 * width + 2 * model.num_attention_heads * tokens)
    mlp = tokens * (4 * width + 2 * model.intermediate_size)
    return FP32_BYTES * batch_size * (image + (max(attention, mlp) if model.num_hidden_layers > 1 else last))


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
    state = 2 + optimizer_moments(recipe)
    scoring = evaluation_bytes(model, evaluation_batch(model, batch_size))
    return state * FP32_BYTES * count_parameters(model) + max(activation_bytes(model, batch_size), scoring)


def optimizer_moments(recipe: RecipeConfig) -> int:
    """Return how many numbers the optimizer stores per weight."""
    return 2 if recipe.optimizer == "adamw" else int(recipe.momentum > 0)


def checkpoint_bytes(model: ModelConfig, recipe: RecipeConfig, every_epochs: int = 0) -> tuple[int, int]:
    """Return the bytes on disk of a finished cell (best and last weights), and of state.pt during training.

    state.pt holds the weights, the best weights so far and the optimizer state.

    Args:
        every_epochs: interval of additional weights (checkpoint_every_epochs); 0: none.
    """
    weights = FP32_BYTES * count_parameters(model)
    kept = recipe.epochs // every_epochs if every_epochs else 0
    return (2 + kept) * weights, (2 + optimizer_moments(recipe)) * weights

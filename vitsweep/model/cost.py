"""What a cell costs: parameters, operations, tokens, memory, disk, steps. Formulas, measured in the tests."""

from vitsweep.config.model_schema import DROPOUT_PLACES, ModelConfig
from vitsweep.config.schema import RecipeConfig
from vitsweep.model.resnet_shapes import resnet_activations, resnet_flops, resnet_parameters

FP32_BYTES = 4


def count_parameters(model: ModelConfig) -> int:
    """Trainable parameters."""
    if model.name == "resnet":
        return resnet_parameters(model)
    width, hidden, classes = model.hidden_size, model.intermediate_size, model.num_classes
    patch_inputs = model.num_channels * model.patch_size**2
    biases = 3 * width + width + hidden + width if model.bias else 0
    block = 4 * width**2 + 2 * width * hidden + biases + 4 * width  # attention, MLP, their biases, two norms
    embedding = patch_inputs * width + width + width + num_tokens(model) * width  # patches, class token, positions
    return embedding + model.num_hidden_layers * block + 2 * width + width * classes + classes


def num_tokens(model: ModelConfig) -> int:
    """Tokens of one image, class token included; a resnet has none."""
    return 0 if model.name == "resnet" else model.num_patches + 1


def flops_per_image(model: ModelConfig) -> int:
    """Forward pass of one image, a multiply-add counted as 2; matrix products only, as is usual.

    As the model computes it: the last block answers the class token alone.
    """
    if model.name == "resnet":
        return resnet_flops(model)
    width, tokens = model.hidden_size, num_tokens(model)
    patchify = model.num_patches * model.num_channels * model.patch_size**2 * width
    blocks = (model.num_hidden_layers - 1) * block_multiply_adds(model, tokens) + block_multiply_adds(model, 1)
    return 2 * (patchify + blocks + width * model.num_classes)


def block_multiply_adds(model: ModelConfig, num_queries: int) -> int:
    """Multiply-adds of one block that answers `num_queries` tokens, with keys and values of all."""
    width, tokens = model.hidden_size, num_tokens(model)
    per_read_token = 2 * width**2 + 2 * width * model.intermediate_size + 2 * tokens * width
    return tokens * 2 * width**2 + num_queries * per_read_token


def activation_bytes(model: ModelConfig, batch_size: int) -> int:
    """What one step in fp32 keeps of its forward pass for its backward pass.

    Per token of a block 8 numbers a channel (inputs and outputs of two norms, queries, keys, values, the mixed values),
    2 a hidden channel and one attention a head and token; where there is dropout, its mask too. The last block, which
    answers the class token alone, keeps both sides of its first norm, keys and values.
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


def training_bytes(model: ModelConfig, recipe: RecipeConfig, batch_size: int) -> int:
    """Weights, gradients, the optimizer's state and saved activations in fp32.

    On the CPU a process takes up to twice as much beside torch itself: gradients of activations, and gaps between them.
    """
    state = 2 + optimizer_moments(recipe)
    return state * FP32_BYTES * count_parameters(model) + activation_bytes(model, batch_size)


def optimizer_moments(recipe: RecipeConfig) -> int:
    """Numbers that the optimizer keeps for each weight."""
    return 2 if recipe.optimizer == "adamw" else int(recipe.momentum > 0)


def checkpoint_bytes(model: ModelConfig, recipe: RecipeConfig, every_epochs: int = 0) -> tuple[int, int]:
    """What a cell leaves on disk when it is done (best and last weights), and state.pt besides while it trains.

    The state holds weights, the best weights so far, and the optimizer's state.

    Args:
        every_epochs: whose weights are left as well (checkpoint_every_epochs); 0: of none.
    """
    weights = FP32_BYTES * count_parameters(model)
    kept = recipe.epochs // every_epochs if every_epochs else 0
    return (2 + kept) * weights, (2 + optimizer_moments(recipe)) * weights

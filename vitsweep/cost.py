"""What a model costs: parameters, floating-point operations, tokens. Formulas, checked against torch in the tests."""

from vitsweep.config import ModelConfig


def count_parameters(model: ModelConfig) -> int:
    """Trainable parameters."""
    width, hidden, classes = model.hidden_size, model.intermediate_size, model.num_classes
    patch_inputs = model.num_channels * model.patch_size**2
    biases = 3 * width + width + hidden + width if model.bias else 0
    block = 4 * width**2 + 2 * width * hidden + biases + 4 * width  # attention, MLP, their biases, two norms
    embedding = patch_inputs * width + width + width + num_tokens(model) * width  # patches, class token, positions
    return embedding + model.num_hidden_layers * block + 2 * width + width * classes + classes


def num_tokens(model: ModelConfig) -> int:
    """Tokens of one image, class token included."""
    return model.num_patches + 1


def flops_per_image(model: ModelConfig) -> int:
    """Forward pass of one image, a multiply-add counted as 2; matrix products only, as is usual.

    As the model computes it: the last block answers the class token alone.
    """
    width, tokens = model.hidden_size, num_tokens(model)
    patchify = model.num_patches * model.num_channels * model.patch_size**2 * width
    blocks = (model.num_hidden_layers - 1) * block_products(model, tokens) + block_products(model, 1)
    return 2 * (patchify + blocks + width * model.num_classes)


def block_products(model: ModelConfig, num_read: int) -> int:
    """Multiply-adds of one block that answers `num_read` tokens, with keys and values of all."""
    width, tokens = model.hidden_size, num_tokens(model)
    per_read_token = 2 * width**2 + 2 * width * model.intermediate_size + 2 * tokens * width
    return tokens * 2 * width**2 + num_read * per_read_token


def batch_and_steps(num_train: int, batch_size: int) -> tuple[int, int]:
    """Images in one step and steps in one epoch.

    A batch is always full, so that every step has one shape; the images left over wait for another epoch's order.
    """
    batch = min(batch_size, num_train)
    return batch, num_train // batch

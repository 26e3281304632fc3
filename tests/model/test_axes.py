"""Every option of every axis: its cost agrees with torch's counts, and where no library has it, with an oracle here."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.support.model_options import OPTIONS, small_config
from vitsweep.config.convert import config_hash
from vitsweep.config.model_schema import ModelConfig
from vitsweep.config.schema import Config
from vitsweep.model.attention import Attention, drop_keys
from vitsweep.model.cost import activation_bytes, count_parameters, flops_per_image
from vitsweep.model.initialize import near_identity
from vitsweep.model.layers import Block, Dropout, DropPath
from vitsweep.model.patchify import make_patchify, shifted_copies
from vitsweep.model.positions import RelativeBias, Rope, grid_coordinates
from vitsweep.model.vit import UNDECAYED, ViT, capture_attention, capture_readout

NO_DROPOUT = {"hidden_dropout_prob": 0.0}


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def saved_bytes(model: ViT, batch_size: int) -> int:
    """Bytes of all storages, weights and tables aside, that autograd keeps of one forward pass."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept, sizes = [], {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.append(tensor)  # alive, so that no address is used twice
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(model.train()(images(batch_size)), torch.zeros(batch_size, dtype=torch.long))
    return sum(sizes.values())


@pytest.mark.parametrize("option", OPTIONS)
def test_cost_of_an_option_is_what_torch_counts(option):
    def count_linear(x_shape, weight_shape, *_, **__) -> int:  # the one operator of ours that torch does not count
        return 2 * math.prod(x_shape) * weight_shape[0]

    config = small_config(**OPTIONS[option], patch_size=4)
    model = ViT(config).eval()
    counted = {torch.ops.mkldnn._linear_pointwise: count_linear}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter, torch.no_grad():
        model(images(1))
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    assert flops_per_image(config) == counter.get_total_flops()
    assert activation_bytes(config, 4) == pytest.approx(saved_bytes(model, 4), rel=0.15)


@pytest.mark.parametrize("changes", [{"qkv_bias": True}, {"head_dim": 32}])
def test_value_that_null_stands_for_has_the_same_hash(changes):
    assert config_hash(Config(model=ModelConfig(**changes))) == config_hash(Config())


def test_overlapping_kernel_five_of_patch_four_gives_a_token_per_patch():
    patchify = make_patchify(small_config(patchify_method="overlap", patch_size=4, patch_kernel_size=5))
    assert patchify(images()).shape == (2, 64, 32)


@pytest.mark.parametrize("theta", [100.0, 10000.0])
@pytest.mark.parametrize("coords", ["normalized", "index"])
def test_rope_scores_of_patches_depend_on_their_offset_alone(coords, theta):
    config = small_config(pos_embed="rope2d", rope_coords=coords, rope_theta=theta, num_register_tokens=2)
    query, key = torch.randn(2, 1, 1, 1, 8).expand(-1, -1, -1, 19, -1)
    rope = Rope(config)
    score_TT = (rope(query) @ rope(key).transpose(-2, -1))[0, 0]
    score_RCRC = score_TT[3:, 3:].view(4, 4, 4, 4)
    torch.testing.assert_close(score_RCRC[:-1, :-1, :-1, :-1], score_RCRC[1:, 1:, 1:, 1:])
    assert (score_RCRC[0, 0] - score_RCRC[0, 0, 0, 0]).abs().max() > 0.1


def test_rope_leaves_class_token_and_registers_as_they_are():
    x = torch.randn(1, 4, 19, 8)
    turned = Rope(small_config(pos_embed="rope2d", num_register_tokens=2))(x)
    assert torch.equal(turned[:, :, :3], x[:, :, :3]) and not torch.equal(turned[:, :, 3:], x[:, :, 3:])


def test_rope_turns_registers_on_a_grid_of_their_own():
    config = small_config(pos_embed="rope2d", num_register_tokens=4, register_rope_theta=100.0)
    rope = Rope(config)
    frequency = 100.0 ** -torch.tensor([0.0, 0.5])
    row_4, column_4 = grid_coordinates(2, 2).unbind(1)
    expected = torch.cat([row_4.unsqueeze(1) * frequency, column_4.unsqueeze(1) * frequency], dim=1)
    torch.testing.assert_close(rope.cos_TE[1:5], expected.tile(2).cos())


def test_relative_bias_reads_back_its_table():
    """The bias of query (r, c) and key (s, d) is the entry of offset (r - s, c - d); three entries for the prefix."""
    bias = RelativeBias(small_config(pos_embed="relative"))
    with torch.no_grad():
        bias.table_NO.copy_(torch.arange(4 * 52).view(4, 52))
    found = bias(17).detach()
    place = [divmod(patch, 4) for patch in range(16)]
    for query in range(16):
        for key in range(16):
            row, column = (a - b + 3 for a, b in zip(place[query], place[key], strict=True))
            assert found[2, 1 + query, 1 + key] == 2 * 52 + row * 7 + column
    assert [float(x) for x in (found[0, 0, 1], found[0, 1, 0], found[0, 0, 0])] == [49, 50, 51]


def test_shifted_patches_of_a_hand_made_image():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    copies = shifted_copies(image, 2)[0]
    assert torch.equal(copies[0], image[0, 0])
    for copy, (down, right) in zip(copies[1:], [(2, 2), (2, -2), (-2, 2), (-2, -2)], strict=True):
        for row in range(8):
            for column in range(8):
                r, c = row - down, column - right
                inside = 0 <= r < 8 and 0 <= c < 8
                assert copy[row, column] == (8 * r + c if inside else 0)


def test_shifted_patch_token_is_its_pixels_of_all_copies_normed_times_the_matrix():
    patchify = make_patchify(small_config(patchify_method="spt"))
    copy_BCHW = shifted_copies(images(), 4)
    pixel_BP = copy_BCHW[:, :, 8:16, 24:32].flatten(1)  # the patch in row 1, column 3
    expected = patchify.projection(torch.nn.functional.layer_norm(pixel_BP, [5 * 3 * 64]))
    torch.testing.assert_close(patchify(images())[:, 4 + 3], expected)


def test_convolutional_stem_by_hand():
    """Three halvings to 8, 16 and 32 channels by convolution, batch norm and ReLU, then a matrix (Xiao et al. 2021)."""
    patchify = make_patchify(small_config(patchify_method="conv_stem")).eval()
    x = images()
    for (conv, norm, _), channels in zip(patchify.stages, (8, 16, 32), strict=True):
        x = F.relu(F.conv2d(x, conv.weight, stride=2, padding=1) / (1 + norm.eps) ** 0.5)
        assert x.shape[1] == channels
    expected = torch.einsum("dc,bchw->bhwd", patchify.projection.weight[:, :, 0, 0], x) + patchify.projection.bias
    torch.testing.assert_close(patchify(images()), expected.flatten(1, 2))


def test_learned_positions_are_drawn_with_their_standard_deviation():
    position = ViT(small_config(pos_embed_std=0.5, patch_size=2)).position_1TD.detach()
    assert position.std().item() == pytest.approx(0.5, abs=4 * 0.5 / (2 * position.numel()) ** 0.5)


def test_learned_positions_come_on_top_of_rope():
    """learned_rope2d with positions at zero is rope2d; with positions it is rope2d of the tokens plus them."""
    both, rope = (ViT(small_config(pos_embed=name, **NO_DROPOUT)).eval() for name in ("learned_rope2d", "rope2d"))
    rope.load_state_dict(both.state_dict(), strict=False)
    embed, position_1TD = rope.embed, both.position_1TD
    with torch.no_grad():
        rope.embed = lambda image_BCHW: embed(image_BCHW) + position_1TD
        torch.testing.assert_close(both(images()), rope(images()))
        rope.embed = embed
        assert not torch.allclose(both(images()), rope(images()))
        position_1TD.zero_()
        torch.testing.assert_close(both(images()), rope(images()))


def test_lsa_gives_no_token_attention_to_itself():
    model = ViT(small_config(lsa=True))
    with torch.no_grad(), capture_attention(model) as attention:
        model(images())
    assert all(matrix.diagonal(dim1=-2, dim2=-1).abs().max() == 0 for matrix in attention)
    torch.testing.assert_close(attention[0].sum(-1), torch.ones(2, 4, 17))


def test_drop_path_drops_whole_branches_at_its_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    out_BLD = DropPath(0.3).train()(torch.ones(20_000, 2, 3))
    assert torch.equal(out_BLD, out_BLD[:, :1, :1].expand_as(out_BLD))
    kept = (out_BLD[:, 0, 0] > 0).float().mean().item()
    assert kept == pytest.approx(0.7, abs=4 * (0.21 / 20_000) ** 0.5)
    assert out_BLD.max().item() == pytest.approx(1 / 0.7, rel=1e-3)


@pytest.mark.parametrize("schedule, expected", [("linear", [0.0, 0.1, 0.2]), ("constant", [0.2, 0.2, 0.2])])
def test_drop_path_rate_over_depth(schedule, expected):
    model = ViT(small_config(num_hidden_layers=3, drop_path_rate=0.2, drop_path_schedule=schedule))
    rates = [block.mlp_drop_path.dropout.rate for block in model.blocks]
    assert rates == pytest.approx(expected) == [block.attention_drop_path.dropout.rate for block in model.blocks]


def test_drop_key_leaves_out_keys_at_its_rate_and_rows_still_sum_to_one():
    torch.manual_seed(0)
    prob = drop_keys(torch.zeros(500, 8, 10, 10), Dropout(0.3).train()).softmax(-1)
    assert (prob > 0).float().mean().item() == pytest.approx(0.7, abs=4 * (0.21 / 400_000) ** 0.5)
    torch.testing.assert_close(prob.sum(-1), torch.ones(500, 8, 10))


@pytest.mark.parametrize("training, share", [(True, 0.3), (False, 0.0)])
def test_drop_key_acts_on_the_attention_in_training_alone(training, share):
    torch.manual_seed(0)
    attention, found = Attention(small_config(drop_key_rate=0.3, **NO_DROPOUT)).train(training), []
    attention.attention_hook = found.append
    attention(torch.randn(100, 17, 32))
    assert (found[0] == 0).float().mean().item() == pytest.approx(share, abs=4 * (0.21 / found[0].numel()) ** 0.5)


def test_drop_key_of_every_key_attends_to_all_alike():
    prob = drop_keys(torch.randn(1, 1, 3, 4), Dropout(0.9999).train()).softmax(-1)
    torch.testing.assert_close(prob, torch.full((1, 1, 3, 4), 0.25))


def test_patch_drop_gives_the_blocks_that_share_of_patches_each_once():
    model, seen = ViT(small_config(patch_drop_rate=0.25, num_register_tokens=2)).train(), []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    model(images())
    model.eval()(images())
    assert seen == [3 + 12, 3 + 16]
    assert all(len(set(row)) == 12 for row in model.draw_patches(50, torch.device("cpu")).tolist())


@pytest.mark.parametrize("positions", ["learned", "rope2d", "relative", "sincos2d"])
def test_patches_that_are_left_out_are_as_if_masked(positions):
    """Kept patches have their own positions: as all patches with the others' attention excluded."""
    model = ViT(small_config(pos_embed=positions, num_register_tokens=1, **NO_DROPOUT)).eval()
    kept = [2, 7, 13]
    hidden = torch.ones(18, dtype=torch.bool)
    hidden[[0, 1, *(2 + patch for patch in kept)]] = False
    plain = Attention.dot_product_attention

    def masked(self, q, k, v, bias=None):
        mask = torch.zeros(18).masked_fill(hidden, -torch.inf)
        return plain(self, q, k, v, mask if bias is None else bias + mask)

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        found = model(images(), torch.tensor([kept, kept]))
        patch.setattr(Attention, "dot_product_attention", masked)
        torch.testing.assert_close(found, model(images()))


@pytest.mark.parametrize("pool", ["token", "avg", "seqpool", "map"])
def test_readout_is_the_share_of_each_token_and_leaves_registers_out(pool):
    model = ViT(small_config(global_pool=pool, num_register_tokens=2))
    with torch.no_grad(), capture_attention(model), capture_readout(model) as readout:
        model(images())
    (weight_BT,), prefix = readout, 2 + (pool == "token")
    assert weight_BT.shape == (2, prefix + 16) and (weight_BT >= 0).all()
    torch.testing.assert_close(weight_BT.sum(1), torch.ones(2))
    assert (weight_BT[:, 1:prefix] == 0).all() and (weight_BT[:, 0] == float(pool == "token")).all()


def test_readout_of_a_sequence_pool_is_what_the_pool_multiplies():
    pool = ViT(small_config(global_pool="seqpool")).pool
    token_BTD = torch.randn(2, 16, 32)
    torch.testing.assert_close(pool(token_BTD), torch.einsum("bt,btd->bd", pool.weights(token_BTD), token_BTD))


def test_mimetic_factors_multiply_to_the_noisy_identity():
    left, right = near_identity(24, 24, 0.4, -0.4, torch.Generator().manual_seed(0))
    noise = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 24**0.5
    expected = 0.4 * noise - 0.4 * torch.eye(24)
    torch.testing.assert_close(left @ right.t(), expected.float(), rtol=1e-4, atol=1e-5)


def test_mimetic_attention_reads_near_itself_and_writes_its_negative():
    attention = ViT(small_config(weight_init="mimetic", num_attention_heads=1)).blocks[0].attention
    query, key, value = attention.qkv.weight.detach().chunk(3)
    assert (query.t() @ key).diagonal().mean() == pytest.approx(0.7, abs=0.15)
    assert (attention.projection.weight.detach() @ value).diagonal().mean() == pytest.approx(-0.4, abs=0.15)


@pytest.mark.parametrize(
    "init, name, largest",
    [
        ("xavier", "blocks.0.attention.qkv.weight", (6 / 64) ** 0.5),
        ("xavier", "blocks.0.mlp.hidden.weight", (6 / 80) ** 0.5),
        ("torch", "blocks.0.attention.qkv.weight", 32**-0.5),
        ("torch", "blocks.0.mlp.output.bias", 48**-0.5),
    ],
)
def test_uniform_initialization_fills_its_bounds(init, name, largest):
    found = ViT(small_config(weight_init=init)).get_parameter(name).detach().abs().max()
    assert 0.85 * largest < found <= largest


def test_xavier_starts_with_a_zero_classifier():
    assert not ViT(small_config(weight_init="xavier")).head.weight.any()


def test_arms_share_the_weights_they_have_in_common():
    plain = ViT(small_config()).state_dict()
    for option, changes in OPTIONS.items():
        if "init" in option or option in ("pos_embed=wide",):
            continue
        state = ViT(small_config(**changes)).state_dict()
        shared = [n for n in plain if n in state and plain[n].shape == state[n].shape and "patchify" not in n]
        assert "head.weight" in shared and all(torch.equal(plain[n], state[n]) for n in shared), option


def test_tables_and_tokens_are_not_decayed():
    config = small_config(
        pos_embed="relative", num_register_tokens=2, lsa=True, global_pool="map", layerscale_value=0.1, qk_norm=True
    )
    large = {name for name, p in ViT(config).named_parameters() if p.dim() >= 2}
    undecayed = {name for name in large if name.rpartition(".")[2] in UNDECAYED}
    assert undecayed == {"register_token", "pool.probe"} | {
        f"blocks.{block}.attention.{name}"
        for block in range(2)
        for name in ("relative_bias.table_NO", "lsa.temperature_N11")
    }


BLOCKS = {
    "pre": lambda x, a, m, one, two: (y := x + a(one(x))) + m(two(y)),
    "post": lambda x, a, m, one, two: two((y := one(x + a(x))) + m(y)),
    "res_post": lambda x, a, m, one, two: (y := x + one(a(x))) + two(m(y)),
    "cct": lambda x, a, m, one, two: (y := two(x + a(one(x)))) + m(y),
}
"""Norm place -> the block by hand, from input, attention, MLP and the two norms."""


@pytest.mark.parametrize("place", BLOCKS)
def test_block_is_its_norm_places_formula(place):
    torch.manual_seed(0)
    config = small_config(norm_place=place, **NO_DROPOUT)
    block, x = Block(config, Attention(config)).eval(), torch.randn(2, 5, 32)
    with torch.no_grad():
        for norm in (block.attention_norm, block.mlp_norm):
            norm.weight.uniform_(0.5, 2)
    by_hand = BLOCKS[place](x, block.attention, block.mlp, block.attention_norm, block.mlp_norm)
    torch.testing.assert_close(block(x), by_hand)

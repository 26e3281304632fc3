"""Small pictures of test images: the right ones, recognizable, small.

Kind: agreement (the decoded picture is the image of that id).
"""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from vitsweep.analysis.gallery import thumbnails

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def test_thumbnail_is_the_image_of_that_id(monkeypatch):
    images_NCHW = torch.tensor(COLORS, dtype=torch.uint8)[:, :, None, None].expand(3, 3, 64, 64)
    test = SimpleNamespace(id_N=torch.tensor([5, 9, 7]), image_NCHW=images_NCHW)
    monkeypatch.setattr(thumbnails, "finished_cells", lambda cells: [(None, None)])
    monkeypatch.setattr(thumbnails, "load_cell_data", lambda record: SimpleNamespace(test=test))
    made = thumbnails.thumbnails(pd.DataFrame(), [9, 7, 9, 1])
    assert list(made) == ["9", "7"]
    for image_id, color in (("9", COLORS[1]), ("7", COLORS[2])):
        picture = Image.open(io.BytesIO(base64.urlsafe_b64decode(made[image_id])))
        assert picture.size == (48, 48)
        assert np.abs(np.asarray(picture, int) - color).max() < 12

"""Small pictures of single test images, as texts for a page."""

import base64
import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

from ..attention.looks import finished_cells, load_cell_data
from .overlay import as_rgb

MAX_SIDE = 48
"""Pixels of a picture's longer side, at most."""


def thumbnails(cells: pd.DataFrame, image_ids: Iterable[int]) -> dict[str, str]:
    """Return image id -> URL-safe base64 (which looks like no path) of a WebP, of the first cell's test images.

    Args:
        cells: as for gallery.report_panels.
        image_ids: as predictions name them; those that the test set does not have are left out.

    Raises:
        UserError: no cell has finished, or its images are not there.
    """
    test = load_cell_data(finished_cells(cells)[0][1]).test
    place = {int(image_id): number for number, image_id in enumerate(test.id_N.cpu().numpy())}
    wanted = [image_id for image_id in dict.fromkeys(image_ids) if image_id in place]
    images_NHWC = test.image_NCHW[[place[i] for i in wanted]].permute(0, 2, 3, 1).cpu().numpy()
    return {str(i): _webp(image_HWC) for i, image_HWC in zip(wanted, images_NHWC, strict=True)}


def _webp(image_HWC: np.ndarray) -> str:
    picture = Image.fromarray(np.round(255 * as_rgb(image_HWC)).astype(np.uint8))
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=80, method=6)
    return base64.urlsafe_b64encode(stream.getvalue()).decode()

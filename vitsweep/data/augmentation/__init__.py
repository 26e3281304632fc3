"""Random augmentation of a batch on its device, per image: operations, policies, crops, erasing, mixing.

Takes uint8 batches and CPU generators of named streams; gives uint8 batches (erasing and mixing: normalized ones).
Semantics are those of torchvision.transforms.v2, for `timm_randaugment` those of timm; the tests compare with both.
For other rooms: augment.augment_images and augment.mix in the room itself.
"""

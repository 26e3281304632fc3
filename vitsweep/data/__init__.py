"""Images from any source as three uint8 tensors, with their augmentation and normalization.

Takes a Config (data and the model's input size); gives load.Data: train, val and test on the CPU, and a fingerprint.
Other rooms use load.load_data, load.Data, load.stratified_split, augment, counts and shapes.make_shapes.
"""

"""Networks and their cost: turns a configuration into a ViT or ResNet, or into numbers without building one.

Takes a Config or ModelConfig and a seed; gives an nn.Module, or parameters, FLOPs and bytes.
Other rooms use build.make_model, vit.capture_attention, cost, layers.Dropout and the dropout masks of cpu_ops.
"""

"""Settings of the training, `recipe` in the configuration, and their rules.

Takes values from YAML and the command line; gives one message for each broken rule.
Other rooms use schema.RecipeConfig and the allowed words in options.
"""

"""Configuration: from YAML files and command-line overrides to one typed and validated Config, or an error message.

Takes overrides, or the plain `config` of a record or plan (convert.from_dict); gives a schema.Config.
Other rooms use schema, model_schema, convert, overrides, composer.Composer, hydra.make_loader, messages.user_errors.
"""

"""Commands of `python -m vitsweep`: one file a command, each with `main(arguments) -> exit code`.

Take the command line; print, or change a sweep's directory. Commands import rooms and never each other; what they
share is in command_arguments.py (parsing); W&B's commands are in wandb/. Only vitsweep.__main__ imports them.
"""

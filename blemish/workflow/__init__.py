"""The recipes behind the commands: train, calibrate, evaluate."""

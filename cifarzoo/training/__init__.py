"""Training: experiments from YAML, schedules, optimiser, engines, trainer, checkpoints, logs."""

"""Training: building a run's parts, the step, engines, the loop, callbacks."""

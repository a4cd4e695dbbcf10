"""An experiment as data: the schema, YAML files, grids, schedules and the plan in steps. Nothing here knows Keras."""

"""Names that other code uses for settings and arguments, with what to write in an experiment instead."""

_RATE = "write train_parameters.lr_values and lr_boundaries, or the peak of a train_parameters.schedule"
_LENGTH = "write a train_parameters.schedule, such as {kind: cosine, peak: 0.1, duration: {epochs: 90}}"
_OPTIMIZER = (
    "write train_parameters.optimizer, such as {name: AdamW, weight_decay: 0.05}; without it, the optimizer is SGD"
)
_PRECISION = "write precision: bfloat16"
_LOGDIR = "write train_parameters.logdir and run_name: a run is kept in logdir/run_name/seedN"
_DECAY = "write train_parameters.weight_decay: twice the factor of Keras' L2"
_TEACHER = "write teacher: {model: NAME, temperature: 4, weight: 0.9}"

HINTS = {
    **dict.fromkeys(("lr", "learning_rate", "initial_lr", "base_lr", "max_lr", "lr_schedule", "lr_scheduler"), _RATE),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "n_epochs", "steps", "num_steps", "max_steps"), _LENGTH),
    **dict.fromkeys(("optimiser", "optimizer_parameters", "sgd", "adam", "adamw", "muon"), _OPTIMIZER),
    **dict.fromkeys(("amp", "mixed_precision", "fp16", "bf16", "bfloat16"), _PRECISION),
    **dict.fromkeys(("output_dir", "out_dir", "save_dir", "log_dir", "checkpoint_dir", "name"), _LOGDIR),
    **dict.fromkeys(("l2_reg", "l2", "wd"), _DECAY),
    **dict.fromkeys(("distillation", "distill", "kd", "knowledge_distillation", "teachers"), _TEACHER),
    **dict.fromkeys(("patience", "stop_early"), "write train_parameters.early_stopping: {patience: {epochs: 10}}"),
    **dict.fromkeys(("save_best", "save_best_only", "restore_best_weights"), "write train_parameters.best_weights"),
    **dict.fromkeys(("save_every", "keep_every", "save_freq"), "write train_parameters.keep: {every: {epochs: 1}}"),
    "swa": "write train_parameters.keep, and average what was kept with cifarzoo average",
    "batch": "write train_parameters.batch_size",
    "ema": "write train_parameters.ema_decay",
    "gpus": "write distribution: mirrored, or leave it out: all devices are used",
    "loss_function": "write train_parameters.loss",
    "pretrained": "write init_weights: a tag or file of weights to start from",
    "weights": "write init_weights: a tag or file of weights to start from",
}

# Names that cifar-vs-tensorflow2 uses for the zoo's own module, and for arguments with another name here.
SEED_MODULES = {"cifarzoo", "cifarzoo.models", "Models.Resnets", "Models.VGG", "Models.VGGs"}
SEED_MODEL_PARAMETERS = {"shortcut_mode": "shortcut_type"}

# Model arguments of cifar-vs-tensorflow2 that do not exist here, with what to do instead.
SEED_ARGUMENTS = {
    "l2_reg": _DECAY,
    "N": "set depth to 6 N + 4 in a cifar_wide_resnet; other models have it in their name, like cifar_resnet20",
    "K": "set width in a cifar_wide_resnet; other models have it in their name, like cifar_wrn_40_4",
    "cardinality": "choose cifar_resnext29_32x4d, cifar_resnext29_8x64d or cifar_resnext29_16x64d",
}

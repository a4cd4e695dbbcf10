"""What a finished run reports about itself: the typed content of results.json."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Results(BaseModel):
    """Results of one run; keys that other versions wrote are kept as attributes.

    Attributes:
        name: The experiment's name.
        seed: Its seed.
        model: Name of the network's factory.
        dataset: Name of the data set.
        train_split: The split that was trained on, "train" or a part of it.
        steps: Optimizer steps.
        images: Training images seen, `steps` times the batch size.
        test: Metrics on the test images (`error` in percent, `nll` in nats, ...), None if it was validated elsewhere.
        validation: Metrics on held-out training images, None if it was validated on the test images.
        val_split: Name of these images, where they are not "validation".
        weights: Which weights were measured and saved: "last step", the name of the average, or those of the best
            validation.
        best_step: Steps before the best validation, whose weights these are; None without `best_weights`.
        training_images: Number of images trained on, where some were dropped or labels changed.
        changed_labels: Number of these images whose labels are not the data set's own.
        parameters: Number of the network's weights.
        seconds: Time in compiled training calls, with compilation and without validation.
        images_per_second: `images` over `seconds`.
        fingerprint: `Experiment.fingerprint` of the experiment.
        sources: Hashes of what the experiment depends on outside its document; see `cifarzoo.training.sources`.
        revision: Git revision of the code, None if unknown.
        versions: Package versions.
        backend: Keras' backend.
        device: The device's name.
        pruning: Of a run with `pruning`: `sparsity`, the share of zeros among all weights in percent, and `bytes` and
            `compressed_bytes` of final.weights.h5, as it is and compressed by zlib.
        weights_sha256: SHA-256 of final.weights.h5, None in the results of older versions.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    seed: int
    model: str
    dataset: str
    train_split: str
    steps: int
    images: int
    test: dict[str, Any] | None = None
    validation: dict[str, Any] | None = None
    val_split: str | None = None
    weights: str
    training_images: int | None = None
    changed_labels: int | None = None
    parameters: int
    seconds: float
    images_per_second: float
    fingerprint: str
    sources: dict[str, list[str]] = {}
    revision: str | None
    versions: dict[str, str]
    backend: str
    device: str
    pruning: dict[str, float | int] | None = None
    weights_sha256: str | None = None
    best_step: int | None = None

    @property
    def split(self) -> str:
        """The split that was measured at the end: "test" or, while hyper-parameters are chosen, held-out images."""
        return "test" if self.test is not None else self.val_split or "validation"

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics on `split`."""
        return self.test or self.validation or {}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return self.model_dump(exclude_unset=True)

    @classmethod
    def parse(cls, text: str) -> "Results":
        """Read the content of a results.json.

        Raises:
            ValueError: it is not JSON, or a key is missing or of the wrong type; one line.
        """
        try:
            results = cls.model_validate_json(text)
        except ValidationError as failure:
            problem = failure.errors()[0]
            key = ".".join(map(str, problem["loc"]))
            reason = "is missing" if problem["type"] == "missing" else problem["msg"]
            raise ValueError(f"{key} {reason}".strip()) from None
        for key in ("error", "nll"):
            if key not in results.metrics:
                raise ValueError(f"{results.split}.{key} is missing")
            if type(results.metrics[key]) not in (int, float):
                raise ValueError(f"{results.split}.{key} is not a number")
        return results

# The first command trains a ResNet-20 on the embedded data set, as README.md's first command does; the second one runs the
# quick tests:
#
#     docker build -t cifarzoo .
#     docker run --rm -v cifar:/data -v runs:/home/user/cifarzoo/logs cifarzoo
#     docker run --rm cifarzoo python -m pytest -n 2
#
# Any other command works as in a clone, such as `cifarzoo train @resnet20_90ep`. /data holds the archives of CIFAR and other
# projects' checkpoints, which are downloaded on first use; logs holds the runs, which resume after an interruption.
#
# For NVIDIA GPUs, with the NVIDIA Container Toolkit on the host; TensorFlow and JAX need different CUDA libraries:
#
#     docker build -t cifarzoo:cuda --build-arg CUDA=tensorflow .     # or CUDA=jax
#     docker run --rm --gpus all -v cifar:/data -v runs:/home/user/cifarzoo/logs cifarzoo:cuda

# constraints.txt has the versions for this Python.
FROM python:3.11-slim

# Some tests look at the files that Git tracks, and skip what needs the history.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 user && install --directory --owner user /data /home/user/cifarzoo
USER user
WORKDIR /home/user/cifarzoo
ENV PATH=/home/user/cifarzoo/.venv/bin:$PATH \
    CIFARZOO_DATA=/data KERAS_HOME=/data \
    PIP_NO_CACHE_DIR=1

COPY --chown=user . .
ARG CUDA=none
RUN python3 -m venv .venv \
    && pip install -q -c constraints.txt -e '.[test,plots]' \
    && case "$CUDA" in \
        none) ;; \
        tensorflow) pip install -q -c constraints.txt 'tensorflow[and-cuda]' ;; \
        jax) pip install -q -c constraints.txt 'jax[cuda12]' ;; \
        *) echo "CUDA=$CUDA: expected none, tensorflow or jax" >&2; exit 1 ;; \
    esac \
    && mkdir logs

# Recorded with every result, as the image has no repository: --build-arg REVISION=$(git rev-parse HEAD)
ARG REVISION=
ENV CIFARZOO_REVISION=$REVISION

VOLUME ["/data", "/home/user/cifarzoo/logs"]
CMD ["python", "run_experiments.py", "--quickstart"]

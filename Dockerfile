# The first command trains a ResNet-20 on the embedded data set, as README.md's first command does; the second one runs the
# quick tests:
#
#     docker build -t cifarzoo .
#     docker run --rm -v runs:/home/user/cifarzoo/runs cifarzoo
#     docker run --rm cifarzoo python -m pytest -n 2
#
# Any other command works as in a clone:
#
#     docker run --rm -v cifar:/data -v runs:/home/user/cifarzoo/runs cifarzoo cifarzoo train @vgg --only vgg11
#
# /data holds the archives of CIFAR and other projects' checkpoints, which are downloaded on first use. runs/ holds the runs,
# which resume after an interruption; those of experiments.yaml, and of a few recipes, are in logs/.
#
# For NVIDIA GPUs, with the NVIDIA Container Toolkit on the host. TensorFlow and JAX need different CUDA libraries, and each
# image trains with its own:
#
#     docker build -t cifarzoo:cuda --build-arg CUDA=tensorflow .     # or CUDA=jax
#     docker run --rm --gpus all -v cifar:/data -v runs:/home/user/cifarzoo/runs cifarzoo:cuda

ARG CUDA=none

# constraints.txt has the versions for this Python.
FROM python:3.11-slim AS common

# Some tests look at the files that Git tracks, and skip what needs the history.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 user && install --directory --owner user /data /home/user/cifarzoo
USER user
WORKDIR /home/user/cifarzoo
ENV PATH=/home/user/cifarzoo/.venv/bin:$PATH \
    CIFARZOO_DATA=/data KERAS_HOME=/data \
    PIP_NO_CACHE_DIR=1

COPY --chown=user . .
RUN python3 -m venv .venv \
    && pip install -q -c constraints.txt -e '.[test,plots]' \
    && mkdir logs runs

# One stage for each value of CUDA; the last one continues that of the value.
FROM common AS cuda-none

FROM common AS cuda-tensorflow
RUN pip install -q -c constraints.txt 'tensorflow[and-cuda]'

FROM common AS cuda-jax
RUN pip install -q -c constraints.txt 'jax[cuda12]'
# Keras would choose TensorFlow, which finds no GPU here.
ENV KERAS_BACKEND=jax

FROM cuda-${CUDA}

# Recorded with every result, as the image has no repository: --build-arg REVISION=$(git rev-parse HEAD)
ARG REVISION=
ENV CIFARZOO_REVISION=$REVISION

VOLUME ["/data", "/home/user/cifarzoo/logs", "/home/user/cifarzoo/runs"]
CMD ["python", "run_experiments.py", "--quickstart"]

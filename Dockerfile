# The project and its packages, on Python 3.11 without a GPU.
#
#   docker build --tag fer .
#   docker run --rm -it fer make demo
#   docker run --rm -v "$PWD/photographs:/photographs" fer fer predict /photographs --model ferplus
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY . .
RUN make .venv/.installed && rm -rf /root/.cache
ENV PATH=/project/.venv/bin:$PATH
CMD ["bash"]

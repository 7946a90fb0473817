# ra3 on a CPU, from the package index alone:
#   docker build -t ra3 . && docker run --rm -v "$PWD:/work" ra3 demo
FROM python:3.11-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[gguf,lora]' && rm -rf /src/*
ENV HF_HOME=/work/.cache/huggingface XDG_CACHE_HOME=/work/.cache
WORKDIR /work
ENTRYPOINT ["ra3"]

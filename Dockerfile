# The mock server, at port 8000. Build it from a clone: docker build -t nano-banana-mock .
FROM python:3.13-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends fonts-dejavu-core fonts-noto-color-emoji fonts-wqy-microhei \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip install --no-cache-dir '/source[mock]'
USER nobody
EXPOSE 8000
HEALTHCHECK --start-interval=1s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/openapi.yaml')"]
ENTRYPOINT ["python", "-m", "mountsea_banana.mock", "--host", "0.0.0.0"]

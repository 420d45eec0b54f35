# Stands in for python:3.11-slim where no registry can be reached: Debian's own Python 3.11, under the names of that image.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip python3-venv python3-distutils \
 && rm -rf /var/lib/apt/lists/* /usr/lib/python3.11/EXTERNALLY-MANAGED \
 && ln -s /usr/bin/python3 /usr/local/bin/python3 \
 && ln -s /usr/bin/python3 /usr/local/bin/python \
 && printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > /etc/pip.conf \
 && pip install --no-cache-dir --root-user-action=ignore --upgrade pip
CMD ["python3"]

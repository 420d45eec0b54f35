# Stands in for redis:7-bookworm where no registry can be reached: Debian's own Redis 7.
FROM debian:bookworm-slim
RUN apt-get update \
 && groupadd --system --gid 999 redis && useradd --system --gid redis --uid 999 redis \
 && apt-get install --yes --no-install-recommends redis-server redis-tools \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
USER redis
CMD ["redis-server", "--dir", "/data"]

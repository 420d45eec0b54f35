"""Uploaded files in Redis: their text, cut into chunks of lines as batches work on them."""

import codecs
import time
from collections.abc import AsyncIterator
from typing import Any

from selfreward.contracts.batches import FileObject, Purpose
from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX
from selfreward.server.errors import ApiError
from services.judge.jobs.chunks import CHUNK_SIZE, MOST_INDEXED

_WRITTEN_AT_ONCE = 64
_UPLOAD_SECONDS = 3600


class FileStore:
    """All uploaded files. They expire `keep_seconds` after their upload unless the upload says otherwise."""

    def __init__(self, redis: RedisClient, keep_seconds: int) -> None:
        self.redis = redis
        self.keep_seconds = keep_seconds

    def key(self, file_id: str) -> str:
        """The key of a file's record."""
        return f"{PREFIX}:judge-file:{file_id}"

    def text_key(self, file_id: str) -> str:
        """The key of a file's text, by chunk."""
        return f"{self.key(file_id)}:lines"

    async def put(
        self,
        file_id: str,
        owner: str,
        filename: str,
        content: AsyncIterator[bytes],
        keep_seconds: int | None = None,
    ) -> FileObject:
        """Store a file for the API key `owner`, with a part of it in memory. Raises ApiError (422)."""
        size = lines = chunks = 0
        key, seconds = self.text_key(file_id), keep_seconds or self.keep_seconds
        pending: dict[str, str] = {}
        async for chunk, count in _chunks(content):
            pending[str(chunks)] = chunk
            size, lines, chunks = size + len(chunk.encode()), lines + count, chunks + 1
            if len(pending) == _WRITTEN_AT_ONCE:
                await self._write(key, pending)
        if lines == 0:
            raise ApiError(422, "file has no lines: send JSON Lines, one request on each line", "file", "empty_file")
        await self._write(key, pending)

        # The file is there once all of it is.
        record = {"owner": owner, "filename": filename, "bytes": size, "lines": lines, "chunks": chunks}
        created = time.time()
        record |= {"created_at": created, "expires_at": created + seconds}
        async with self.redis.pipeline(transaction=True) as steps:
            steps.hset(self.key(file_id), mapping=record)
            steps.expire(self.key(file_id), seconds)
            steps.expire(key, seconds)
            steps.zadd(_index(owner), {file_id: created})
            steps.zremrangebyrank(_index(owner), 0, -MOST_INDEXED - 1)
            await steps.execute()
        return _file(file_id, record)

    async def record(self, file_id: str, owner: str | None) -> dict[str, Any]:
        """The fields of a file; empty when it is not there, or has another owner (`owner` None: any)."""
        fields: dict[str, Any] = await self.redis.hgetall(self.key(file_id))
        return fields if owner in (None, fields.get("owner")) else {}

    async def get(self, file_id: str, owner: str | None) -> FileObject | None:
        """A file; None as `record` is empty."""
        fields = await self.record(file_id, owner)
        return _file(file_id, fields) if fields else None

    async def listed(self, owner: str) -> list[FileObject]:
        """All files of an owner, the newest first."""
        ids = await self.redis.zrange(_index(owner), 0, -1, desc=True)
        found = [await self.get(file_id, owner) for file_id in ids]
        gone = [file_id for file_id, file in zip(ids, found, strict=True) if file is None]
        if gone:
            await self.redis.zrem(_index(owner), *gone)
        return [file for file in found if file is not None]

    async def text(self, file_id: str) -> AsyncIterator[str]:
        """Yield the text of a file, as it was sent. One chunk is in memory."""
        for chunk in range(int(await self.redis.hget(self.key(file_id), "chunks") or 0)):
            yield await self.redis.hget(self.text_key(file_id), str(chunk)) or ""

    async def delete(self, file_id: str) -> None:
        """Remove a file. Batches over it have a copy of their own."""
        await self.redis.delete(self.key(file_id), self.text_key(file_id))

    async def _write(self, key: str, pending: dict[str, str]) -> None:
        if pending:
            await self.redis.hset(key, mapping=pending)
            await self.redis.expire(key, _UPLOAD_SECONDS)
            pending.clear()


async def _chunks(content: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, int]]:
    """The text in pieces of CHUNK_SIZE lines that are not blank, with their number; the last may have fewer."""
    decoder, text, lines, count = codecs.getincrementaldecoder("utf-8")(), "", list[str](), 0
    async for part in content:
        text += _decoded(decoder, part)
        *complete, text = text.split("\n")
        for line in complete:
            lines.append(f"{line}\n")
            count += bool(line.strip("\ufeff \t\r"))
            if count == CHUNK_SIZE:
                yield "".join(lines), count
                lines, count = [], 0
    text += _decoded(decoder, b"", final=True)
    if lines or text:
        yield "".join([*lines, text]), count + bool(text.strip())


def _decoded(decoder: codecs.IncrementalDecoder, part: bytes, *, final: bool = False) -> str:
    try:
        return decoder.decode(part, final)
    except UnicodeDecodeError as error:
        raise ApiError(422, f"file is not UTF-8 ({error.reason}): send UTF-8 JSON Lines", "file", "not_utf8") from None


def _index(owner: str) -> str:
    return f"{PREFIX}:judge-files-of:{owner}"


def _file(file_id: str, fields: dict[str, Any], purpose: Purpose = "batch") -> FileObject:
    return FileObject(
        id=file_id,
        bytes=int(fields["bytes"]),
        created_at=int(float(fields["created_at"])),
        expires_at=int(float(fields["expires_at"])),
        filename=fields["filename"],
        purpose=purpose,
    )

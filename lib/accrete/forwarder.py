"""A TCP forwarder: one address of this machine stands for another, for as long as a block runs."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 1 << 16


@contextmanager
def forwarded(host: str, target_host: str, target_port: int) -> Iterator[int]:
    """Listen on an address, on a free port, and pass every connection on.

    Args:
        host: address to listen on; no other can reach the target this way.
        target_host: where connections go.
        target_port: its port.

    Yields:
        The port.

    Raises:
        OSError: the address is none of this machine's.
    """
    loop = asyncio.new_event_loop()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(connect, host, 0)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(target_host, target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))
        for each in (writer, target_writer):
            each.close()

    server = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever, name="forwarder", daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Listen no more, and drop the connections that are still open."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side says its last, and hand that on; the other may still answer."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()

"""The tokens of a model, streamed by HTTP; and a fake model, which serves them on this machine."""
import asyncio

TEXT = "{0} bottles of tea on the wall, {0} bottles of tea"
# How long the fake model takes for a token, in seconds.
PAUSE = 0.02

address = None
open_requests = 0


async def tokens(prompt):
    """What the model answers, token by token. Closes the request when it is closed or cancelled."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        body = prompt.encode()
        head = f"POST /v1/stream HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        while (await reader.readline()).strip():
            pass
        while size := int(await reader.readline(), 16):
            chunk = await reader.readexactly(size + 2)
            yield chunk[:-2].decode()
    finally:
        writer.close()


async def serve():
    """Starts the fake model."""
    global address
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()


async def answer(reader, writer):
    global open_requests
    open_requests += 1
    try:
        length = 0
        while line := (await reader.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        prompt = (await reader.readexactly(length)).decode()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for token in texts(prompt):
            writer.write(b"%x\r\n%s\r\n" % (len(token), token.encode()))
            await writer.drain()
            await asyncio.sleep(PAUSE)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        open_requests -= 1
        writer.close()


def texts(prompt):
    while prompt == "endless":
        yield "and"
    yield from TEXT.format(prompt).split()

"""Requests to a server, one after another and at once."""
import asyncio

import httpx


def work(url):
    with httpx.Client(trust_env=False) as client:
        first = client.get(url + "/first", params={"q": "a b"})
        missing = client.get(url + "/missing")

    async def several():
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/{n}") for n in range(3)))
            return [answer.json()["path"] for answer in answers]

    return [first.json()["path"], missing.status_code, asyncio.run(several())]

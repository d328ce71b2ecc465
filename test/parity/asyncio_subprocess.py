"""asyncio runs programs and reads what they print."""

import asyncio


async def main():
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "cat; exit 3", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate(b"through")
    print(out, process.returncode)


asyncio.run(main())

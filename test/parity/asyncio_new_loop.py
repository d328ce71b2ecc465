"""A loop of one's own is made, used and closed."""

import asyncio

loop = asyncio.new_event_loop()
order = []
loop.call_soon(order.append, 1)
loop.call_later(0.001, lambda: (order.append(2), loop.stop()))
loop.run_forever()
loop.close()
print(order, loop.is_closed())

"""What drivers of asyncio libraries share: an event loop in a thread of the client's own."""

import asyncio
import threading

from drivers import TIMEOUT, Driver


class AsyncDriver(Driver):
    def __init__(self, version):
        super().__init__(version)
        self._loop = asyncio.new_event_loop()
        self._thaw = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine):
        """Run a coroutine in the client's loop; its result."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, TIMEOUT), self._loop).result()

    def disconnect(self):
        if not self._loop.is_closed():
            self.run(self.leave())
            self.end()

    async def leave(self):
        """Disconnect in the library's way."""
        raise NotImplementedError

    def end(self):
        """End the loop and its thread."""
        asyncio.run_coroutine_threadsafe(self._cancel_tasks(), self._loop).result(TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._loop.close()

    async def _cancel_tasks(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def freeze(self):
        self._loop.call_soon_threadsafe(self._thaw.wait)

    def thaw(self):
        self._thaw.set()

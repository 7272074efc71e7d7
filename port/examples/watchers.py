"""Watchers: a camera that takes pictures only while they have a subscriber, and a count of the clients.

    python3 -m port.examples.watchers [PORT]       or micropython in place of python3
    mosquitto_sub -t camera/picture                in a second terminal: the camera stops when this ends
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    from port.micropython import FilterWatcher, Server
else:
    from port.cpython import FilterWatcher, Server


class Camera(FilterWatcher):
    """A FilterWatcher hears of a filter's first and last subscription, whatever ends it, and of sessions as every Watcher."""

    on = False
    clients = 0

    def first(self, topic_filter):
        self.on = self.on or topic_filter == b"camera/picture"

    def last(self, topic_filter):
        self.on = self.on and topic_filter != b"camera/picture"

    def connected(self, session):
        self.clients += 1

    def disconnected(self, session):
        self.clients -= 1


async def main():
    server = Server()
    camera = Camera()
    server.watch(camera)
    server.listen(port=int(sys.argv[1]) if len(sys.argv) > 1 else 1883)
    await server.start()
    while True:
        print("the camera is", "on," if camera.on else "off,", "clients:", camera.clients)
        if camera.on:
            server.publish("camera/picture", "a picture")
        await asyncio.sleep(0.5)


asyncio.run(main())

"""A store of one's own: sessions and retained messages in a JSON file, which each batch writes anew.

    python3 -m port.examples.json_store 1883 state.json       or micropython in place of python3
    mosquitto_pub -t lamp -m on -r -q 1                       then end the broker, and start it again
    mosquitto_sub -t lamp                                     gets the message
"""

import asyncio
import errno
import json
import os
import sys

if sys.implementation.name == "micropython":
    from port.micropython import Server, Store
else:
    from port.cpython import Server, Store


class JSONStore(Store):
    """Keeps records, pairs of bytes, in a dict and the dict in a file. A crash loses nothing that was acknowledged."""

    def __init__(self, file):
        self.place = file
        self.records = {}

    def load(self):
        """Return all records in the order of their keys."""
        try:
            with open(self.place) as file:
                self.records = {bytes.fromhex(key): bytes.fromhex(value) for key, value in json.load(file).items()}
        except OSError as e:
            if e.errno != errno.ENOENT:  # a first start has no file
                raise
        return [(key, self.records[key]) for key in sorted(self.records)]

    def commit(self, batch, done):
        """Write a batch, all of it or nothing; then the broker acknowledges. After an error it tries the batch again."""
        for key, value in batch:
            if value is not None:
                self.records[key] = value
            elif key in self.records:
                del self.records[key]
        try:
            with open(self.place + ".new", "w") as file:
                json.dump({key.hex(): value.hex() for key, value in self.records.items()}, file)
            os.rename(self.place + ".new", self.place)
            done(None)
        except OSError as e:
            done(e)


_, port, file = sys.argv
server = Server(store=JSONStore(file))
server.listen(port=int(port))
asyncio.run(server.serve())

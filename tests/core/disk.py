"""A store in memory for tests: it is durable when told, fails when told, and survives the broker."""

from harness import World
from port.core.storage.store import Store


class Disk(Store):
    """Keeps records in a dict.

    manual   True: a batch is durable when `complete` says so
    records  key -> value
    batches  all that was committed, in order
    closed   how often it was closed
    aside    what was set aside
    """

    def __init__(self, manual=False, sessions=True, waits=True, on_failure="refuse", backlog_bytes=1000000):
        self.manual = manual
        self.sessions = sessions
        self.waits = waits
        self.on_failure = on_failure
        self.backlog_bytes = backlog_bytes
        self.records = {}
        self.batches = []
        self.closed = 0
        self.aside = {}
        self._waiting = None

    def load(self):
        self._waiting = None
        return [(key, self.records[key]) for key in sorted(self.records)]

    def commit(self, batch, done):
        assert self._waiting is None, "a batch before the last one was done"
        keys = [key for key, _ in batch]
        assert len({key: 1 for key in keys}) == len(keys), "a key twice in a batch"
        self._waiting = batch, done
        if not self.manual:
            self.complete()

    def close(self):
        self.closed += 1

    def set_aside(self):
        self.aside = self.records
        self.records = {}
        self.batches = []
        return "elsewhere"

    def busy(self):
        return self._waiting is not None

    def complete(self, error=None):
        """The batch under way is durable, or has failed; nothing of it is kept then."""
        batch, done = self._waiting
        self._waiting = None
        if error is None:
            self.batches.append(batch)
            self.apply(batch)
        done(error)

    def apply(self, batch):
        """Put and remove records."""
        for key, value in batch:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def complete_all(self):
        while self._waiting is not None:
            self.complete()

    def written(self, kind):
        """Records of a kind (its first byte) in all batches, in order."""
        return [record for batch in self.batches for record in batch if record[0][0] == kind]


def restart(world, after=0, **options):
    """The broker is killed, and another one starts `after` ms later with what the store has."""
    return World(store=world.broker.store, now=world.now + after, ahead=world.ahead, **options)


def rebooted(world, ahead, now=5000):
    """The machine was off, its clocks begin anew: that of the day is now as far ahead of the last run's as this, ms."""
    return World(store=world.broker.store, now=now, ahead=world.now + world.ahead + ahead - now)


def stopped(world):
    """The broker stops in order, which takes no time; the same world."""
    world.broker.disconnect_all()
    world.broker.journal.commit()
    return world

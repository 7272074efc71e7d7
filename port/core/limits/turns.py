"""Turns of clients and jobs in slices: no client waits for long work that is done for another."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker


class Turns:
    """Work that goes on when others have been served.

    limit    work for one client in a turn, in deliveries: about 10 ms of a small computer's time. A delivery is the hand-over
             of one short message to one receiver; each kind of work has its cost in deliveries
    spent    deliveries counted in the present turn
    clients  work of clients that waits for its next turn, see `give`
    jobs     work of the broker that is done in slices, see `background`
    """

    def __init__(self, broker: "Optional[Broker]", limit: int) -> None:
        """Without a broker `spent` is counted and has no effect."""
        self._broker: "Any" = broker
        self.limit = limit
        self.spent = 0
        self.clients: "list[Callable[[], bool]]" = []
        self.jobs: "list[Callable[[], bool]]" = []

    def give(self, job: "Callable[[], bool]") -> None:
        """Continue a client's work when others have been served: `job()` until it returns False.

        Each call is to stop soon after `spent` has reached `limit`.
        """
        self.clients.append(job)
        self._broker.wake()

    def background(self, job: "Callable[[], bool]") -> None:
        """Do work of the broker in slices, between which others are served: `job()` until it returns False.

        A job that is already under way is not begun again.
        """
        if job not in self.jobs:
            self.jobs.append(job)
        self._broker.wake()

    def run(self) -> bool:
        """Give turns to clients, then slices to jobs, for each group up to `limit` in all; False when nothing is left to do.

        Clients take turns in the order in which they began to wait.
        """
        self._round(self.clients)
        self._round(self.jobs)
        return bool(self.clients or self.jobs)

    def _round(self, jobs: "list[Any]") -> None:
        """Do slices of jobs up to `limit` in all, first ones first; unfinished jobs move to the end."""
        left = self.limit
        for _ in range(len(jobs)):
            self.spent = 0
            going = self._goes_on(jobs[0])
            job = jobs.pop(0)
            if going:
                jobs.append(job)
            left -= self.spent + 1
            if left <= 0:
                break

    def _goes_on(self, job: "Callable[[], bool]") -> bool:
        """Do a slice of a job; False when the job is done or has failed."""
        try:
            return job()
        except MemoryError:
            self._broker.out_of_memory()
            return False
        except Exception as e:
            self._broker.crashed(None, e)
            return False

"""More clients that publish at once than lwIP has memory for at a time."""

import pytest

from virtual_board.burst import CLIENTS, bursts


@pytest.mark.parametrize("roomy", [False, True], ids=["32 segments", "96 segments"])
def test_all_publish_to_all_at_once(start_board, swarm_of, roomy):
    """Nobody hangs, nothing is lost uncounted, a newcomer is answered, lwIP never runs out, and all memory comes back."""
    board = start_board(roomy=roomy, doors=CLIENTS)
    for row in bursts(board, swarm_of(board), 1):
        print(*row)

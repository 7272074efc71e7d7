"""The fixture `mqtt_broker` for pytest: a broker of ucomqtt.testing in a thread of its own, on a free port, for each test.

    def test_it(mqtt_broker):
        run_my_program(mqtt_broker.url)
        assert mqtt_broker.wait_for("sensors/#").text == "21.5"

    @pytest.mark.mqtt_broker(users={"alice": "secret"}, max_qos=1)    # what `broker` takes
    def test_another(mqtt_broker): ...

Tests that are coroutines have `await mqtt_broker.wait_for_async(...)`, with pytest-asyncio or anyio alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ucomqtt.testing import Broker


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the marker."""
    config.addinivalue_line("markers", "mqtt_broker(**options): what ucomqtt.testing.broker takes, for the fixture mqtt_broker")


@pytest.fixture
def mqtt_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """An MQTT broker on a free port, with recorded messages and faults on demand: see ucomqtt.testing."""
    from ucomqtt.testing import broker

    marker = request.node.get_closest_marker("mqtt_broker")
    with broker(**(marker.kwargs if marker is not None else {})) as found:
        yield found

"""ucomqtt: an MQTT 3.1 / 3.1.1 / 5.0 broker for MicroPython boards and CPython."""

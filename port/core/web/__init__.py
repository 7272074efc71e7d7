"""HTTP pages and MQTT over WebSocket."""

# Raspberry Pi Pico 2 W

include(${MICROPY_PORT_DIR}/boards/${UCOMQTT_BASE}/mpconfigvariant.cmake)

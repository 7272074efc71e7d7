# MicroPython's own board, with lwip/lwipopts.h and manifest.py of this folder.

if(MICROPY_BOARD_VARIANT STREQUAL "PICO2_W")
    set(UCOMQTT_BASE RPI_PICO2_W)
else()
    set(UCOMQTT_BASE RPI_PICO_W)
endif()

include(${MICROPY_PORT_DIR}/boards/${UCOMQTT_BASE}/mpconfigboard.cmake)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)

# Before MicroPython's own, so that lwipopts.h is found there first.
include_directories(BEFORE ${MICROPY_BOARD_DIR}/lwip)

# MicroPython's own generic board, with sdkconfig.board and manifest.py of this folder.

if(MICROPY_BOARD_VARIANT MATCHES "^(C3|S3)$")
    set(UCOMQTT_BASE ESP32_GENERIC_${MICROPY_BOARD_VARIANT})
else()
    set(UCOMQTT_BASE ESP32_GENERIC)
endif()

include(boards/${UCOMQTT_BASE}/mpconfigboard.cmake)
set(MICROPY_FROZEN_MANIFEST ${CMAKE_CURRENT_LIST_DIR}/manifest.py)

# The last one to set an option wins.
list(APPEND SDKCONFIG_DEFAULTS ${CMAKE_CURRENT_LIST_DIR}/sdkconfig.board)
include($ENV{IDF_PATH}/tools/cmake/version.cmake)
if(${IDF_VERSION_MAJOR}.${IDF_VERSION_MINOR} VERSION_LESS 5.4)
    list(APPEND SDKCONFIG_DEFAULTS ${CMAKE_CURRENT_LIST_DIR}/sdkconfig.before_idf54)
endif()

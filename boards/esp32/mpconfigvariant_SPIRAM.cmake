# An ESP32 with PSRAM.

include(boards/ESP32_GENERIC/mpconfigvariant_SPIRAM.cmake)

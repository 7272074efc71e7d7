# ESP32-C3: mpconfigboard.cmake has set all there is.

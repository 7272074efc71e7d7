# ESP32-S3: mpconfigboard.cmake has set all there is.

// MicroPython's own generic board; see mpconfigboard.cmake.

#include "sdkconfig.h"

#if CONFIG_IDF_TARGET_ESP32C3
#include "boards/ESP32_GENERIC_C3/mpconfigboard.h"
#elif CONFIG_IDF_TARGET_ESP32S3
#include "boards/ESP32_GENERIC_S3/mpconfigboard.h"
#else
#include "boards/ESP32_GENERIC/mpconfigboard.h"
#endif

// MicroPython's own board; see mpconfigboard.cmake.

#if PICO_RP2350
#include "boards/RPI_PICO2_W/mpconfigboard.h"
#else
#include "boards/RPI_PICO_W/mpconfigboard.h"
#endif

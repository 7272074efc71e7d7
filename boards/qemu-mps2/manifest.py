"""The frozen modules of the firmware: asyncio, the start of the file system, the broker and its main program."""

include("$(MPY_DIR)/extmod/asyncio")
include("../../manifest.py")
module("_boot.py", opt=3)
module("lwip_pools.py", opt=3)
module("main.py", opt=3)

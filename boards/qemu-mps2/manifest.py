"""What is frozen into the firmware: asyncio, the file system's start, the broker and its main program."""

include("$(MPY_DIR)/extmod/asyncio")
include("../../manifest.py")
module("_boot.py", opt=3)
module("lwip_pools.py", opt=3)
module("main.py", opt=3)

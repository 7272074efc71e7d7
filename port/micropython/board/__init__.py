"""A board's main program, its Wi-Fi, its clock."""

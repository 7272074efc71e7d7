"""What makes a board a broker: its main program, Wi-Fi, the time."""

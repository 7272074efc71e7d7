"""Packages for boards: the files of each, and the modules that are compiled as one."""

"""Authenticators with a back end: Redis, an HTTP service, MySQL, PostgreSQL, JSON Web Tokens.

Each module has a table SETTINGS of its configuration, and loads its library when an authenticator is made. The broker goes on
while they wait for their back ends, see port.cpython.auth.base.
"""

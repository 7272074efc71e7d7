"""Authenticators that ask others who may connect: Redis, an HTTP service, MySQL, PostgreSQL, the issuer of a JWT.

Each module has a table SETTINGS of what can be configured and loads its library when an authenticator is
made, not before. All of them let the broker go on while they wait: see port.cpython.auth.base.
"""

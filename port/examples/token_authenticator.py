"""An authenticator of one's own: a device logs in with its client id as user name and a token as password.

    python3 -m port.examples.token_authenticator [PORT]                                 or micropython in place of python3
    mosquitto_pub -i porch -u porch -P token-of-the-porch -t a -m hello                 is let in
    mosquitto_pub -i porch -u porch -P guessed -t a -m hello                            is refused

Make a token with python3 -c "import secrets; print(secrets.token_hex())": its plain SHA-256 is safe to keep only because it is random.
"""

import asyncio
import hashlib
import sys
from binascii import unhexlify

if sys.implementation.name == "micropython":
    from port.micropython import Authenticator, Server
else:
    from port.cpython import Authenticator, Server

TOKENS = {b"porch": unhexlify("dbb4e57f3609bbd370b2be99d4b1bd71ed1980ff61a869e46c6ae51a2a1760aa")}  # client id: SHA-256 of its token


class TokenAuthenticator(Authenticator):
    """Decides about clients whose user name is their client id, and leaves others to the next authenticator."""

    name = "tokens"  # in the log, beside each client that it refuses

    def authenticate(self, client, user, password):
        """0 lets the client in, a reason code refuses it, None leaves it to the next authenticator."""
        if user != client.client_id:
            return None
        found = hashlib.sha256(password or b"").digest()
        return 0 if found == TOKENS.get(user) else 0x86  # Bad User Name or Password


server = Server()
server.authenticators.append(TokenAuthenticator())
server.listen(port=int(sys.argv[1]) if len(sys.argv) > 1 else 1883)
asyncio.run(server.serve())

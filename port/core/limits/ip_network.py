"""Networks, as the `address` of an ACL rule names them."""

from port.core.limits.ip_address import host, is_loopback, number, parse


class Network:
    """Addresses that share a prefix: `192.168.1.0/24`, `fd00::/8`, a single address, or the word `loopback`."""

    def __init__(self, text: str) -> None:
        """Raises ValueError naming `text` when it is not a network."""
        self.text = text
        if text == "loopback":
            return
        slash = text.find("/")
        prefix = parse(text if slash < 0 else text[:slash])
        if prefix is None:
            raise ValueError("%r is neither an IP address nor a network such as 192.168.1.0/24" % text)
        bits = len(prefix) * 8
        if slash >= 0:
            length = number(text[slash + 1 :], bits)
            if length < 0:
                raise ValueError("%r: the prefix length must be from 0 to %d" % (text, bits))
            bits = length
        self._prefix = prefix
        self._bits = bits

    def contains(self, address: str) -> bool:
        """True when the peer `address`, `host:port`, belongs to the network."""
        if self.text == "loopback":
            return is_loopback(address)
        found = parse(host(address))
        if found is None or len(found) != len(self._prefix):
            return False
        whole = self._bits >> 3
        if found[:whole] != self._prefix[:whole]:
            return False
        rest = self._bits & 7
        return not rest or (found[whole] ^ self._prefix[whole]) >> (8 - rest) == 0

"""Translates mosquitto.conf(5), see translation, and mosquitto's ACL files, see acl."""

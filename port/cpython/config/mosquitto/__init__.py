"""mosquitto.conf(5) in our words, see translation; its ACL files, see acl."""

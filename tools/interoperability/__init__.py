"""The Eclipse Paho interoperability suite: one test, and the broker it is run against."""

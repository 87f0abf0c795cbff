"""Bytes and tuples of the protocols spoken: rtnetlink, SONiC's Redis schema, ProducerStateTable. Pure."""

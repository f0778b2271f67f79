"""What goes over the wire: Avro, CloudEvents, Kafka clients."""
